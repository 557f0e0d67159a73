"""The connection's state machine, without sockets: portions, cost, times."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_broker.auth.rules import Rules
from isthmus_broker.auth.verify import Proof
from isthmus_broker.connection import connection
from isthmus_broker.mqtt import packets
from isthmus_broker.mqtt.codes import V5, V311, ReasonCode
from isthmus_broker.mqtt.packets import (
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    Publish,
    SubAck,
    Subscribe,
    SubscriptionOptions,
    UnsubAck,
    Unsubscribe,
)
from isthmus_broker.mqtt.scan import scan
from isthmus_broker.settings.models import AuthorizationSettings
from nodes import PureClient, PureNode


def subscribe(packet_id: int, *filters: bytes) -> Subscribe:
    return Subscribe(packet_id, [(one, SubscriptionOptions(0)) for one in filters])


@pytest.mark.parametrize("level", [V311, V5])
def test_a_read_of_many_subscriptions_costs_what_it_has(
    monkeypatch: pytest.MonkeyPatch, level: int
) -> None:
    """Subscribing makes what was scanned before stale; not all of the rest is scanned again."""
    scanned = 0
    original = scan

    def counting(*arguments: Any) -> Any:
        nonlocal scanned
        items, rest = original(*arguments)
        scanned += len(items)
        return items, rest

    monkeypatch.setattr(connection, "scan", counting)
    client = PureNode().client("one", level)
    scanned = 0
    steps: list[Any] = []
    for number in range(1, 501):
        steps += [subscribe(number, b"a"), Publish(b"a", b"x"), Unsubscribe(number, [b"a"])]
    client.send(*steps)
    kinds = [type(packet) for packet in client.take()]
    assert kinds == [SubAck, Publish, UnsubAck] * 500
    assert scanned <= 2 * len(steps)


def test_each_packet_sees_the_subscriptions_before_it() -> None:
    client = PureNode().client("one")
    client.send(
        Publish(b"a", b"0"),
        Publish(b"b", b"1"),
        subscribe(1, b"a"),
        Publish(b"a", b"2"),
        Publish(b"b", b"3"),
        subscribe(2, b"+"),
        Publish(b"b", b"4"),
        Publish(b"a", b"5"),
        Unsubscribe(3, [b"a"]),
        Publish(b"a", b"6"),
        Unsubscribe(4, [b"+"]),
        Publish(b"a", b"7"),
    )
    assert client.payloads() == [b"2", b"4", b"5", b"6"]


CONVERSATION: list[Packet] = [
    Connect("one"),
    subscribe(1, b"a", b"b/#"),
    Publish(b"a", b"1"),
    Publish(b"a", b"2"),
    Publish(b"b/c", b"3" * 300),
    Publish(b"b/c", b"4", 1, packet_id=7),
    PingReq(),
    Publish(b"c", b"5"),
    Unsubscribe(2, [b"a"]),
    Publish(b"a", b"6"),
    Publish(b"b", b"7", 2, packet_id=8),
    PingReq(),
]


@given(st.data(), st.sampled_from([V311, V5]))
def test_bytes_may_come_in_any_portions(data: st.DataObject, level: int) -> None:
    conversation: list[Packet] = [Connect("one", level), *CONVERSATION[1:]]
    sent = b"".join(packets.encode(packet, level) for packet in conversation)
    cuts = data.draw(st.lists(st.integers(0, len(sent)), max_size=20).map(sorted))
    whole, pieces = PureClient(PureNode(), level), PureClient(PureNode(), level)
    whole.send(sent)
    for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        pieces.send(sent[start:end])
    assert pieces.take() == whole.take()
    assert not pieces.closed


def test_what_comes_while_the_client_is_being_verified_waits() -> None:
    node = PureNode()
    node.asked = []
    client = PureClient(node)
    client.send(Connect("one"), PingReq())
    assert not client.wire.reading
    client.send(packets.encode(PingReq(), V5)[:1])
    client.send(packets.encode(PingReq(), V5)[1:])
    assert client.take() == []
    node.asked[0](Proof("one"))
    assert client.wire.reading
    assert [type(it).__name__ for it in client.take()] == ["ConnAck", "PingResp", "PingResp"]


def test_a_client_that_goes_while_it_is_being_verified_gets_no_session() -> None:
    node = PureNode()
    node.asked = []
    client = PureClient(node)
    client.send(Connect("one"))
    client.lose()
    node.asked[0](Proof("one"))
    assert not node.registry.sessions


def test_a_refused_client_is_told_and_closed() -> None:
    node = PureNode()
    node.outcome = ReasonCode.BAD_USER_NAME_OR_PASSWORD
    client = PureClient(node)
    client.send(Connect("one"), PingReq())
    [answer] = client.take()
    assert isinstance(answer, packets.ConnAck)
    assert answer.reason_code == 0x86
    assert client.closed
    assert node.counters.refused == {"bad_user_name_or_password": 1}


@pytest.mark.parametrize("verified", [True, False])
def test_a_connection_must_be_opened_in_time(verified: bool) -> None:
    node = PureNode(idle_timeout="15s")
    client = PureClient(node)
    if verified:
        client.send(Connect("one"))
    node.advance(14.9)
    assert not client.closed
    node.advance(0.1)
    assert client.closed != verified


def test_keep_alive_counts_from_the_last_packet() -> None:  # [MQTT-3.1.2-22]
    node = PureNode()
    client = node.client("one", keep_alive=10)
    for _ in range(3):
        node.advance(14.9)
        client.send(PingReq())
        assert client.take() == [PingResp()]
    node.advance(14.9)
    assert not client.closed
    node.advance(0.2)
    assert client.closed
    [said] = client.take()
    assert isinstance(said, Disconnect)
    assert said.reason_code == ReasonCode.KEEP_ALIVE_TIMEOUT


def test_without_keep_alive_a_client_may_stay_silent() -> None:  # 3.1.2.10
    node = PureNode()
    client = node.client("one", keep_alive=0)
    node.advance(1e6)
    assert not client.closed


LONE = Publish(b"a", b"same")


@pytest.mark.parametrize("level", [V311, V5])
def test_a_packet_that_comes_alone_again_sees_what_has_changed(level: int) -> None:
    node = PureNode()
    publisher, subscriber = node.client("one", level), node.client("two", level)
    seen = []
    for change in (
        lambda: None,
        lambda: subscriber.subscribe(b"a"),
        lambda: None,
        lambda: subscriber.send(Unsubscribe(9, [b"a"])),
        lambda: subscriber.subscribe(b"+"),
        subscriber.lose,
        lambda: None,
    ):
        change()
        publisher.send(LONE)
        seen.append(len(subscriber.messages()))
    assert seen == [0, 1, 1, 0, 1, 0, 0]
    assert node.counters.messages_received == len(seen)


@pytest.mark.parametrize("level", [V311, V5])
def test_a_packet_that_begins_as_the_one_before_may_be_another(level: int) -> None:
    node = PureNode()
    publisher, subscriber = node.client("one", level), node.client("two", level)
    subscriber.subscribe(b"#", qos=1)
    some = [
        LONE,
        LONE,
        Publish(b"a", b"else"),
        Publish(b"b", b"same"),
        Publish(b"a", b"longer than that"),
        Publish(b"a", b"same", retain=True),
        Publish(b"a", b"sa", 1, packet_id=8),
        LONE,
    ]
    for one in some:
        publisher.send(one)
    halves = packets.encode(LONE, level)
    publisher.send(halves[:5])
    publisher.send(halves[5:])
    publisher.send(LONE)
    assert subscriber.payloads() == [it.payload for it in [*some, LONE, LONE]]


def test_a_right_that_is_taken_away_holds_for_the_next_packet() -> None:
    node = PureNode()
    publisher, subscriber = node.client("one"), node.client("two")
    subscriber.subscribe(b"a")
    publisher.send(LONE)
    publisher.send(LONE)
    node.node.rules = Rules(AuthorizationSettings(no_match="deny"), ())
    publisher.connection.reauthorise()
    publisher.send(LONE)
    assert len(subscriber.messages()) == 2
