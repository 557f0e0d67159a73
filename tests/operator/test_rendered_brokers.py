"""Rendered configurations, run by broker processes: they link, and take in nobody else."""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest

from brokers import Broker, Brokers, free_ports
from isthmus_broker.mqtt.packets import ConnAck
from isthmus_operator import names, pki
from isthmus_operator.model import BrokerCluster, ClusterLink, LinkAuthentication, LinkTls
from isthmus_operator.render.config import config
from isthmus_operator.render.entries import LinkEntry
from isthmus_operator.render.secrets import Material, files
from linked import wait_running, wait_state
from rawmqtt import RawClient
from rendered import NOW, Authorities, entries, load

CASE = Path(__file__).parent / "golden/two-ends/resources.yaml"


def write(
    broker: Broker, cluster: BrokerCluster, links: Sequence[LinkEntry], material: Material
) -> None:
    """What the pod would be given, on ports of this machine, the admin API without its key."""
    for name, content in files(material, links).items():
        (broker.directory / name).write_bytes(content)
    here = {
        f"0.0.0.0:{names.LINK_PORT}": f"127.0.0.1:{broker.ports['link']}",
        f"0.0.0.0:{names.LINK_PLAIN_PORT}": f"127.0.0.1:{broker.ports.get('plain')}",
        f"0.0.0.0:{names.API_PORT}": f"127.0.0.1:{broker.ports['api']}",
        "0.0.0.0:1883": f"127.0.0.1:{broker.ports['tcp']}",
        'key_file = "api-key"': "",
        json.dumps("/var/lib/isthmus"): json.dumps(str(broker.directory)),
    }
    text = config(cluster, links)
    for there, local in here.items():
        text = text.replace(there, local)
    broker.write(text)


class Pair:
    """The brokers of both ends of a link."""

    def __init__(self, start_broker: Brokers, mode: str, proof: str = "Generated") -> None:
        self.clusters, links = load(CASE)
        link = links["atlantic"]
        changes = {"tls": LinkTls(mode=mode), "authentication": LinkAuthentication(mode=proof)}
        spec = link.spec.model_copy(update=changes)
        self.links = {"atlantic": ClusterLink(metadata=link.metadata, spec=spec)}
        self.authorities = Authorities()
        self.brokers = {name: start_broker(name=name, start=False) for name in self.clusters}
        used = "plain" if mode == "Disabled" else "link"
        for broker in self.brokers.values():
            broker.ports["link"] = free_ports(1)[0]
            if mode == "Disabled":
                broker.ports["plain"] = free_ports(1)[0]
        endpoints = {name: f"127.0.0.1:{it.ports[used]}" for name, it in self.brokers.items()}
        found = {"atlantic": self.authorities.credentials(self.links["atlantic"])}
        for name, cluster in self.clusters.items():
            chosen = entries(cluster, self.clusters, self.links, self.authorities, found, endpoints)
            write(self.brokers[name], cluster, chosen, self.authorities.material(cluster))
        for broker in self.brokers.values():
            broker.start()


@pytest.mark.parametrize("proof", ["Generated", "Disabled"])
@pytest.mark.parametrize("mode", ["Generated", "Disabled"])
def test_rendered_configurations_link(mode: str, proof: str, start_broker: Brokers) -> None:
    pair = Pair(start_broker, mode, proof)
    wait_running(pair.brokers["us"], "cluster-eu-west")
    wait_running(pair.brokers["eu"], "cluster-us-east")


def test_nobody_else_comes_in(start_broker: Brokers) -> None:
    pair = Pair(start_broker, "Generated")
    us = pair.brokers["us"]
    wait_state(us, "cluster-eu-west", "running")
    with RawClient(us.port) as client:
        assert client.connect("anonymous").reason_code == 0x87

    def shown(authority: pki.Pair, name: str) -> ssl.SSLContext:
        made = pki.issue(authority, common_name=name, client=True, now=NOW)
        file = us.directory / "stranger.pem"
        file.write_bytes(made.certificate + made.key)
        context = ssl.create_default_context(cafile=str(us.directory / "server.crt"))
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(file)
        return context

    stranger = shown(pki.new_authority("us", NOW), "clink-1")
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):  # noqa: SIM117
        with RawClient(us.ports["link"], tls=stranger) as client:
            client.connect("stranger")

    other_link = shown(pair.authorities.of("us"), "clink-of-another-link")
    with RawClient(us.ports["link"], tls=other_link) as client:
        assert isinstance(client.connect("other"), ConnAck)
        refused = client.publish_acknowledged("$LINK/cluster/msg/cluster-eu-west", b"x")
        assert refused == 0x87
