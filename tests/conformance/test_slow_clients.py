"""Clients that take less than comes for them: they lose QoS 0, at last their connection; others
notice nothing.
"""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from brokers import Broker
from certificates import Pki
from isthmus_broker.mqtt import packets
from isthmus_broker.mqtt.codes import V5
from isthmus_broker.mqtt.packets import Connect, Subscribe, SubscriptionOptions
from linked import People, call
from rawwebsocket import masked, upgrade
from waiting import DEADLINE, wait_for

KINDS = ("tcp", "ssl", "ws")

Stuck = Callable[[str, str], socket.socket]


@pytest.fixture
def stuck(broker: Broker, pki: Pki) -> Iterator[Stuck]:
    """Call it with a kind of listener and a topic for a subscriber that reads nothing."""
    made: list[socket.socket] = []

    def subscribe(kind: str, topic: str) -> socket.socket:
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.settimeout(DEADLINE)
        plain.connect(("127.0.0.1", broker.ports[kind]))
        one = (
            pki.context().wrap_socket(plain, server_hostname="localhost")
            if kind == "ssl"
            else plain
        )
        made.append(one)
        if kind == "ws":
            upgrade(one)
        wanted = Subscribe(1, [(topic.encode(), SubscriptionOptions(0))])
        for packet in (Connect(f"stuck-{kind}"), wanted):
            data = packets.encode(packet, V5)
            one.sendall(masked(data) if kind == "ws" else data)
        return one

    yield subscribe
    for one in made:
        one.close()


def gone(one: socket.socket) -> bool:
    """Whether the broker has closed, found out without reading what it has sent."""
    try:
        one.send(b"\xc0\x00")
    except OSError:
        return True
    return False


def test_others_get_everything_while_some_take_nothing(
    broker: Broker, people: People, stuck: Stuck, name: str
) -> None:
    for kind in KINDS:
        stuck(kind, name)
    witness = people.subscriber(broker, name, qos=0)
    sender = people.client(broker)
    for _ in range(60):
        sender.publish(name, bytes(500_000))
        assert len(witness.take().payload) == 500_000
    dropped = metric(broker, 'isthmus_messages_dropped_total{reason="outbox_full"}')
    assert dropped > 0
    assert broker.log().count("client is slow, dropping QoS 0") >= 1  # once for each of them


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_takes_nothing_is_cut_off_after_ten_seconds(
    broker: Broker, people: People, stuck: Stuck, name: str, kind: str
) -> None:
    one = stuck(kind, name)
    sender = people.client(broker)
    witness = people.subscriber(broker, name, qos=0)
    for _ in range(40):
        sender.publish(name, bytes(500_000))
        witness.take()
    wait_for(lambda: gone(one), 25, "the end of the connection")
    assert "client takes nothing, cut off" in broker.log()
    assert call(broker, "GET", "/status")[1]["connections"] == 2


def metric(broker: Broker, name: str) -> float:
    with urllib.request.urlopen(f"{broker.api}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(name)), 0.0)
