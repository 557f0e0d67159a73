"""Will Messages: when they are sent, when not, and as what (3.1.2.5, 3.1.3.2, 3.14.4)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from isthmus_broker.mqtt.codes import V5, V311
from isthmus_broker.mqtt.packets import Connect, Disconnect, Publish, Will
from isthmus_broker.mqtt.properties import Properties, Property
from nodes import PureNode
from rawmqtt import RawClient

Raw = Callable[..., RawClient]
KEEP: Properties = {Property.SESSION_EXPIRY_INTERVAL: 100}

ENDINGS: dict[str, tuple[Callable[[RawClient], object], bool]] = {
    "the connection breaks": (lambda one: one.drop(), True),
    "the connection is reset": (lambda one: one.reset(), True),
    "a normal DISCONNECT": (lambda one: one.disconnect(), False),  # [MQTT-3.14.4-3]
    "a protocol error": (lambda one: one.send(Connect("x", one.level)), True),
    "a malformed packet": (lambda one: one.send(b"\x00\x00"), True),
    "silence": (lambda one: None, True),
}


@pytest.mark.parametrize("level", [V311, V5])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_will_is_sent_unless_the_client_disconnects(
    connect: Raw, name: str, level: int, ending: str
) -> None:  # [MQTT-3.1.2-8] [MQTT-3.1.2-10]
    end, sent = ENDINGS[ending]
    watcher = connect(f"{name}-watcher")
    watcher.subscribe(name)
    one = connect(name, level, keep_alive=1, will=Will(name.encode(), b"gone"))
    end(one)
    if sent:
        assert watcher.take().payload == b"gone"
    watcher.expect_nothing()


def test_disconnect_may_ask_for_the_will(connect: Raw, name: str) -> None:  # 3.14.2.1, 0x04
    watcher = connect(f"{name}-watcher")
    watcher.subscribe(name)
    one = connect(name, will=Will(name.encode(), b"gone"))
    one.disconnect(0x04)
    assert watcher.take().payload == b"gone"


@pytest.mark.parametrize("level", [V311, V5])
def test_a_take_over_sends_the_will(connect: Raw, name: str, level: int) -> None:
    """3.1.4-3: the first connection ends without DISCONNECT."""
    watcher = connect(f"{name}-watcher")
    watcher.subscribe(name)
    connect(name, level, will=Will(name.encode(), b"first"))
    connect(name, level, will=Will(name.encode(), b"second"))
    assert watcher.take().payload == b"first"
    watcher.expect_nothing()


@pytest.mark.parametrize("level", [V311, V5])
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("retain", [False, True])
def test_a_will_is_a_message_as_any_other(
    connect: Raw, name: str, level: int, qos: int, retain: bool
) -> None:  # [MQTT-3.1.2-14] [MQTT-3.1.2-15], 3.1.3.2
    properties: Properties = {
        Property.PAYLOAD_FORMAT_INDICATOR: 1,
        Property.CONTENT_TYPE: "text",
        Property.RESPONSE_TOPIC: "answers",
        Property.CORRELATION_DATA: b"\x00\x01",
        Property.USER_PROPERTY: [("b", "1"), ("a", "2"), ("b", "3")],
    }
    watcher = connect(f"{name}-watcher")
    watcher.subscribe(name, qos=2, retain_as_published=True)
    will = Will(name.encode(), b"gone", qos, retain, properties)
    connect(name, level, will=will).drop()
    received = watcher.take()
    assert (received.payload, received.qos, received.retain) == (b"gone", qos, retain)
    if level == V5:
        assert received.properties == properties
    late = connect(f"{name}-late")
    late.subscribe(name)
    if retain:
        assert late.take().payload == b"gone"
    late.expect_nothing()


def test_an_empty_will_clears_what_is_retained(connect: Raw, name: str) -> None:
    watcher = connect(f"{name}-watcher")
    watcher.publish_acknowledged(name, b"here", 1, retain=True)
    watcher.subscribe(name, retain_handling=2)
    connect(name, will=Will(name.encode(), b"", 1, True)).drop()
    assert watcher.take().payload == b""
    watcher.subscribe(name)
    watcher.expect_nothing()


# -- delays, with exact times --------------------------------------------------------------------


def delayed(seconds: int, **properties: int) -> Will:
    found: Properties = {Property.WILL_DELAY_INTERVAL: seconds}
    if "expiry" in properties:
        found[Property.MESSAGE_EXPIRY_INTERVAL] = properties["expiry"]
    return Will(b"will", b"gone", properties=found)


def watched() -> tuple[PureNode, Callable[[], list[bytes]]]:
    node = PureNode()
    watcher = node.client("watcher")
    watcher.subscribe(b"will")
    return node, watcher.payloads


@pytest.mark.parametrize(
    ("delay", "expiry", "after"),
    [(10, 100, 10), (100, 10, 10), (10, 10, 10), (10, 0, 0), (0, 100, 0), (10, 0xFFFFFFFF, 10)],
)
def test_a_will_waits_for_its_delay_or_the_end_of_the_session(
    delay: int, expiry: int, after: int
) -> None:  # 3.1.3.2.2
    node, told = watched()
    keep: Properties = {Property.SESSION_EXPIRY_INTERVAL: expiry}
    one = node.client("one", properties=keep, will=delayed(delay))
    one.lose()
    if after:
        node.advance(after - 0.1)
        assert told() == []
        node.advance(0.1)
    assert told() == [b"gone"]
    node.advance(1000)
    assert told() == []


def test_whoever_comes_back_in_time_is_not_mourned() -> None:  # [MQTT-3.1.3-9]
    node, told = watched()
    for _ in range(3):
        one = node.client("one", clean_start=False, properties=KEEP, will=delayed(10))
        one.lose()
        node.advance(9)
    node.client("one", clean_start=False, properties=KEEP)
    node.advance(1000)
    assert told() == []


def test_a_later_will_waits_for_its_own_delay() -> None:
    node, told = watched()
    node.client("one", properties=KEEP, will=delayed(10)).lose()
    node.advance(5)
    node.client("one", clean_start=False, properties=KEEP, will=delayed(20)).lose()
    node.advance(19)
    assert told() == []
    node.advance(1)
    assert told() == [b"gone"]


def test_an_earlier_will_does_not_wait_for_the_one_before() -> None:
    node, told = watched()
    node.client("one", properties=KEEP, will=delayed(50)).lose()
    node.client("one", clean_start=False, properties=KEEP, will=delayed(5)).lose()
    node.advance(5)
    assert told() == [b"gone"]


def test_a_clean_start_ends_the_session_and_sends_its_will() -> None:  # 3.1.2.4, 3.1.3.2.2
    node, told = watched()
    node.client("one", properties=KEEP, will=delayed(10)).lose()
    node.client("one", clean_start=True, properties=KEEP)
    assert told() == [b"gone"]
    node.advance(1000)
    assert told() == []


def test_a_session_that_ends_with_disconnect_sends_no_will() -> None:  # [MQTT-3.14.4-3]
    node, told = watched()
    one = node.client("one", properties=KEEP, will=delayed(10))
    one.send(Disconnect())
    node.advance(1000)
    assert told() == []


def test_a_disconnect_that_asks_for_the_will_keeps_its_delay() -> None:
    node, told = watched()
    one = node.client("one", properties=KEEP, will=delayed(10))
    one.send(Disconnect(0x04))
    assert told() == []
    node.advance(10)
    assert told() == [b"gone"]


def test_its_expiry_counts_from_its_publication() -> None:  # 3.1.3.2.4
    node = PureNode()
    watcher = node.client("watcher")
    watcher.subscribe(b"will")
    node.client("one", properties=KEEP, will=delayed(10, expiry=20)).lose()
    node.advance(10)
    [received] = [it for it in watcher.take() if isinstance(it, Publish)]
    assert received.properties == {Property.MESSAGE_EXPIRY_INTERVAL: 20}
