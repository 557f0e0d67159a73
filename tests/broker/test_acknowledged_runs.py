"""Runs of QoS 1: whether packets come in one read or one by one makes no difference."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_broker.mqtt import packets
from isthmus_broker.mqtt.codes import V5, V311, PacketType, ReasonCode
from isthmus_broker.mqtt.packets import Acknowledgement, Disconnect, Packet, Publish
from isthmus_broker.mqtt.properties import Property
from isthmus_broker.mqtt.scan import scan
from nodes import PureNode

LEVELS = pytest.mark.parametrize("level", [V311, V5])
TOPICS = (b"a", b"b", b"b/c", b"nobody")


@st.composite
def publishes(draw: st.DrawFn, level: int) -> Publish:
    """Mostly alike, so that there are runs."""
    qos = draw(st.sampled_from([1, 1, 1, 0, 2]))
    found = {Property.CONTENT_TYPE: "t"} if level == V5 and draw(st.integers(0, 9)) == 0 else {}
    return Publish(
        draw(st.sampled_from(TOPICS)),
        draw(st.sampled_from([b"one", b"two", b"longer"])),
        qos,
        retain=draw(st.integers(0, 9)) == 0,
        dup=bool(qos) and draw(st.integers(0, 9)) == 0,
        packet_id=draw(st.integers(1, 0xFFFF)) if qos else 0,
        properties=found,
    )


def outcome(level: int, parts: list[list[Packet]]) -> tuple[list[Packet], ...]:
    """What the publisher and three subscribers get, each part being one read."""
    node = PureNode()
    publisher = node.client("publisher", level)
    subscribers = [
        node.client("old", V311),
        node.client("new", V5),
        node.client("slow", V5, properties={Property.RECEIVE_MAXIMUM: 2}),
    ]
    for one, qos in zip(subscribers, (1, 2, 1), strict=True):
        one.subscribe(b"a", b"b/#", qos=qos)
    for part in parts:
        publisher.send(*part)
    return publisher.take(), *[one.messages() for one in subscribers]  # type: ignore[return-value]


@LEVELS
@given(data=st.data())
def test_one_read_or_many(level: int, data: st.DataObject) -> None:
    some: list[Packet] = data.draw(st.lists(publishes(level), max_size=20))
    assert outcome(level, [some]) == outcome(level, [[one] for one in some])


@LEVELS
def test_alike_packets_are_one_item(level: int) -> None:
    data = b"".join(
        packets.encode(Publish(b"a", bytes((65 + number,)), 1, packet_id=number + 1), level)
        for number in range(5)
    )
    target = object()
    assert scan(data, 0, {b"a": target}, level == V5, 100) == (
        [(target, 0, len(data), -5)],
        len(data),
    )


@LEVELS
def test_each_is_acknowledged_by_its_identifier(level: int) -> None:
    client = PureNode().client("one", level)
    numbers = [1, 256, 255, 0xFFFF, 7]
    client.send(*[Publish(b"a", b"x", 1, packet_id=number) for number in numbers])
    found = client.take()
    assert [it.packet_id for it in found if isinstance(it, Acknowledgement)] == numbers
    wanted = ReasonCode.NO_MATCHING_SUBSCRIBERS if level == V5 else ReasonCode.SUCCESS
    assert {it.reason_code for it in found if isinstance(it, Acknowledgement)} == {wanted}


@LEVELS
def test_an_identifier_of_zero_ends_the_connection_after_those_before(level: int) -> None:
    """[MQTT-2.2.1-3], [MQTT-2.3.1-1] of 3.1.1."""
    client = PureNode().client("one", level)
    good = [packets.encode(Publish(b"a", b"x", 1, packet_id=it), level) for it in (256, 7)]
    client.send(good[0], good[0].replace(b"\x01\x00", b"\x00\x00"), good[1])
    assert client.closed
    first, *rest = client.take()
    assert isinstance(first, Acknowledgement)
    assert (first.type, first.packet_id) == (PacketType.PUBACK, 256)
    assert [type(it) for it in rest] == ([Disconnect] if level == V5 else [])


def test_a_full_window_keeps_the_order() -> None:
    node = PureNode()
    subscriber = node.client("sub", properties={Property.RECEIVE_MAXIMUM: 3})
    publisher = node.client("pub")
    subscriber.subscribe(b"a", qos=1)
    wanted = [b"%03d" % number for number in range(50)]
    publisher.send(*[Publish(b"a", it, 1, packet_id=n + 1) for n, it in enumerate(wanted)])
    assert len(subscriber.look()) == 3
    assert subscriber.payloads() == wanted


def test_the_limit_of_a_packet_is_the_one_that_was_told() -> None:
    """A changed limit holds for who connects from now on: CONNACK has told the others theirs."""
    node = PureNode()
    before = node.client("before")
    node.node.mqtt = node.node.mqtt.model_copy(update={"max_packet_size": 1000})
    after = node.client("after")
    large = Publish(b"a", b"x" * 2000)
    for client, closed in ((before, False), (after, True)):
        client.send(large)
        assert client.closed is closed
