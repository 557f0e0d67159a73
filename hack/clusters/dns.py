"""The cluster's DNS: CoreDNS as a process on the node, and the Service by which pods find it.

A process and no Deployment: no image has to be made, and it is there before the first pod.
It knows the cluster's names alone; every other name does not exist, and that is said at once.
"""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Final

from clusters import programs, waiting
from clusters.controlplane import Place
from clusters.network import Network

DAEMON: Final = "coredns"
ADDRESS: Final = "10.96.0.10"
"""Of its Service, in every cluster."""

_NAME: Final = "kube-dns"
_NAMESPACE: Final = "kube-system"
_READY: Final = 60.0
_READY_PORT: Final = 8181
_PORTS: Final = (("dns", "UDP"), ("dns-tcp", "TCP"))


def start(place: Place, network: Network) -> None:
    """Start it where it does not run, and wait until it knows the cluster.

    Raises:
        Failed: it does not.
    """
    folder = place.folder
    (folder / "Corefile").write_text(_settings(network.node, place.kubeconfig("admin")))
    daemon = place.daemon(DAEMON)
    command = [str(programs.path(DAEMON)), "-conf", str(folder / "Corefile")]
    daemon.start([*network.enter, *command])
    _announce(place, network.node)

    def failure() -> str:
        return f"The DNS of {place.name} is not ready; {daemon.last_words()}"

    url = f"http://{network.node}:{_READY_PORT}/ready"
    waiting.until(lambda: _ready(url) or not daemon.running, _READY, failure)
    waiting.until(lambda: daemon.running, 0, failure)


def _settings(address: str, kubeconfig: Path) -> str:
    # Two blocks: in one, CoreDNS would ask `template` before `kubernetes`.
    return f"""\
cluster.local:53 in-addr.arpa:53 {{
    bind {address}
    errors
    ready {address}:{_READY_PORT}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        ttl 5
    }}
}}
.:53 {{
    bind {address}
    errors
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
"""


def _ready(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2.0) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _announce(place: Place, node: str) -> None:
    api = place.api()
    meta = {"name": _NAME, "namespace": _NAMESPACE}
    ports = [{"name": name, "port": 53, "protocol": protocol} for name, protocol in _PORTS]
    api.apply(
        f"/api/v1/namespaces/{_NAMESPACE}/services/{_NAME}",
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {**meta, "labels": {"k8s-app": _NAME}},
            "spec": {"clusterIP": ADDRESS, "ports": ports},
        },
    )
    api.apply(
        f"/apis/discovery.k8s.io/v1/namespaces/{_NAMESPACE}/endpointslices/{_NAME}",
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**meta, "labels": {"kubernetes.io/service-name": _NAME}},
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": [{"addresses": [node], "conditions": {"ready": True}}],
        },
    )
