"""SUBSCRIBE and UNSUBSCRIBE: filters, options, identifiers, answers (3.8 to 3.11, 4.7)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from isthmus_broker.mqtt.codes import V5, V311
from isthmus_broker.mqtt.packets import Publish, SubAck, Subscribe, SubscriptionOptions, Unsubscribe
from isthmus_broker.mqtt.properties import Properties, Property
from rawmqtt import RawClient

Raw = Callable[..., RawClient]
LEVELS = pytest.mark.parametrize("level", [V311, V5])

MATCHES = [
    # filter, topic, whether it matches: 4.7.1
    ("a/b", "a/b", True),
    ("a/b", "a/b/c", False),
    ("a/b", "A/b", False),
    ("a/#", "a", True),  # [MQTT-4.7.1-2] the parent level, too
    ("a/#", "a/b", True),
    ("a/#", "a/b/c/d", True),
    ("a/#", "b", False),
    ("#", "a/b/c", True),
    ("#", "/", True),
    ("+", "a", True),
    ("+", "a/b", False),
    ("+", "/a", False),
    ("/+", "/a", True),
    ("+/+", "/a", True),
    ("a/+/c", "a/b/c", True),
    ("a/+/c", "a//c", True),
    ("a/+/c", "a/b/c/d", False),
    ("a/+", "a/", True),
    ("a/+", "a", False),
    ("+/b/#", "a/b", True),
    ("+/b/#", "a/c/b", False),
    ("a/b", "a/b/", False),
    ("a b", "a b", True),
    ("ü/+", "ü/€", True),
    ("#", "$x/a", False),  # [MQTT-4.7.2-1]
    ("+/a", "$x/a", False),
    ("$x/#", "$x/a", True),
    ("$x/+", "$x/a", True),
    ("a/$x", "a/$x", True),
    ("+/$x", "a/$x", True),
]


@pytest.mark.parametrize(("filter", "topic", "matches"), MATCHES)
def test_a_filter_gets_what_it_matches(
    connect: Raw, name: str, filter: str, topic: str, matches: bool
) -> None:
    one = connect(name)
    one.subscribe(filter)
    one.publish(topic, b"x")
    if matches:
        assert one.take().topic == topic.encode()
    one.expect_nothing()


WRONG = ["", "a/#/b", "a#", "#/", "a+", "+a/b", "a/++", "$share//a", "$share/g", "$share/g/"]
WRONG += ["$share/g+/a", "$share/#/a", "$share/g/a#", "a/" * 128]


@LEVELS
@pytest.mark.parametrize("wrong", WRONG)
def test_an_invalid_filter_is_answered_for_itself(
    connect: Raw, name: str, level: int, wrong: str
) -> None:  # [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1] [MQTT-4.8.2-1] [MQTT-4.8.2-2]
    one = connect(name, level)
    refusal = 0x8F if level == V5 else 0x80
    assert one.subscribe(f"{name}/a", wrong, f"{name}/b", qos=1).codes == [1, refusal, 1]
    for topic in ("a", "b"):
        one.publish(f"{name}/{topic}", b"x")
        assert one.take().payload == b"x"


@LEVELS
def test_each_filter_has_its_own_qos(
    connect: Raw, name: str, level: int
) -> None:  # [MQTT-3.8.4-5] [MQTT-3.8.4-6]
    one = connect(name, level)
    wanted = [(f"{name}/{qos}".encode(), SubscriptionOptions(qos)) for qos in (2, 0, 1)]
    one.send(Subscribe(9, wanted))
    assert one.expect(SubAck) == SubAck(9, [2, 0, 1])


@LEVELS
def test_subscribing_again_replaces(connect: Raw, name: str, level: int) -> None:  # [MQTT-3.8.4-3]
    one = connect(name, level)
    other = connect(f"{name}-other")
    for qos in (1, 0, 2):
        one.subscribe(name, qos=qos)
        other.publish_acknowledged(name, b"x", 2)
        assert one.take().qos == qos
        one.expect_nothing()


@LEVELS
def test_overlapping_subscriptions_deliver_once_at_the_highest_qos(
    connect: Raw, name: str, level: int
) -> None:  # [MQTT-3.3.4-2]
    one = connect(name, level)
    for qos, filter in ((0, f"{name}/#"), (2, f"{name}/+"), (1, f"{name}/a")):
        one.subscribe(filter, qos=qos)
    connect(f"{name}-other").publish_acknowledged(f"{name}/a", b"x", 2)
    assert one.take().qos == 2
    one.expect_nothing()


def identifiers(packet: Publish) -> list[int]:
    found = packet.properties.get(Property.SUBSCRIPTION_IDENTIFIER, [])
    assert isinstance(found, list)
    return sorted(it for it in found if isinstance(it, int))


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_message_says_all_subscriptions_that_it_is_for(
    connect: Raw, name: str, qos: int
) -> None:  # [MQTT-3.3.4-3] [MQTT-3.3.4-4]
    one = connect(name)
    one.subscribe(f"{name}/#", qos=qos, identifier=1)
    one.subscribe(f"{name}/+", qos=qos, identifier=268_435_455)
    one.subscribe(f"{name}/a", qos=qos)
    one.subscribe(f"{name}/b", qos=qos, identifier=7)
    other = connect(f"{name}-other")
    for topic, expected in (("a", [1, 268_435_455]), ("b", [1, 7, 268_435_455]), ("a/b", [1])):
        other.publish_acknowledged(f"{name}/{topic}", b"x", qos)
        assert identifiers(one.take()) == expected


def test_an_identifier_goes_with_a_subscription_that_replaces(connect: Raw, name: str) -> None:
    one = connect(name)
    for identifier in (5, 6, 0):
        one.subscribe(name, identifier=identifier)
        one.publish(name, b"x")
        assert identifiers(one.take()) == ([identifier] if identifier else [])


def test_an_identifier_outlives_the_connection(connect: Raw, name: str) -> None:  # 3.8.4, 4.1
    keep: Properties = {Property.SESSION_EXPIRY_INTERVAL: 50}
    one = connect(name, properties=keep)
    one.subscribe(name, qos=1, identifier=5)
    one.disconnect()
    connect(f"{name}-other").publish_acknowledged(name, b"1", 1)
    two = connect(name, clean_start=False, properties=keep)
    assert identifiers(two.take()) == [5]
    two.publish(name, b"2")
    assert identifiers(two.take()) == [5]


def test_no_local(connect: Raw, name: str) -> None:  # [MQTT-3.8.3-3]
    one, other = connect(name), connect(f"{name}-other")
    for client in (one, other):
        client.subscribe(name, qos=1, no_local=True)
    one.publish(name, b"0")
    one.publish_acknowledged(name, b"1", 1)
    assert [other.take().payload for _ in range(2)] == [b"0", b"1"]
    one.expect_nothing()


def test_no_local_gives_way_to_an_overlapping_subscription(connect: Raw, name: str) -> None:
    one = connect(name)
    one.subscribe(f"{name}/#", no_local=True)
    one.subscribe(f"{name}/a")
    one.publish(f"{name}/a", b"x")
    assert one.take().payload == b"x"
    one.expect_nothing()


@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize("retain", [False, True])
def test_retain_as_published(
    connect: Raw, name: str, retain: bool, as_published: bool
) -> None:  # [MQTT-3.3.1-12] [MQTT-3.3.1-13]
    one = connect(name)
    one.subscribe(name, retain_as_published=as_published)
    for qos in (0, 1):
        connect(f"{name}-other").publish_acknowledged(name, b"x", qos, retain=retain)
        assert one.take().retain == (retain and as_published)


def test_retain_is_off_for_whoever_subscribed_before(
    connect: Raw, name: str
) -> None:  # [MQTT-3.3.1-9] of 3.1.1
    one = connect(name, V311)
    one.subscribe(name)
    one.publish(name, b"x", retain=True)
    assert not one.take().retain


# -- UNSUBSCRIBE ---------------------------------------------------------------------------------


@LEVELS
def test_unsubscribing_ends_the_delivery(
    connect: Raw, name: str, level: int
) -> None:  # [MQTT-3.10.4-1] [MQTT-3.10.4-2] [MQTT-3.10.4-4] [MQTT-3.11.3-1]
    one = connect(name, level)
    one.subscribe(f"{name}/a", f"{name}/+", f"{name}/#")
    answer = one.unsubscribe(f"{name}/a", f"{name}/b", f"{name}/+", "a/#/b")
    assert answer.codes == ([0, 0x11, 0, 0x11] if level == V5 else [])
    one.publish(f"{name}/a", b"1")
    assert one.take().payload == b"1"  # by name/#
    one.unsubscribe(f"{name}/#")
    one.publish(f"{name}/a", b"2")
    one.expect_nothing()


@LEVELS
def test_what_is_in_flight_is_finished_after_unsubscribing(
    connect: Raw, name: str, level: int
) -> None:  # [MQTT-3.10.4-3]
    one = connect(name, level)
    one.subscribe(name, qos=2)
    connect(f"{name}-other").publish_acknowledged(name, b"x", 2)
    received = one.expect(Publish)
    one.unsubscribe(name)
    from isthmus_broker.mqtt.codes import PacketType

    one.ack(PacketType.PUBREC, received)
    one.expect_ack(PacketType.PUBREL, received)


def test_filters_are_compared_character_by_character(
    connect: Raw, name: str
) -> None:  # [MQTT-3.10.4-1]
    one = connect(name)
    one.subscribe(f"{name}/+")
    assert one.unsubscribe(f"{name}/a", f"{name}/#", f"{name.upper()}/+").codes == [0x11] * 3


# -- packets that are wrong ----------------------------------------------------------------------

PACKETS = [
    (
        "[MQTT-3.8.1-1] SUBSCRIBE with flags 0000",
        "80 06 0001 0001 61 00",
        "80 07 0001 00 0001 61 00",
    ),
    ("[MQTT-3.10.1-1] UNSUBSCRIBE with flags 0000", "a0 05 0001 0001 61", "a0 06 0001 00 0001 61"),
    ("[MQTT-3.8.3-2] no filter", "82 02 0001", "82 03 0001 00"),
    ("[MQTT-3.10.3-2] no filter to unsubscribe", "a2 02 0001", "a2 03 0001 00"),
    ("[MQTT-2.2.1-3] packet identifier 0", "82 06 0000 0001 61 00", "82 07 0000 00 0001 61 00"),
    ("[MQTT-3.8.3-5] reserved bits", "82 06 0001 0001 61 04", "82 07 0001 00 0001 61 40"),
    ("QoS 3", "82 06 0001 0001 61 03", "82 07 0001 00 0001 61 03"),
    ("no options", "82 05 0001 0001 61", "82 06 0001 00 0001 61"),
    ("a filter that is not UTF-8", "82 06 0001 0001 ff 00", "82 07 0001 00 0001 ff 00"),
    ("U+0000 in a filter", "82 06 0001 0001 00 00", "82 07 0001 00 0001 00 00"),
    ("Retain Handling 3", "", "82 07 0001 00 0001 61 30"),
    (
        "[MQTT-3.8.3-4] a shared one with No Local",
        "",
        "82 10 0001 00 000a 247368617265 2f672f61 04",
    ),
    ("Subscription Identifier 0", "", "82 09 0001 02 0b00 0001 61 00"),
    ("Subscription Identifier twice", "", "82 0b 0001 04 0b01 0b02 0001 61 00"),
]
CODES = [0x81, 0x81, 0x82, 0x82, 0x82, 0x81, 0x82, 0x81, 0x81, 0x81, 0x82, 0x82, 0x82, 0x82]


@pytest.mark.parametrize(
    ("v311", "v5", "code"),
    [(row[1], row[2], code) for row, code in zip(PACKETS, CODES, strict=True)],
    ids=[row[0] for row in PACKETS],
)
def test_a_wrong_packet_ends_the_connection(
    connect: Raw, name: str, v311: str, v5: str, code: int
) -> None:
    for level, packet in ((V311, v311), (V5, v5)):
        if packet:
            one = connect(name, level)
            one.send(bytes.fromhex(packet))
            one.expect_disconnect(code)


def test_unsubscribing_wants_a_packet_identifier(connect: Raw, name: str) -> None:
    one = connect(name)
    one.send(Unsubscribe(0, [b"a"]))
    one.expect_disconnect(0x82)
