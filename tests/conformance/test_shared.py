"""Shared subscriptions: who gets what, by each strategy, and who does not (4.8.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from isthmus_broker.mqtt.codes import V5, V311
from isthmus_broker.mqtt.properties import Properties, Property
from nodes import PureClient, PureNode
from rawmqtt import RawClient

Raw = Callable[..., RawClient]
KEEP: Properties = {Property.SESSION_EXPIRY_INTERVAL: 50}


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_each_message_goes_to_one_member_of_each_group(
    connect: Raw, name: str, qos: int
) -> None:  # [MQTT-4.8.2-3] and -4
    groups: dict[str, list[RawClient]] = {"g": [], "h": []}
    for group, members in groups.items():
        for number, level in enumerate((V311, V5, V5)):
            member = connect(f"{name}-{group}{number}", level)
            assert member.subscribe(f"$share/{group}/{name}/+", qos=qos).codes == [qos]
            members.append(member)
    direct = connect(f"{name}-direct")
    direct.subscribe(f"{name}/#", qos=qos)
    publisher = connect(name)
    payloads = [b"%d" % number for number in range(9)]
    for payload in payloads:
        publisher.publish_acknowledged(f"{name}/a", payload, qos)
    assert [direct.take().payload for _ in payloads] == payloads
    for members in groups.values():  # round robin: three each
        received = [member.take().payload for member in members for _ in range(3)]
        assert sorted(received) == payloads
        for member in members:
            member.expect_nothing()


def test_a_member_is_served_once_for_its_share_and_once_for_itself(
    connect: Raw, name: str
) -> None:  # 4.8.2
    one = connect(name)
    one.subscribe(f"$share/g/{name}", identifier=1)
    one.subscribe(name, identifier=2)
    one.publish(name, b"x")
    found = [one.take().properties[Property.SUBSCRIPTION_IDENTIFIER] for _ in range(2)]
    assert sorted(map(str, found)) == ["[1]", "[2]"]
    one.expect_nothing()


def test_whoever_is_away_is_passed_over(connect: Raw, name: str) -> None:
    here, away = connect(f"{name}-here"), connect(f"{name}-away", properties=KEEP)
    for client in (here, away):
        client.subscribe(f"$share/g/{name}", qos=1)
    away.disconnect()
    publisher = connect(name)
    for number in range(4):
        publisher.publish_acknowledged(name, b"%d" % number, 1)
    assert [int(here.take().payload) for _ in range(4)] == [0, 1, 2, 3]


def test_with_everybody_away_messages_wait(connect: Raw, name: str) -> None:
    one = connect(name, properties=KEEP)
    one.subscribe(f"$share/g/{name}", qos=1)
    one.disconnect()
    connect(f"{name}-other").publish_acknowledged(name, b"x", 1)
    two = connect(name, clean_start=False, properties=KEEP)
    assert two.take().payload == b"x"


def test_unsubscribing_names_the_share(connect: Raw, name: str) -> None:
    one = connect(name)
    one.subscribe(f"$share/g/{name}")
    assert one.unsubscribe(name, f"$share/h/{name}", f"$share/g/{name}").codes == [0x11, 0x11, 0]
    one.publish(name, b"x")
    one.expect_nothing()


def test_queue_is_a_share_of_its_own(connect: Raw, name: str) -> None:
    members = [connect(f"{name}-{number}") for number in range(2)]
    for member in members:
        member.subscribe(f"$queue/{name}")
    for number in range(4):
        connect(f"{name}-p").publish_acknowledged(name, b"%d" % number, 1)
    for member in members:
        for _ in range(2):
            member.take()
        member.expect_nothing()


# -- strategies ----------------------------------------------------------------------------------


def spread(
    strategy: str, steps: list[tuple[str, bytes]], *, leave: int | None = None, level: int = V5
) -> list[str]:
    """Which of three members gets each `(publisher, topic)`; one may leave halfway."""
    node = PureNode(shared_subscription_strategy=strategy)
    members: dict[str, PureClient] = {}
    for name in ("m0", "m1", "m2"):
        members[name] = node.client(name, level)
        members[name].subscribe(b"$share/g/#")
    publishers: dict[str, PureClient] = {}
    got: list[str] = []
    for number, (publisher, topic) in enumerate(steps):
        if leave == number:
            members.pop(got[-1]).lose()
        if publisher not in publishers:
            publishers[publisher] = node.client(publisher, level)
        publishers[publisher].publish(topic, b"x")
        got += [name for name, member in members.items() if member.messages()]
    return got


STEPS = [(f"p{number % 6}", b"t/%d" % (number % 10)) for number in range(60)]


def by(key: Callable[[tuple[str, bytes]], Any], got: list[str]) -> dict[Any, set[str]]:
    found: dict[Any, set[str]] = {}
    for step, name in zip(STEPS, got, strict=True):
        found.setdefault(key(step), set()).add(name)
    return found


@pytest.mark.parametrize("level", [V311, V5])
def test_round_robin(level: int) -> None:
    assert Counter(spread("round_robin", STEPS, level=level)) == {"m0": 20, "m1": 20, "m2": 20}


def test_random_reaches_everybody() -> None:
    assert set(spread("random", STEPS)) == {"m0", "m1", "m2"}


def test_sticky_stays_with_one_until_it_goes() -> None:
    got = spread("sticky", STEPS, leave=30)
    assert len(set(got[:30])) == 1
    assert len(set(got[30:])) == 1
    assert got[0] != got[30]


def test_hash_clientid_gives_a_publisher_its_member() -> None:
    got = spread("hash_clientid", STEPS)
    assert all(len(names) == 1 for names in by(lambda step: step[0], got).values())
    assert len(set(got)) > 1


def test_hash_topic_gives_a_topic_its_member() -> None:
    got = spread("hash_topic", STEPS)
    assert all(len(names) == 1 for names in by(lambda step: step[1], got).values())
    assert len(set(got)) > 1


@pytest.mark.parametrize("strategy", ["round_robin", "random", "hash_clientid", "hash_topic"])
def test_nothing_is_lost_when_a_member_goes(strategy: str) -> None:
    got = spread(strategy, STEPS, leave=30)
    assert len(got) == len(STEPS)
    assert got[29] not in got[30:]
