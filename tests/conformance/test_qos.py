"""QoS 0, 1 and 2 in both directions: exchanges, resends, Receive Maximum (3.3 to 3.7, 4.3, 4.4)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from brokers import Broker, Brokers
from isthmus_broker.mqtt.codes import V5, V311, PacketType
from isthmus_broker.mqtt.packets import Acknowledgement, Publish
from isthmus_broker.mqtt.properties import Properties, Property
from rawmqtt import RawClient

Raw = Callable[..., RawClient]
KEEP: Properties = {Property.SESSION_EXPIRY_INTERVAL: 50}
LEVELS = pytest.mark.parametrize("level", [V311, V5])


def kept(connect: Raw, name: str, level: int, **fields: object) -> RawClient:
    """A client whose session stays."""
    return connect(name, level, clean_start=False, properties=KEEP, **fields)


# -- to the broker -------------------------------------------------------------------------------


@LEVELS
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_publish_is_answered_as_its_qos_asks(
    connect: Raw, name: str, level: int, qos: int
) -> None:  # [MQTT-4.3.1-1] [MQTT-4.3.2-4] [MQTT-4.3.3-8] [MQTT-4.3.3-11]
    one = connect(name, level)
    one.subscribe(f"{name}/heard")
    unheard = 0x10 if level == V5 and qos else 0
    assert one.publish_acknowledged(f"{name}/unheard", b"x", qos) == unheard
    sent = one.publish(f"{name}/heard", b"x", qos)
    received = one.expect(Publish)
    assert (received.topic, received.payload, received.qos) == (sent.topic, b"x", 0)


@LEVELS
def test_a_qos2_message_that_comes_again_is_published_once(
    connect: Raw, name: str, level: int
) -> None:  # [MQTT-4.3.3-10]
    watcher = connect(f"{name}-watcher")
    watcher.subscribe(name)
    one = connect(name, level)
    sent = one.publish(name, b"1", 2)
    one.expect_ack(PacketType.PUBREC, sent)
    one.send(Publish(sent.topic, b"1", 2, dup=True, packet_id=sent.packet_id))
    one.expect_ack(PacketType.PUBREC, sent)
    one.ack(PacketType.PUBREL, sent)
    one.expect_ack(PacketType.PUBCOMP, sent)
    one.publish_acknowledged(name, b"2", 2, packet_id=sent.packet_id)  # its identifier is free
    assert [watcher.take().payload for _ in range(2)] == [b"1", b"2"]
    watcher.expect_nothing()


@LEVELS
@pytest.mark.parametrize("released", [False, True])
def test_what_is_unreleased_outlives_the_connection(
    connect: Raw, name: str, level: int, released: bool
) -> None:  # [MQTT-4.1.0-1], 3.1.2.11.2
    watcher = connect(f"{name}-watcher")
    watcher.subscribe(name)
    one = kept(connect, name, level)
    sent = one.publish(name, b"1", 2)
    one.expect_ack(PacketType.PUBREC, sent)
    if released:
        one.ack(PacketType.PUBREL, sent)
        one.expect_ack(PacketType.PUBCOMP, sent)
    one.drop()
    two = kept(connect, name, level)
    two.send(Publish(sent.topic, b"2", 2, dup=True, packet_id=sent.packet_id))
    two.expect_ack(PacketType.PUBREC, sent)
    assert watcher.take().payload == b"1"
    if released:
        assert watcher.take().payload == b"2"
    watcher.expect_nothing()


def test_releasing_what_is_unknown_is_answered_so(connect: Raw, name: str) -> None:  # 3.7.2.1
    for level, code in ((V5, 0x92), (V311, 0)):
        one = connect(name, level)
        one.send(Acknowledgement(PacketType.PUBREL, 77))
        answer = one.expect(Acknowledgement)
        assert answer == Acknowledgement(PacketType.PUBCOMP, 77, code)


def test_an_unknown_pubrec_is_released_with_a_reason(connect: Raw, name: str) -> None:  # 3.6.2.1
    one = connect(name)
    one.send(Acknowledgement(PacketType.PUBREC, 77))
    assert one.expect(Acknowledgement) == Acknowledgement(PacketType.PUBREL, 77, 0x92)


@LEVELS
def test_unknown_acknowledgements_are_let_pass(connect: Raw, name: str, level: int) -> None:
    one = connect(name, level)
    for kind in (PacketType.PUBACK, PacketType.PUBCOMP):
        one.send(Acknowledgement(kind, 77))
    one.expect_nothing()


@pytest.mark.parametrize("level", [V311, V5])
def test_more_unreleased_messages_than_granted(
    start_broker: Brokers, raw: Raw, level: int
) -> None:  # [MQTT-3.3.4-9], with reason code 0x93
    broker = start_broker("mqtt.receive_maximum = 3")
    one = raw(broker.port, level)
    answer = one.connect("one")
    if level == V5:
        assert answer.properties[Property.RECEIVE_MAXIMUM] == 3
    for _ in range(3):
        one.expect_ack(PacketType.PUBREC, one.publish("a", b"", 2))
    for _ in range(5):
        one.expect_ack(PacketType.PUBACK, one.publish("a", b"", 1))  # is acknowledged at once
    one.publish("a", b"", 2)
    one.expect_disconnect(0x93)


# -- from the broker -----------------------------------------------------------------------------


@LEVELS
@pytest.mark.parametrize(("published", "granted"), list(product((0, 1, 2), repeat=2)))
def test_delivery_is_at_the_lower_qos(
    connect: Raw, name: str, level: int, published: int, granted: int
) -> None:  # [MQTT-3.8.4-8]
    one = connect(name, level)
    assert one.subscribe(name, qos=granted).codes == [granted]
    other = connect(f"{name}-other")
    other.publish_acknowledged(name, b"x", published)
    received = one.take()
    assert (received.payload, received.qos) == (b"x", min(published, granted))
    assert not received.dup
    one.expect_nothing()


@LEVELS
def test_dup_is_not_passed_on(connect: Raw, name: str, level: int) -> None:  # [MQTT-3.3.1-3]
    one = connect(name, level)
    one.subscribe(name, qos=1)
    other = connect(f"{name}-other", level)
    other.publish_acknowledged(name, b"x", 1, dup=True)
    assert not one.take().dup


@LEVELS
@pytest.mark.parametrize("qos", [1, 2])
def test_what_is_unacknowledged_is_sent_again_in_order(
    connect: Raw, name: str, level: int, qos: int
) -> None:  # [MQTT-4.4.0-1] [MQTT-4.6.0-1] [MQTT-3.3.1-1]
    one = kept(connect, name, level)
    one.subscribe(name, qos=qos)
    other = connect(f"{name}-other")
    for payload in (b"1", b"2", b"3"):
        other.publish_acknowledged(name, payload, qos)
    before = [one.expect(Publish) for _ in range(3)]
    assert [it.dup for it in before] == [False] * 3
    one.ack(PacketType.PUBACK if qos == 1 else PacketType.PUBREC, before[1])
    if qos == 2:
        one.expect_ack(PacketType.PUBREL, before[1])
    one.expect_nothing()  # nothing comes twice on one connection
    one.disconnect()
    for payload in (b"4", b"5"):
        other.publish_acknowledged(name, payload, qos)
    two = kept(connect, name, level)
    first = two.expect(Publish)
    assert (first.payload, first.dup, first.packet_id) == (b"1", True, before[0].packet_id)
    if qos == 2:
        two.expect_ack(PacketType.PUBREL, before[1])
    third = two.expect(Publish)
    assert (third.payload, third.dup, third.packet_id) == (b"3", True, before[2].packet_id)
    fresh = [two.expect(Publish) for _ in range(2)]
    assert [(it.payload, it.dup) for it in fresh] == [(b"4", False), (b"5", False)]
    two.expect_nothing()


@LEVELS
def test_a_finished_exchange_is_not_sent_again(connect: Raw, name: str, level: int) -> None:
    one = kept(connect, name, level)
    one.subscribe(name, qos=2)
    other = connect(f"{name}-other")
    for qos in (1, 2):
        other.publish_acknowledged(name, b"x", qos)
        one.take()
    one.expect_nothing()
    one.drop()
    kept(connect, name, level).expect_nothing()


def test_a_refused_qos2_message_is_done(connect: Raw, name: str) -> None:  # 4.3.3, PUBREC >= 0x80
    one = connect(name, properties={Property.RECEIVE_MAXIMUM: 1})
    one.subscribe(name, qos=2)
    other = connect(f"{name}-other")
    for payload in (b"1", b"2"):
        other.publish_acknowledged(name, payload, 2)
    first = one.expect(Publish)
    one.ack(PacketType.PUBREC, first, 0x83)
    assert one.take().payload == b"2"
    one.expect_nothing()


@LEVELS
def test_messages_wait_for_a_client_that_is_away(connect: Raw, name: str, level: int) -> None:
    one = kept(connect, name, level)
    one.subscribe(name, qos=1)
    one.disconnect()
    other = connect(f"{name}-other")
    for number in range(300):  # more than may be in flight at a time
        other.publish_acknowledged(name, b"%d" % number, number % 3)
    two = kept(connect, name, level)
    sent = [number for number in range(300) if number % 3]  # QoS 0 does not wait
    received = [two.take() for _ in sent]
    assert [int(it.payload) for it in received] == sent
    assert not any(it.dup for it in received)
    two.expect_nothing()


def test_qos0_waits_too_where_configured(start_broker: Brokers, raw: Raw) -> None:
    broker = start_broker("mqtt.mqueue_store_qos0 = true")
    keep = {"clean_start": False, "properties": KEEP}
    one = raw(broker.port)
    one.connect("one", **keep)
    one.subscribe("a")
    other = raw(broker.port)
    other.connect("other")
    other.publish_acknowledged("a", b"0", 0)  # its fan-out is known now
    assert one.take().payload == b"0"
    one.disconnect()
    other.publish_acknowledged("a", b"1", 0)
    two = raw(broker.port)
    two.connect("one", **keep)
    assert two.take().payload == b"1"


@LEVELS
@pytest.mark.parametrize("qos", [1, 2])
def test_no_more_in_flight_than_the_client_takes(
    connect: Raw, name: str, level: int, qos: int
) -> None:  # [MQTT-3.3.4-7] [MQTT-4.9.0-1] to -3; in 3.1.1 the configured 128
    limit = 3 if level == V5 else 128
    one = connect(name, level, properties={Property.RECEIVE_MAXIMUM: limit})
    one.subscribe(name, qos=qos)
    other = connect(f"{name}-other")
    for number in range(limit * 2 + 1):
        other.publish_acknowledged(name, b"%d" % number, qos)
    other.publish_acknowledged(name, b"zero", 0)
    waiting = [one.expect(Publish) for _ in range(limit)]
    assert [int(it.payload) for it in waiting] == list(range(limit))
    assert one.take().payload == b"zero"  # QoS 0 is not held up
    one.expect_nothing()
    if qos == 2:  # PUBREC alone frees nothing
        one.ack(PacketType.PUBREC, waiting[0])
        one.expect_ack(PacketType.PUBREL, waiting[0])
        one.expect_nothing()
        one.ack(PacketType.PUBCOMP, waiting[0])
    else:
        one.ack(PacketType.PUBACK, waiting[0])
    assert int(one.expect(Publish).payload) == limit
    one.expect_nothing()


@LEVELS
def test_acknowledgements_in_one_write_free_as_many(connect: Raw, name: str, level: int) -> None:
    one = kept(connect, name, level)
    one.subscribe(name, qos=1)
    other = connect(f"{name}-other")
    for number in range(300):
        other.publish_acknowledged(name, b"%d" % number, 1)
    waiting = [one.expect(Publish) for _ in range(128)]
    one.send(*[Acknowledgement(PacketType.PUBACK, it.packet_id) for it in waiting[:100]])
    more = [int(one.expect(Publish).payload) for _ in range(100)]
    assert more == list(range(128, 228))
    one.expect_nothing()
    one.drop()
    two = kept(connect, name, level)
    again = [two.expect(Publish) for _ in range(128)]
    assert [int(it.payload) for it in again] == list(range(100, 228))
    assert all(it.dup for it in again)
    two.send(*[Acknowledgement(PacketType.PUBACK, it.packet_id) for it in again])
    assert [int(two.expect(Publish).payload) for _ in range(72)] == list(range(228, 300))


def test_a_smaller_receive_maximum_holds_for_what_is_sent_again(connect: Raw, name: str) -> None:
    one = kept(connect, name, V5)
    one.subscribe(name, qos=1)
    other = connect(f"{name}-other")
    for number in range(20):
        other.publish_acknowledged(name, b"%d" % number, 1)
    for _ in range(20):
        one.expect(Publish)
    one.drop()
    two = connect(name, clean_start=False, properties={**KEEP, Property.RECEIVE_MAXIMUM: 4})
    other.publish_acknowledged(name, b"20", 1)
    received: list[int] = []
    while len(received) < 21:  # always all that may be unacknowledged, then all answers at once
        some = [two.expect(Publish) for _ in range(min(4, 21 - len(received)))]
        two.expect_nothing()
        received += [int(it.payload) for it in some]
        two.send(*[Acknowledgement(PacketType.PUBACK, it.packet_id) for it in some])
    assert received == list(range(21))
    two.expect_nothing()


def test_the_order_of_one_publisher_is_kept(
    broker: Broker, connect: Raw, name: str
) -> None:  # [MQTT-4.6.0-5] [MQTT-4.6.0-6]
    watchers = [connect(f"{name}-{level}", level) for level in (V311, V5)]
    for watcher in watchers:
        watcher.subscribe(f"{name}/#", qos=0)
    one = connect(name)
    sent = [(f"{name}/{number % 7}".encode(), b"%d" % number) for number in range(500)]
    one.send(*[Publish(topic, payload) for topic, payload in sent])
    for watcher in watchers:
        received = [watcher.expect(Publish) for _ in sent]
        assert [(it.topic, it.payload) for it in received] == sent
