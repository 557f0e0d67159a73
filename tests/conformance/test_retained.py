"""Retained messages: kept, replaced, cleared, and when a subscription brings them (3.3.1.3)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from brokers import Brokers
from isthmus_broker.mqtt.codes import V5, V311
from isthmus_broker.mqtt.packets import Publish
from isthmus_broker.mqtt.properties import Properties, Property
from rawmqtt import RawClient

Raw = Callable[..., RawClient]
LEVELS = pytest.mark.parametrize("level", [V311, V5])


@LEVELS
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("wild", [False, True])
def test_a_new_subscription_gets_the_last_message(
    connect: Raw, name: str, level: int, qos: int, wild: bool
) -> None:  # [MQTT-3.3.1-5] [MQTT-3.3.1-8]
    publisher = connect(f"{name}-publisher", level)
    for payload in (b"old", b"new"):
        publisher.publish_acknowledged(f"{name}/a", payload, qos, retain=True)
    publisher.disconnect()
    one = connect(name, level)
    one.subscribe(f"{name}/+" if wild else f"{name}/a", qos=1)
    received = one.take()
    assert (received.payload, received.retain, received.dup) == (b"new", True, False)
    assert received.qos == min(qos, 1)
    one.expect_nothing()


@LEVELS
def test_an_empty_one_clears(
    connect: Raw, name: str, level: int
) -> None:  # [MQTT-3.3.1-6] [MQTT-3.3.1-7]
    one = connect(name, level)
    one.publish(name, b"x", retain=True)
    one.subscribe(name)
    assert one.take().retain
    one.publish(name, b"", retain=True)
    received = one.take()  # goes to current subscribers as any other
    assert (received.payload, received.retain) == (b"", False)
    other = connect(f"{name}-other", level)
    other.subscribe(name)
    other.expect_nothing()


def test_one_without_retain_leaves_it(connect: Raw, name: str) -> None:  # [MQTT-3.3.1-8]
    one = connect(name)
    one.publish(name, b"kept", retain=True)
    one.publish(name, b"passing")
    one.publish(name, b"")
    one.subscribe(name)
    assert one.take().payload == b"kept"
    one.expect_nothing()


@pytest.mark.parametrize(
    ("handling", "first", "again"), [(0, True, True), (1, True, False), (2, False, False)]
)
@pytest.mark.parametrize("wild", [False, True])
def test_retain_handling(
    connect: Raw, name: str, handling: int, first: bool, again: bool, wild: bool
) -> None:  # [MQTT-3.3.1-9] to [MQTT-3.3.1-11]
    one = connect(name)
    one.publish(f"{name}/a", b"x", retain=True)
    filter = f"{name}/+" if wild else f"{name}/a"
    for expected in (first, again):
        one.subscribe(filter, retain_handling=handling)
        if expected:
            assert one.take().payload == b"x"
        one.expect_nothing()
    one.unsubscribe(filter)
    one.subscribe(filter, retain_handling=handling)
    if first:
        assert one.take().payload == b"x"
    one.expect_nothing()


def test_a_resumed_session_is_not_a_new_subscription(connect: Raw, name: str) -> None:
    keep: Properties = {Property.SESSION_EXPIRY_INTERVAL: 50}
    one = connect(name, properties=keep)
    one.subscribe(name)
    one.publish(name, b"x", retain=True)
    one.take()
    one.disconnect()
    two = connect(name, clean_start=False, properties=keep)
    two.expect_nothing()
    two.subscribe(name, retain_handling=1)
    two.expect_nothing()


def test_a_shared_subscription_gets_none(connect: Raw, name: str) -> None:  # 3.8.4
    one = connect(name)
    one.publish(name, b"x", retain=True)
    one.subscribe(f"$share/g/{name}")
    one.expect_nothing()


def test_wildcards_leave_out_dollar_topics(connect: Raw, name: str) -> None:  # [MQTT-4.7.2-1]
    one = connect(name)
    one.publish(f"${name}/x", b"hidden", retain=True)
    one.subscribe("+/x")
    one.expect_nothing()
    one.subscribe(f"${name}/#")
    assert one.take().payload == b"hidden"


def test_properties_stay_and_the_identifier_is_the_subscribers(connect: Raw, name: str) -> None:
    one = connect(name)
    properties: Properties = {
        Property.CONTENT_TYPE: "text",
        Property.USER_PROPERTY: [("b", "1"), ("a", "2"), ("b", "1")],
    }
    one.publish(name, b"x", 1, retain=True, properties=properties)
    one.receive()
    one.subscribe(name, identifier=7)
    assert one.take().properties == {**properties, Property.SUBSCRIPTION_IDENTIFIER: [7]}


def test_all_of_many_come(connect: Raw, name: str) -> None:
    publisher = connect(f"{name}-publisher")
    topics = {b"%s/%d" % (name.encode(), number) for number in range(3000)}
    publisher.send(*[Publish(topic, b"x" * 100, retain=True) for topic in topics])
    publisher.expect_nothing()
    for level in (V311, V5):
        one = connect(name, level)
        one.subscribe(f"{name}/#", qos=1)
        assert {one.take().topic for _ in topics} == topics
        one.expect_nothing()
    publisher.send(*[Publish(topic, b"", retain=True) for topic in topics])
    publisher.expect_nothing()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("retainer.max_retained_messages = 2", [b"0", b"1"]),
        ("retainer.max_payload_size = 1KB", [b"0", b"1", b"2"]),
        ("retainer.max_bytes = 2100B", [b"0", b"1"]),
    ],
)
def test_limits(start_broker: Brokers, raw: Raw, config: str, expected: list[bytes]) -> None:
    """What does not fit is delivered but not kept; a replaced message makes room for the new."""
    broker = start_broker(config)
    one = raw(broker.port)
    one.connect("one")
    one.subscribe("#", retain_as_published=True)
    for number in range(3):
        one.publish(f"{number}", b"%d" % number * 1000, retain=True)
    one.publish("big", b"b" * 2000, retain=True)
    one.publish("0", b"0" * 1000, retain=True)
    for _ in range(5):
        assert one.take().retain
    two = raw(broker.port)
    two.connect("two")
    two.subscribe("#")
    assert sorted(two.take().payload[:1] for _ in expected) == expected
    two.expect_nothing()
