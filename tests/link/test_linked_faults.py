"""Restart, kill -9 and freeze of either side, with QoS 1 traffic running.

What the publisher's own broker has accepted while it lives is not lost, each publisher's order
holds, and nothing comes twice but what was under way when the fault struck.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from brokers import Broker, Brokers
from isthmus_broker.mqtt.packets import Publish
from linked import (
    Collector,
    Gate,
    People,
    firsts,
    forwarding,
    pair,
    pipeline,
    told,
    wait_routes,
    wait_running,
    wait_settled,
    wait_state,
)
from waiting import wait_for

WINDOW = 32
"""Messages that may be under way on one connection: those may come twice."""


def _nothing_lost(accepted: Sequence[bytes], got: list[bytes]) -> None:
    assert firsts(got) == list(accepted)
    assert len(got) - len(set(got)) <= WINDOW, "more came twice than can have been under way"


def _all_came(accepted: Sequence[bytes], there: Collector) -> None:
    wait_for(lambda: accepted[-1] in there.payloads, 30, "the last message")
    _nothing_lost(accepted, there.payloads)


def test_a_frozen_receiver_gets_everything_once_it_goes_on(
    start_broker: Brokers, people: People
) -> None:
    us, eu = pair(start_broker)
    there = people.collector(eu, "t")
    wait_routes(us, "eu", 1)
    talker = people.talker(us, "t")
    talker.wait(100)
    eu.freeze()
    talker.wait(300)  # nobody here waits for the other side
    eu.thaw()
    talker.wait(100)
    _all_came(talker.stop(), there)
    assert len(there.got) == len(talker.accepted)  # no connection broke: nothing came twice


def test_a_frozen_sender_goes_on_where_it_was(start_broker: Brokers, people: People) -> None:
    us, eu = pair(start_broker)
    there = people.collector(eu, "t")
    wait_routes(us, "eu", 1)
    talker = people.talker(us, "t")
    talker.wait(100)
    us.freeze()
    local = people.subscriber(eu, "local")
    local.publish_acknowledged("local", b"eu serves its own")
    assert local.take().payload == b"eu serves its own"
    us.thaw()
    talker.wait(100)
    _all_came(talker.stop(), there)
    assert len(there.got) == len(talker.accepted)


@pytest.mark.parametrize("end", [Broker.kill, Broker.stop], ids=["killed", "stopped"])
def test_messages_wait_for_a_receiver_that_is_away(
    gated: Gate, people: People, end: Callable[[Broker], None]
) -> None:
    sides = gated()
    us, eu = sides.us, sides.eu
    before = people.collector(eu, "t")
    wait_routes(us, "eu", 1)
    talker = people.talker(us, "t")
    talker.wait(200)
    sides.gate.hold()
    talker.wait(50)
    wait_for(lambda: len(before.got) >= forwarding(us, "eu")["success"], what="what was taken")
    end(eu)
    talker.wait(200)
    accepted = talker.stop()
    eu.start()
    after = people.collector(eu, "t")
    sides.gate.release()
    wait_for(lambda: accepted[-1] in after.payloads, 30, "the last message")
    wait_settled(us, "eu")
    _nothing_lost(accepted, before.payloads + after.payloads)


def test_routes_come_back_with_a_killed_sender(start_broker: Brokers, people: People) -> None:
    us, eu = pair(start_broker)
    there = people.collector(eu, "t", "$share/g/+")
    wait_routes(us, "eu", 2)
    us.kill()
    wait_state(eu, "us", "disconnected")
    us.start()
    wait_running(us, "eu")
    wait_routes(us, "eu", 2)
    pipeline(people.client(us), "t", [b"after"])
    assert there.wait(1) == [b"after"] * 2  # directly, and for the group


def test_a_sender_that_is_stopped_sends_what_it_has_accepted(
    start_broker: Brokers, people: People
) -> None:
    us, eu = pair(start_broker)
    there = people.collector(eu, "t")
    wait_routes(us, "eu", 1)
    sent = [b"%d" % number for number in range(3000)]
    here = people.client(us)
    pipeline(here, "t", sent, window=1000)
    us.stop()
    there.wait(len(sent))
    assert there.payloads == sent


def test_restarts_of_both_sides_in_turn_leave_the_link_whole(
    start_broker: Brokers, people: People
) -> None:
    us, eu = pair(start_broker)
    for broker in (us, eu, us, eu):
        broker.restart()
    wait_running(us, "eu")
    wait_running(eu, "us")
    here, there = people.subscriber(us, "to/us"), people.subscriber(eu, "to/eu")
    wait_routes(us, "eu", 1)
    wait_routes(eu, "us", 1)
    here.publish_acknowledged("to/eu", b"1")
    there.publish_acknowledged("to/us", b"2")
    assert there.take().payload == b"1"
    assert here.take().payload == b"2"


def test_qos_0_waits_for_a_receiver_that_is_away(gated: Gate, people: People) -> None:
    sides = gated()
    us, eu = sides.us, sides.eu
    people.subscriber(eu, "t")
    wait_routes(us, "eu", 1)
    sides.gate.cut()
    sides.gate.hold()
    eu.kill()
    wait_for(lambda: told(us, "eu")["status"] != "running", what="us knows")
    here = people.client(us)
    sent = [b"%d" % number for number in range(100)]
    here.send(*(Publish(b"t", payload) for payload in sent))
    here.expect_nothing()
    wait_for(lambda: forwarding(us, "eu")["queuing"] == 100, what="100 wait")
    eu.start()
    there = people.collector(eu, "t")
    wait_routes(us, "eu", 1)
    sides.gate.release()
    assert there.wait(100) == sent


@pytest.mark.slow
def test_qos_0_waits_for_45_seconds_and_qos_1_for_ever(gated: Gate, people: People) -> None:
    sides = gated()
    us, eu = sides.us, sides.eu
    people.subscriber(eu, "t")
    wait_routes(us, "eu", 1)
    sides.lose_eu()
    here = people.client(us)
    here.send(*(Publish(b"t", b"%d" % number) for number in range(10)))
    here.publish_acknowledged("t", b"of QoS 1")
    wait_for(lambda: forwarding(us, "eu")["dropped_by"] == {"expired": 10}, 70, "expiry")
    eu.start()
    there = people.subscriber(eu, "t")
    wait_routes(us, "eu", 1)
    sides.gate.release()
    assert there.take().payload == b"of QoS 1"


def test_a_full_buffer_drops_the_newest_and_counts(gated: Gate, people: People) -> None:
    sides = gated(buffer={"max_bytes": "64KB"})
    us, eu = sides.us, sides.eu
    people.subscriber(eu, "t")
    wait_routes(us, "eu", 1)
    sides.lose_eu()
    here = people.client(us)
    sent = [b"%04d" % number + bytes(1000) for number in range(200)]
    pipeline(here, "t", sent)
    figures = forwarding(us, "eu")
    dropped = figures["dropped_by"]["buffer_full"]
    kept = len(sent) - dropped
    assert 40 <= kept <= 64
    assert figures["queuing"] == kept
    assert figures["queuing_bytes"] <= 64 << 10
    eu.start()
    there = people.collector(eu, "t")
    wait_routes(us, "eu", 1)
    sides.gate.release()
    assert there.wait(kept) == sent[:kept]
    here.publish_acknowledged("t", b"room again")
    assert there.wait(kept + 1)[-1] == b"room again"


def test_other_clients_go_on_while_the_other_side_is_frozen(
    start_broker: Brokers, people: People
) -> None:
    us, eu = pair(start_broker)
    people.subscriber(eu, "#")
    wait_routes(us, "eu", 1)
    here = people.collector(us, "t")
    eu.freeze()
    sent = [b"%d" % number + bytes(10_000) for number in range(2000)]
    pipeline(people.client(us), "t", sent)
    assert here.wait(len(sent)) == sent
    eu.thaw()
    wait_settled(us, "eu", 30)


@pytest.mark.slow
def test_routes_of_a_cluster_that_stays_away_go_after_30_seconds(
    start_broker: Brokers, people: People
) -> None:
    us, eu = pair(start_broker)
    people.subscriber(eu, "t")
    wait_routes(us, "eu", 1)
    eu.kill()
    wait_routes(us, "eu", 0, timeout=45)
    people.client(us).publish_acknowledged("t", b"nobody wants it")
    assert forwarding(us, "eu")["matched"] == 0
    eu.start()
    there = people.subscriber(eu, "t")
    wait_running(us, "eu", 70)
    wait_routes(us, "eu", 1)
    people.client(us).publish_acknowledged("t", b"welcome back")
    assert there.take().payload == b"welcome back"
