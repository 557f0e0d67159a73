"""Damaged payloads on a link's topics: the worst is the end of the connection that they came on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokers import Broker, Brokers
from emqx import EmqxClient, message
from isthmus_broker.mqtt.codes import PacketType
from isthmus_broker.mqtt.packets import Disconnect, PingReq, PingResp, Publish
from linked import cluster, link, wait_routes
from rawmqtt import CLOSED, Closed, RawClient

VECTORS = sorted((Path(__file__).parents[1] / "wire/erlang").glob("*.etf"))
SAMPLES = [path.read_bytes() for path in VECTORS if path.stat().st_size < 1000]
TOPICS = ["$LINK/cluster/route/eu", "$LINK/cluster/msg/eu", "$LINK/cluster/msg/nobody"]


@pytest.fixture(scope="module")
def us(module_brokers: Brokers) -> Broker:
    return module_brokers(cluster("us", link("eu", 1, pool_size=1)), name="us")


@pytest.fixture(scope="module")
def witness(us: Broker) -> Iterator[RawClient]:
    """Somebody who would see what gets through."""
    with RawClient(us.port) as one:
        assert one.connect("witness").reason_code == 0
        one.subscribe("#")
        yield one


@pytest.fixture(scope="module")
def eu(us: Broker) -> Iterator[EmqxClient]:
    """A good connection of the same link, which is to stay."""
    with EmqxClient(us.port, "eu", "good") as one:
        one.hello()
        one.introduce("us", 5)
        one.routes((b"kept", b"kept"), incarnation=5)
        yield one


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A payload of Erlang's with some bytes changed, left out or added."""
    data = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(("change", "insert", "delete"))):
            case "change" if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=5))
            case _:
                del data[at : at + draw(st.integers(1, 5))]
    return bytes(data)


@settings(max_examples=150)
@given(
    payloads=st.lists(st.tuples(st.sampled_from(TOPICS), damaged()), min_size=1, max_size=6),
    introduced=st.booleans(),
)
def test_damaged_payloads_harm_nobody_else(
    us: Broker,
    witness: RawClient,
    eu: EmqxClient,
    payloads: list[tuple[str, bytes]],
    introduced: bool,
) -> None:
    with EmqxClient(us.port, "eu", "bad") as one, contextlib.suppress(*CLOSED, Closed):
        one.hello(clean_start=True, properties={})
        one.response_topic = "$LINK/cluster/resp/eu/bad"
        if introduced:
            one.introduce("us", 5, take=False)
        packets = [
            Publish(topic.encode(), data, number % 2, packet_id=100 + number if number % 2 else 0)
            for number, (topic, data) in enumerate(payloads)
        ]
        one.send(*packets, b"\xc0\x00")
        while not isinstance(packet := one.receive(), PingResp):
            if isinstance(packet, Disconnect):
                assert packet.reason_code == 0x83
    eu.expect_nothing()
    witness.send(PingReq())
    while isinstance(packet := witness.receive(), Publish):
        if packet.qos:
            witness.ack(PacketType.PUBACK, packet)
        assert packet.topic[:1] != b"$"
    assert isinstance(packet, PingResp)
    assert "Traceback" not in us.log()


def test_the_good_connection_and_its_routes_are_still_there(
    us: Broker, eu: EmqxClient, witness: RawClient
) -> None:
    wait_routes(us, "eu", 1)
    assert eu.forwarded(message("still/here", b"x")) == 0
    assert witness.take().payload == b"x"


def test_a_flood_of_bad_payloads_is_a_few_lines_in_the_log(us: Broker) -> None:
    before = len(us.log().splitlines())
    secret = b"hunter2-secret"
    with EmqxClient(us.port, "eu", "flood") as one:
        one.hello()
        for _ in range(300):
            one.forward(b"\x83m\0\0\0\xff" + secret, 0)
        one.expect_nothing()
    assert len(us.log().splitlines()) - before < 40
    assert "hunter2" not in us.log()
