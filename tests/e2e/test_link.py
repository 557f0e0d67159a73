"""A ClusterLink between two Kubernetes clusters: from `kubectl apply` to messages, and trouble."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator

import pytest

from waiting import wait_for
from world import (
    BROKER_IMAGE,
    EU,
    READY,
    SETTLED,
    SYSTEM,
    US,
    Client,
    World,
    broker_cluster,
    cluster_link,
    end,
)

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

EAST, WEST, LINK = "cluster-us-east", "cluster-eu-west", "clink/atlantic"
Connect = Callable[..., Client]


@pytest.fixture
def clients() -> Iterator[list[Client]]:
    """What is put in is closed after the test."""
    found: list[Client] = []
    yield found
    for client in found:
        client.close()


@pytest.fixture
def linked(world: World) -> World:
    """One broker cluster in each Kubernetes cluster, and a link that is ready."""
    world.apply(
        broker_cluster(EAST),
        broker_cluster(WEST, on=EU),
        cluster_link("atlantic", end(EAST), end(WEST)),
    )
    world.wait(LINK)
    return world


@pytest.fixture
def east(linked: World, clients: list[Client]) -> Connect:
    """Connects to the broker in us-east."""

    def connect(*filters: str) -> Client:
        clients.append(Client(linked.address(EAST), *filters))
        return clients[-1]

    return connect


@pytest.fixture
def west(linked: World, clients: list[Client]) -> Connect:
    """Connects to the broker in eu-west."""

    def connect(*filters: str) -> Client:
        clients.append(Client(linked.address(WEST, on=EU), *filters))
        return clients[-1]

    return connect


def crosses(sender: Client, receiver: Client, topic: str, qos: int = 1) -> None:
    """Publish until it arrives: routes and reconnections take a moment."""
    marker = f"marker-{topic}-{qos}"

    def arrived() -> bool:
        sender.publish(topic, marker, qos)
        return marker in receiver.payloads()

    wait_for(arrived, SETTLED, f"{topic} crosses")


def same_pods(world: World) -> tuple[object, object]:
    """What would change if a pod were replaced or a container restarted."""
    return world.pods(EAST), world.pods(WEST, on=EU)


def test_messages_cross_in_both_directions(linked: World, east: Connect, west: Connect) -> None:
    us, eu = east("linked/#"), west("linked/#")
    for qos in (0, 1, 2):
        crosses(eu, us, f"linked/42/{qos}", qos)
        crosses(us, eu, f"linked/1/{qos}", qos)
    told = linked.kubectl("get", "clink", "atlantic")
    assert f"{EAST} ⇄ {WEST}" in told
    assert "Linked" in told


def test_topics_and_enable_change_while_running(
    linked: World, east: Connect, west: Connect
) -> None:
    us, eu = east("linked/#"), west("linked/#")
    crosses(us, eu, "linked/first")
    before = same_pods(linked)

    linked.patch("clink", "atlantic", {"ends": [end(EAST), end(WEST, [])]})
    linked.wait(LINK)
    wait_for(lambda: "→" in linked.kubectl("get", "clink", "atlantic"), SETTLED)
    crosses(eu, us, "linked/one-way")
    us.publish("linked/not-wanted", "x")
    crosses(eu, us, "linked/after")
    assert "x" not in eu.payloads()

    linked.patch("clink", "atlantic", {"ends": [end(EAST), end(WEST)], "enable": False})
    linked.wait_reason(LINK, "Disabled")
    linked.patch("clink", "atlantic", {"enable": True})
    linked.wait(LINK)
    crosses(us, eu, "linked/again")
    assert same_pods(linked) == before


def test_it_follows_a_load_balancers_address(linked: World, east: Connect, west: Connect) -> None:
    us, eu = east("linked/#"), west("linked/#")
    service = f"{WEST}-link"
    old = linked.get("service", service, EU)["status"]["loadBalancer"]["ingress"][0]["ip"]
    net, _, host = old.rpartition(".")
    another = f"{net}.{int(host) + 40}"
    linked.kubectl("annotate", "service", service, f"isthmus.test/address={another}", on=EU)

    def moved() -> bool:
        ingress = linked.get("service", service, EU)["status"]["loadBalancer"].get("ingress", [])
        return bool(ingress) and ingress[0]["ip"] == another

    wait_for(moved, SETTLED)
    linked.wait(LINK)
    crosses(us, eu, "linked/moved")


def test_a_killed_broker_comes_back_linked(linked: World, east: Connect, west: Connect) -> None:
    us = east("linked/#")
    linked.kubectl("delete", "pod", f"{WEST}-0", "--grace-period=0", "--force", on=EU)
    wait_for(lambda: linked.condition(LINK).get("status") != "True", SETTLED, "trouble is told")
    linked.wait(LINK)
    crosses(west(), us, "linked/back")


def test_what_a_stopped_kubelet_hides_is_unknown(linked: World) -> None:
    linked.eu.stop_kubelet()
    try:
        wait_for(lambda: linked.condition(LINK).get("status") != "True", READY, "no longer Ready")
    finally:
        linked.eu.start_kubelet()
    linked.wait(LINK)


def test_an_operator_killed_midway_finishes_the_work(
    linked: World, east: Connect, west: Connect
) -> None:
    us, eu = east("linked/#"), west("linked/#")
    linked.patch("clink", "atlantic", {"ends": [end(EAST, ["linked/#"]), end(WEST)]})
    linked.us.kubectl(
        *("-n", SYSTEM, "delete", "pod", "-l", "app.kubernetes.io/name=isthmus-operator"),
        *("--grace-period=0", "--force"),
    )
    wait_for(
        lambda: (
            linked.get("clink", "atlantic")["status"].get("observedGeneration")
            == linked.get("clink", "atlantic")["metadata"]["generation"]
        ),
        READY,
        "the new operator has seen it",
    )
    linked.wait(LINK)
    crosses(us, eu, "linked/after-all")
    crosses(eu, us, "linked/after-all")


def test_rotated_certificates_lose_nothing(linked: World, east: Connect, west: Connect) -> None:
    us, eu = east(), west("count/#")
    crosses(us, eu, "count/ready")
    stop = threading.Event()
    sent: list[str] = []

    def publish() -> None:
        while not stop.is_set() and len(sent) < 100_000:
            us.publish("count/n", str(len(sent)))
            sent.append(str(len(sent)))

    revision = linked.get("clink", "atlantic")["status"]["tls"]["revision"]
    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        linked.kubectl("delete", "secret", "atlantic-clink", f"{EAST}-authority")
        wait_for(
            lambda: linked.get("clink", "atlantic")["status"]["tls"]["revision"] != revision,
            READY,
            "new certificates",
        )
        linked.wait(LINK)
        crosses(us, eu, "count/after")
    finally:
        stop.set()
        publisher.join()
    wait_for(lambda: set(sent) <= set(eu.payloads()), SETTLED, "everything has arrived")


def test_a_deleted_link_leaves_no_trace(linked: World, east: Connect, west: Connect) -> None:
    us, eu = east("linked/#"), west("linked/#")
    crosses(us, eu, "linked/before")
    before = same_pods(linked)
    linked.kubectl("delete", "clink", "atlantic", f"--timeout={SETTLED:.0f}s")
    for cluster, other, on in ((EAST, WEST, US), (WEST, EAST, EU)):
        config = linked.get("configmap", f"{cluster}-config", on)["data"]["isthmus.conf"]
        assert "atlantic" not in config
        assert other not in config
        keys = linked.get("secret", f"{cluster}-broker", on)["data"]
        assert not [key for key in keys if key.startswith("link-")]
    assert "atlantic-clink" not in json.dumps(linked.items("secrets"))
    us.publish("linked/after", "after")
    crosses(us, us, "linked/fence")
    assert "after" not in eu.payloads()
    assert same_pods(linked) == before


def external_broker(world: World, name: str, settings: str, ca: str) -> None:
    """A broker that the operator knows nothing of, in the other Kubernetes cluster."""
    world.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name},
            "stringData": {"isthmus.conf": settings, "ca.crt": ca},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {
                "containers": [
                    {
                        "name": "broker",
                        "image": BROKER_IMAGE,
                        "imagePullPolicy": "IfNotPresent",
                        "volumeMounts": [{"name": "config", "mountPath": "/etc/isthmus"}],
                    }
                ],
                "volumes": [{"name": "config", "secret": {"secretName": name}}],
            },
        },
        on=EU,
    )


def test_a_cluster_that_somebody_else_runs(world: World, clients: list[Client]) -> None:
    """Its owner configures it by hand, with what the operator hands out."""
    other = "elsewhere"
    service = {"type": "LoadBalancer", "selector": {"app": other}, "ports": [{"port": 1883}]}
    meta = {"name": other}
    world.apply({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": service}, on=EU)
    address = world.address(other, on=EU)
    external = {"external": {"name": other, "server": f"{address[0]}:{address[1]}"}}
    world.apply(broker_cluster(EAST), cluster_link("outside", end(EAST), external))
    world.wait_reason("clink/outside", "PeerUnreachable", READY)

    secret = world.get("secret", "outside-for-external")["data"]
    handed = {key: base64.b64decode(value).decode() for key, value in secret.items()}
    settings = f"""
        mqtt.allow_anonymous = true
        cluster {{
          name = "{other}"
          links = [{{
            name = "{EAST}", server = "mqtts://{handed["server"]}", topics = ["#"]
            username = "{handed["username"]}", password = "{handed["password"]}"
            ssl {{
              cacertfile = "ca.crt", server_name_indication = "{handed["server-name"]}"
            }}
          }}]
        }}
    """
    external_broker(world, other, settings, handed["ca.crt"])
    world.wait("clink/outside")
    clients += [Client(world.address(EAST), "linked/#"), Client(address, "linked/#")]
    ours, theirs = clients
    crosses(ours, theirs, "linked/there")
    crosses(theirs, ours, "linked/back")


def test_three_clusters_and_two_links(linked: World, east: Connect, west: Connect) -> None:
    third = "cluster-third"
    linked.apply(broker_cluster(third), cluster_link("near", end(EAST), end(third)))
    linked.wait("clink/near")
    linked.wait(LINK)
    us, eu = east("linked/#"), west("linked/#")
    other = Client(linked.address(third), "linked/#")
    try:
        crosses(us, other, "linked/near")
        crosses(us, eu, "linked/far")
        eu.publish("linked/one-link-far", "gossip")
        crosses(eu, us, "linked/fence")
        crosses(us, other, "linked/fence")
        assert "gossip" in us.payloads()
        assert "gossip" not in other.payloads()
    finally:
        other.close()
