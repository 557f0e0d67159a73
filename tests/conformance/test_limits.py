"""What a node allows its clients, and how it says no: `mqtt` and the listeners' limits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from brokers import Brokers
from isthmus_broker.mqtt.codes import V5, V311, PacketType
from isthmus_broker.mqtt.packets import ConnAck, Connect, Publish, Will
from isthmus_broker.mqtt.properties import Properties, Property
from rawmqtt import Closed, RawClient
from waiting import wait_for

Raw = Callable[..., RawClient]
KEEP: Properties = {Property.SESSION_EXPIRY_INTERVAL: 50}


def opened(
    raw: Raw, port: int, client_id: str = "one", level: int = V5, **fields: Any
) -> RawClient:
    client = raw(port, level)
    answer = client.connect(client_id, **fields)
    assert answer.reason_code == 0, answer
    return client


# -- what CONNACK withholds ----------------------------------------------------------------------

WITHHELD = [
    ("max_qos_allowed = 1", Property.MAXIMUM_QOS, 1),
    ("max_qos_allowed = 0", Property.MAXIMUM_QOS, 0),
    ("retain_available = false", Property.RETAIN_AVAILABLE, 0),
    ("wildcard_subscription = false", Property.WILDCARD_SUBSCRIPTION_AVAILABLE, 0),
    ("shared_subscription = false", Property.SHARED_SUBSCRIPTION_AVAILABLE, 0),
    ("max_topic_alias = 7", Property.TOPIC_ALIAS_MAXIMUM, 7),
    ("receive_maximum = 7", Property.RECEIVE_MAXIMUM, 7),
    ("max_awaiting_rel = 8", Property.RECEIVE_MAXIMUM, 8),
    ("max_packet_size = 2KB", Property.MAXIMUM_PACKET_SIZE, 2048),
    ("server_keepalive = 77", Property.SERVER_KEEP_ALIVE, 77),
]


def test_connack_says_what_is_withheld(start_broker: Brokers, raw: Raw) -> None:
    """All of them by one broker, changed while it runs."""
    broker = start_broker()
    for number, (config, name, value) in enumerate(WITHHELD, 1):
        broker.write(f"mqtt {{ {config} }}")
        broker.hang_up()
        broker.wait_log("configuration taken up", number)
        assert raw(broker.port).connect("one").properties[name] == value, config
        assert raw(broker.port, V311).connect("two").reason_code == 0


@pytest.mark.parametrize("level", [V311, V5])
def test_qos_above_the_maximum(start_broker: Brokers, raw: Raw, level: int) -> None:
    """[MQTT-3.2.2-9] to [MQTT-3.2.2-12]."""
    port = start_broker("mqtt.max_qos_allowed = 1").port
    one = opened(raw, port, level=level)
    assert one.subscribe("a", qos=2).codes == [1]
    assert one.publish_acknowledged("b", b"x", 1) == (0x10 if level == V5 else 0)
    one.publish("a", b"x", 2)
    one.expect_disconnect(0x9B)
    two = raw(port, level)
    two.send(Connect("two", level, will=Will(b"w", b"", 2)))
    if level == V5:
        assert two.expect(ConnAck).reason_code == 0x9B
    else:
        assert two.expect(ConnAck).reason_code == 3
    two.expect_closed()


@pytest.mark.parametrize("level", [V311, V5])
def test_retain_that_is_not_available(start_broker: Brokers, raw: Raw, level: int) -> None:
    """[MQTT-3.2.2-13] [MQTT-3.2.2-14]."""
    port = start_broker("mqtt.retain_available = false").port
    one = opened(raw, port, level=level)
    one.publish("a", b"x", retain=True)
    one.expect_disconnect(0x9A)
    two = raw(port, level)
    two.send(Connect("two", level, will=Will(b"w", b"", 0, True)))
    assert two.expect(ConnAck).reason_code == (0x9A if level == V5 else 3)


@pytest.mark.parametrize(
    ("config", "filter", "code"),
    [
        ("wildcard_subscription = false", "a/+", 0xA2),
        ("wildcard_subscription = false", "$share/g/#", 0xA2),
        ("shared_subscription = false", "$share/g/a", 0x9E),
        ("shared_subscription = false", "$queue/a", 0x9E),
        ("max_topic_levels = 3", "a/b/c/d", 0x8F),
        ("max_subscriptions = 2", "third", 0x97),
    ],
)
def test_subscriptions_that_are_refused(
    start_broker: Brokers, raw: Raw, config: str, filter: str, code: int
) -> None:
    port = start_broker(f"mqtt.{config}").port
    for level in (V311, V5):
        one = opened(raw, port, level=level)
        refusal = code if level == V5 else 0x80
        assert one.subscribe("first", "a/b/c", filter, "first").codes == [0, 0, refusal, 0]
        one.publish("first", b"x")
        one.take()


@pytest.mark.parametrize("level", [V311, V5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_topics_of_too_many_levels(start_broker: Brokers, raw: Raw, level: int, qos: int) -> None:
    port = start_broker("mqtt.max_topic_levels = 3").port
    one = opened(raw, port, level=level)
    one.subscribe("#")
    one.publish("a/b/c", b"x")
    one.take()
    one.publish("a/b/c/d", b"x", qos)
    one.expect_disconnect(0x90)


def test_sessions_are_limited_but_their_owners_come_back(start_broker: Brokers, raw: Raw) -> None:
    port = start_broker("mqtt.max_sessions = 2").port
    opened(raw, port, "one", properties=KEEP).disconnect()
    two = opened(raw, port, "two")
    refused = raw(port)
    assert refused.connect("three").reason_code == 0x97
    refused.expect_closed()
    assert opened(raw, port, "one", clean_start=False, properties=KEEP)
    opened(raw, port, "two")
    two.expect_disconnect(0x8E)


# -- listeners -----------------------------------------------------------------------------------


def test_connections_of_a_listener(start_broker: Brokers, raw: Raw) -> None:
    broker = start_broker("listeners.tcp.default.max_connections = 2")
    one, two = (opened(raw, broker.port, name) for name in ("one", "two"))
    with pytest.raises(Closed):
        raw(broker.port).connect("three")
    one.disconnect()
    two.expect_nothing()
    opened(raw, broker.port, "three")


def test_connect_rate_of_a_listener(start_broker: Brokers, raw: Raw) -> None:
    """A burst of one second's worth, then the rest is refused; after a while they come in again."""
    broker = start_broker("listeners.tcp.default.max_conn_rate = 5")

    def comes_in() -> bool:
        try:
            return raw(broker.port).connect("").reason_code == 0
        except Closed:
            return False

    results = [comes_in() for _ in range(30)]
    assert results[:5] == [True] * 5
    assert False in results
    wait_for(comes_in)


@pytest.mark.parametrize(
    ("config", "count", "size"),
    [("messages_rate = 50", 100, 3), ("bytes_rate = 100KB", 20, 10_000)],
)
def test_rates_of_a_client(
    start_broker: Brokers, raw: Raw, config: str, count: int, size: int
) -> None:
    """Above them a client is read from more slowly; nothing is lost, others are not held up."""
    broker = start_broker(f"listeners.tcp.default.{config}")
    fast, watcher, other = (opened(raw, broker.port, name) for name in ("fast", "watcher", "other"))
    watcher.subscribe("fast")
    started = time.monotonic()
    fast.send(*[Publish(b"fast", b"%02d" % number + b"x" * size) for number in range(count)])
    assert [int(watcher.take().payload[:2]) for _ in range(count)] == list(range(count))
    fast.publish("fast", b"after")
    other.publish_acknowledged("other", b"x", 1)
    assert watcher.take().payload == b"after"
    assert time.monotonic() - started > 0.9  # two seconds' worth came at once


# -- queues --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "size", "expected"),
    [("max_mqueue_len = 5", 10, 5), ("max_mqueue_bytes = 10KB", 1000, 8)],
)
def test_the_queue_of_a_session(
    start_broker: Brokers, raw: Raw, config: str, size: int, expected: int
) -> None:
    """The newest are dropped; what waits stays in order."""
    broker = start_broker(f"mqtt.{config}")
    one = opened(raw, broker.port, properties=KEEP)
    one.subscribe("a", qos=1)
    one.disconnect()
    other = opened(raw, broker.port, "other")
    for number in range(20):
        other.publish_acknowledged("a", b"%02d" % number + b"x" * size, 1)
    two = opened(raw, broker.port, clean_start=False, properties=KEEP)
    assert [int(two.take().payload[:2]) for _ in range(expected)] == list(range(expected))
    two.expect_nothing()


def test_in_flight_is_limited_by_configuration_too(start_broker: Brokers, raw: Raw) -> None:
    broker = start_broker("mqtt.max_inflight = 2")
    one = opened(raw, broker.port)
    one.subscribe("a", qos=1)
    other = opened(raw, broker.port, "other")
    for number in range(4):
        other.publish_acknowledged("a", b"%d" % number, 1)
    first, _second = (one.expect(Publish) for _ in range(2))
    one.expect_nothing()
    one.ack(PacketType.PUBACK, first)
    assert one.expect(Publish).payload == b"2"
