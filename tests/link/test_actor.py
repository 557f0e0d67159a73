"""The actor's rules that have a time or a wording of their own; the rest is in `tests/property`."""

from __future__ import annotations

import pytest

from isthmus_broker.link import payload
from isthmus_broker.link.actor import (
    ANSWER_TIMEOUT,
    BATCH,
    BATCH_PAUSE,
    HEARTBEAT_INTERVAL,
    RETRY_PAUSE,
    Actor,
    Close,
    Names,
    Publish,
    State,
    Subscribe,
)
from isthmus_broker.link.exports import Exports
from isthmus_broker.link.payload import ActorInit, ActorInitAck, Heartbeat, Routes

NAMES = Names("us", "eu", "eu.example.net:1883", b"node")


def an_actor(filters: int = 0, topics: tuple[bytes, ...] = (b"#",)) -> Actor:
    exports = Exports(topics)
    for number in range(filters):
        exports.subscribed(b"t/%d" % number, None)
    return Actor(NAMES, 7, exports, lambda: b"0123456789abcdef")


def answer(**fields: object) -> bytes:
    return payload.encode_control(ActorInitAck(b"node", **fields))  # type: ignore[arg-type]


def introduced(actor: Actor, now: float = 0.0, **fields: object) -> list[object]:
    """Connect and introduce; returns what the actor does at the answer."""
    actor.connected(now)
    actor.subscribed(1, now)
    actor.acknowledged(0x10, now)
    return list(actor.answered(b"0123456789abcdef", answer(**fields), now))


def said(actions: list[object]) -> list[payload.Control]:
    return [payload.decode_control(it.payload) for it in actions if isinstance(it, Publish)]


def test_it_subscribes_then_introduces_itself() -> None:
    actor = an_actor()
    assert actor.connected(0.0) == [Subscribe(b"$LINK/cluster/resp/us/node")]
    (init,) = actor.subscribed(1, 0.0)
    assert isinstance(init, Publish)
    assert (init.qos, init.response_topic) == (1, b"$LINK/cluster/resp/us/node")
    assert init.correlation == b"0123456789abcdef"
    assert payload.decode_control(init.payload) == ActorInit(b"node", 7, "eu", names_wanted=True)


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        ({"error": payload.UNKNOWN_CLUSTER}, '"eu" has no link to "us"'),
        ({"error": payload.DISABLED}, '"eu" has disabled its link to "us"'),
        (
            {"error": payload.MISNAMED},
            'the cluster at eu.example.net:1883 is called something else, not "eu"',
        ),
        (
            {"error": payload.MISNAMED, "cluster": "asia"},
            'the cluster at eu.example.net:1883 is called "asia", not "eu"',
        ),
        (
            {"error": payload.UNKNOWN_CLUSTER, "cluster": "asia"},
            'the cluster at eu.example.net:1883 is called "asia", not "eu"',
        ),
        (
            {"error": payload.UNKNOWN_CLUSTER, "cluster": "us"},
            'eu.example.net:1883 is this cluster itself, "us": expected the address of "eu"',
        ),
        ({"error": "not today"}, '"eu" refuses the link: not today'),
    ],
)
def test_a_refusal_is_told_in_words(refusal: dict[str, str], reason: str) -> None:
    assert introduced(an_actor(), **refusal) == [Close(reason, inconsistent=True)]


def test_a_refused_subscription_or_introduction_is_a_matter_of_rights() -> None:
    actor = an_actor()
    actor.connected(0.0)
    (close,) = actor.subscribed(0x87, 0.0)
    assert isinstance(close, Close)
    assert close.inconsistent
    assert '"eu" does not accept this client as "us"' in close.reason
    actor.connected(1.0)
    actor.subscribed(1, 1.0)
    assert actor.acknowledged(0x87, 1.0) == [
        Close(
            'introduction refused, reason code 0x87: "eu" does not accept this client as "us"',
            inconsistent=True,
        )
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x83",
        b"not a term",
        payload.encode_control(ActorInitAck(b"node"))[:-3],
    ],
)
def test_an_answer_that_is_none_ends_the_attempt(data: bytes) -> None:
    actor = an_actor()
    actor.connected(0.0)
    actor.subscribed(1, 0.0)
    (close,) = actor.answered(b"0123456789abcdef", data, 0.0)
    assert isinstance(close, Close)
    assert "an answer that can't be understood" in close.reason


def test_other_answers_are_passed_over() -> None:
    actor = an_actor()
    actor.connected(0.0)
    assert actor.answered(b"0123456789abcdef", answer(), 0.0) == []  # not asked yet
    actor.subscribed(1, 0.0)
    assert actor.answered(b"another", answer(), 0.0) == []
    heartbeat = payload.encode_control(Heartbeat(b"node", 1))
    assert actor.answered(b"0123456789abcdef", heartbeat, 0.0) == []
    assert actor.state is State.HANDSHAKING


@pytest.mark.parametrize("reached", ["subscribing", "handshaking", "bootstrapping"])
def test_whoever_does_not_answer_in_5_seconds_is_given_up(reached: str) -> None:
    actor = an_actor(filters=1)
    actor.connected(0.0)
    if reached != "subscribing":
        actor.subscribed(1, 0.0)
    if reached == "bootstrapping":
        actor.answered(b"0123456789abcdef", answer(need_bootstrap=True), 0.0)
    assert actor.state.value == reached
    assert actor.due == ANSWER_TIMEOUT
    assert actor.run(ANSWER_TIMEOUT - 0.1) == []
    assert actor.run(ANSWER_TIMEOUT) == [Close(f"no answer within 5 s while {reached}")]


def test_batches_are_bounded_and_apart() -> None:
    actor = an_actor(filters=BATCH + 1)
    (first,) = said(introduced(actor, need_bootstrap=True))
    assert isinstance(first, Routes)
    assert len(first.ops) == BATCH <= 4000
    assert actor.run(1.0) == []  # one batch in flight at a time
    assert actor.acknowledged(0x10, 0.001) == []
    assert actor.due == BATCH_PAUSE
    (second,) = said(list(actor.run(BATCH_PAUSE)))
    assert isinstance(second, Routes)
    assert len(second.ops) == 1
    actor.acknowledged(0x10, 1.0)
    assert actor.state is State.ONLINE


def test_a_refused_batch_is_said_again_after_a_pause() -> None:
    actor = an_actor(filters=1)
    (first,) = said(introduced(actor, need_bootstrap=True))
    assert actor.acknowledged(0x97, 1.0) == []
    assert actor.run(1.0 + RETRY_PAUSE - 0.01) == []
    assert said(list(actor.run(1.0 + RETRY_PAUSE))) == [first]


def test_heartbeats_every_ten_seconds() -> None:
    actor = an_actor()
    introduced(actor, need_bootstrap=True)
    beats = []
    while len(beats) < 3:
        now = actor.due
        for action in actor.run(now):
            assert isinstance(action, Publish)
            assert action.qos == 0
            assert payload.decode_control(action.payload) == Heartbeat(b"node", 7)
            beats.append(now)
    assert beats == [HEARTBEAT_INTERVAL, 2 * HEARTBEAT_INTERVAL, 3 * HEARTBEAT_INTERVAL]


def test_known_routes_are_not_said_again() -> None:
    """The receiver keeps them for the actor's time to live."""
    actor = an_actor(filters=3)
    introduced(actor, need_bootstrap=True)
    actor.acknowledged(0x10, 0.0)
    actor.run(0.1)
    actor.disconnected()
    actor.changed(actor.exports.subscribed(b"new", None))
    (only,) = said(introduced(actor, now=5.0, need_bootstrap=False))
    assert isinstance(only, Routes)
    assert [op.filter for op in only.ops] == [b"new"]


def test_the_first_time_everything_is_said_whatever_the_answer() -> None:
    (routes,) = said(introduced(an_actor(filters=3), need_bootstrap=False))
    assert isinstance(routes, Routes)
    assert len(routes.ops) == 3


def test_a_link_that_wants_nothing_is_online_at_once() -> None:
    actor = an_actor(filters=3, topics=())
    assert introduced(actor, need_bootstrap=True) == []
    assert actor.state is State.ONLINE
