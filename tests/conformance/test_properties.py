"""MQTT 5.0 properties: what travels, aliases, expiry, sizes (2.2.2, 3.3.2.3)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from brokers import Brokers
from isthmus_broker.mqtt import packets
from isthmus_broker.mqtt.codes import V5, V311
from isthmus_broker.mqtt.packets import Publish
from isthmus_broker.mqtt.properties import Properties, Property
from nodes import PureNode
from rawmqtt import RawClient

Raw = Callable[..., RawClient]
KEEP: Properties = {Property.SESSION_EXPIRY_INTERVAL: 1000}

TRAVELLING: Properties = {
    Property.USER_PROPERTY: [("b", "2"), ("a", ""), ("b", "1"), ("", "ü")],
    Property.PAYLOAD_FORMAT_INDICATOR: 1,
    Property.CORRELATION_DATA: bytes(range(256)),
    Property.RESPONSE_TOPIC: "answers/ü",
    Property.CONTENT_TYPE: "application/x",
}


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("waits", [False, True])
def test_what_is_for_the_receiver_arrives_unchanged_and_in_order(
    connect: Raw, name: str, qos: int, waits: bool
) -> None:  # [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [-20]
    one = connect(name, properties=KEEP)
    one.subscribe(name, qos=qos)
    if waits and qos:
        one.disconnect()
    publisher = connect(f"{name}-publisher")
    publisher.publish_acknowledged(name, b"x", qos, properties=TRAVELLING)
    if waits and qos:
        one = connect(name, clean_start=False, properties=KEEP)
    received = one.take()
    assert received.properties == TRAVELLING
    assert list(received.properties) == list(TRAVELLING)


def test_311_gets_no_properties_and_gives_none(connect: Raw, name: str) -> None:
    old, new = connect(f"{name}-old", V311), connect(f"{name}-new")
    for client in (old, new):
        client.subscribe(name, qos=1)
    new.publish(name, b"1", properties=TRAVELLING)
    old.publish(name, b"2")
    assert [old.take() for _ in range(2)] == [
        Publish(name.encode(), b"1"),
        Publish(name.encode(), b"2"),
    ]
    assert [new.take().properties for _ in range(2)] == [TRAVELLING, {}]


# -- topic aliases -------------------------------------------------------------------------------

ALIAS = Property.TOPIC_ALIAS


def aliased(topic: str, alias: int, payload: bytes = b"") -> Publish:
    return Publish(topic.encode(), payload, properties={ALIAS: alias})


def test_an_alias_stands_for_its_topic_until_it_is_set_again(
    connect: Raw, name: str
) -> None:  # 3.3.2.3.4, [MQTT-3.3.2-12]
    watcher = connect(f"{name}-watcher")
    watcher.subscribe(f"{name}/#")
    one = connect(name)
    one.send(
        aliased(f"{name}/a", 1, b"0"),
        aliased("", 1, b"1"),
        aliased(f"{name}/b", 64, b"2"),
        aliased("", 1, b"3"),
        aliased("", 64, b"4"),
        aliased(f"{name}/c", 1, b"5"),
        aliased("", 1, b"6"),
        Publish(b"", b"7", 1, packet_id=1, properties={ALIAS: 64}),
    )
    received = [watcher.take() for _ in range(8)]
    assert [it.topic.decode()[-1] for it in received] == list("aababccb")
    assert [int(it.payload) for it in received] == list(range(8))
    assert not any(ALIAS in it.properties for it in received)


@pytest.mark.parametrize(
    ("packet", "code"),
    [
        (aliased("", 1), 0x82),
        (aliased("a", 0), 0x94),  # [MQTT-3.3.2-8]
        (aliased("a", 65), 0x94),  # [MQTT-3.3.2-9]
        (aliased("", 0xFFFF), 0x94),
        (Publish(b""), 0x82),
    ],
)
def test_wrong_aliases(connect: Raw, name: str, packet: Publish, code: int) -> None:
    one = connect(name)
    one.send(packet)
    one.expect_disconnect(code)


def test_aliases_end_with_their_connection(connect: Raw, name: str) -> None:  # [MQTT-3.3.2-7]
    one = connect(name, properties=KEEP)
    one.send(aliased(f"{name}/a", 1))
    one.expect_nothing()
    one.drop()
    two = connect(name, clean_start=False, properties=KEEP)
    two.send(aliased("", 1))
    two.expect_disconnect(0x82)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_the_broker_uses_as_many_aliases_as_it_may(connect: Raw, name: str, qos: int) -> None:
    one = connect(name, properties={Property.TOPIC_ALIAS_MAXIMUM: 2, **KEEP})
    one.subscribe(f"{name}/#", qos=qos)
    other = connect(f"{name}-other")
    topics = [f"{name}/{letter}" for letter in "abcabca"]
    for topic in topics:
        other.publish_acknowledged(topic, b"x", qos)
    known: dict[int, bytes] = {}
    heads = []
    for topic in topics:
        received = one.take()
        alias = received.alias
        assert 0 <= alias <= 2  # [MQTT-3.1.2-26]
        if received.topic and alias:
            known[alias] = received.topic
        assert (received.topic or known[alias]) == topic.encode()
        heads.append((bool(received.topic), alias))
    assert heads == [(True, 1), (True, 2), (True, 0), (False, 1), (False, 2), (True, 0), (False, 1)]
    one.drop()
    two = connect(name, clean_start=False, properties={Property.TOPIC_ALIAS_MAXIMUM: 2, **KEEP})
    other.publish_acknowledged(topics[0], b"y", qos)
    assert two.take().topic == topics[0].encode()


def test_without_a_maximum_there_are_none(connect: Raw, name: str) -> None:  # [MQTT-3.1.2-27]
    one = connect(name)
    one.subscribe(name)
    for _ in range(2):
        one.publish(name, b"x")
        assert one.take().properties == {}


# -- Maximum Packet Size -------------------------------------------------------------------------


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_what_is_too_large_for_a_client_is_left_out(
    connect: Raw, name: str, qos: int
) -> None:  # [MQTT-3.1.2-24] [MQTT-3.1.2-25]
    limit = 100
    small = connect(f"{name}-small", properties={Property.MAXIMUM_PACKET_SIZE: limit})
    large = connect(f"{name}-large")
    for client in (small, large):
        client.subscribe(name, qos=qos)
    empty = len(packets.encode(Publish(name.encode(), b"", qos, packet_id=qos and 1), V5))
    other = connect(f"{name}-other")
    fits, too_large, after = b"f" * (limit - empty), b"t" * (limit - empty + 1), b"after"
    for payload in (fits, too_large, after):
        other.publish_acknowledged(name, payload, qos)
    assert [small.take().payload for _ in range(2)] == [fits, after]
    small.expect_nothing()
    assert [large.take().payload for _ in range(3)] == [fits, too_large, after]


def test_what_is_too_large_on_return_is_left_out(connect: Raw, name: str) -> None:
    one = connect(name, properties=KEEP)
    one.subscribe(name, qos=1)
    other = connect(f"{name}-other")
    for payload in (b"1", b"2" * 200, b"3"):
        other.publish_acknowledged(name, payload, 1)
        one.expect(Publish)
    one.drop()
    for payload in (b"4" * 200, b"5"):
        other.publish_acknowledged(name, payload, 1)
    limited: Properties = {Property.MAXIMUM_PACKET_SIZE: 100, **KEEP}
    two = connect(name, clean_start=False, properties=limited)
    assert [two.take().payload for _ in range(3)] == [b"1", b"3", b"5"]
    two.expect_nothing()


@pytest.mark.parametrize("level", [V311, V5])
@pytest.mark.parametrize("complete", [False, True])
def test_a_client_keeps_to_ours(
    start_broker: Brokers, raw: Raw, level: int, complete: bool
) -> None:  # [MQTT-3.2.2-15]: 0x95, as soon as it is known
    broker = start_broker("mqtt.max_packet_size = 1KB")
    one = raw(broker.port, level)
    answer = one.connect("one")
    if level == V5:
        assert answer.properties[Property.MAXIMUM_PACKET_SIZE] == 1024
    empty = len(packets.encode(Publish(b"a", b"1" * 500), level)) - 500
    one.subscribe("a")
    one.publish("a", b"x" * (1024 - empty))
    assert len(one.take().payload) == 1024 - empty
    packet = packets.encode(Publish(b"a", b"x" * (1025 - empty)), level)
    one.send(packet if complete else packet[:3])
    one.expect_disconnect(0x95)


# -- Message Expiry Interval, with exact times ---------------------------------------------------


def expiring(payload: bytes, seconds: int, qos: int = 1) -> Publish:
    found: Properties = {Property.MESSAGE_EXPIRY_INTERVAL: seconds}
    return Publish(b"a", payload, qos, packet_id=1 if qos else 0, properties=found)


def test_what_has_expired_is_not_delivered() -> None:  # [MQTT-3.3.2-5] [MQTT-3.3.2-6]
    node = PureNode()
    one = node.client("one", properties=KEEP)
    one.subscribe(b"a", qos=1)
    one.lose()
    publisher = node.client("publisher")
    publisher.send(expiring(b"1", 10), expiring(b"2", 11), expiring(b"3", 100))
    publisher.publish(b"a", b"4", 1)
    node.advance(10)
    received = node.client("one", clean_start=False, properties=KEEP).messages()
    assert [it.payload for it in received] == [b"2", b"3", b"4"]
    left = [it.properties.get(Property.MESSAGE_EXPIRY_INTERVAL) for it in received]
    assert left == [1, 90, None]


def test_the_interval_arrives_whole_where_nothing_waited() -> None:
    node = PureNode()
    one = node.client("one")
    one.subscribe(b"a", qos=1)
    for qos in (0, 1):
        one.send(expiring(b"x", 30, qos))
        [received] = one.messages()
        assert received.properties == {Property.MESSAGE_EXPIRY_INTERVAL: 30}


def test_a_retained_message_expires() -> None:
    node = PureNode()
    one = node.client("one")
    packet = expiring(b"x", 10)
    packet.retain = True
    one.send(packet)
    node.advance(9)
    for filter in (b"a", b"#"):
        one.subscribe(filter)
        node.settle()
        [received] = one.messages()
        assert received.properties == {Property.MESSAGE_EXPIRY_INTERVAL: 1}
    node.advance(1)
    for filter in (b"a", b"#"):
        one.subscribe(filter)
        node.settle()
        assert one.messages() == []
    assert len(node.router.retained) == 0


def test_an_interval_of_nothing_delivers_to_whoever_is_there() -> None:
    node = PureNode()
    here, away = node.client("here"), node.client("away", properties=KEEP)
    for client in (here, away):
        client.subscribe(b"a", qos=1)
    away.lose()
    node.client("publisher").send(expiring(b"x", 0))
    assert len(here.messages()) <= 1
    assert node.client("away", clean_start=False, properties=KEEP).messages() == []
