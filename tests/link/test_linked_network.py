"""Links over networks that misbehave, and configurations that lead to the wrong cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from brokers import Brokers
from isthmus_broker.link import peer
from isthmus_broker.link.gmqtt_client import Dial
from isthmus_broker.link.peer import QUIET, SILENT, Backoff, Peer
from isthmus_broker.mqtt.deadlines import Deadlines
from isthmus_broker.net.ticker import Ticker
from linked import (
    Gate,
    People,
    call,
    cluster,
    firsts,
    forwarding,
    link,
    pair,
    pipeline,
    told,
    wait_routes,
    wait_running,
    wait_settled,
    wait_state,
)
from proxy import TcpProxy, doorstep
from waiting import wait_for

Proxy = Callable[[int], TcpProxy]


# -- silence -------------------------------------------------------------------------------------


class Wire:
    """Stands in for a connection."""

    def __init__(self) -> None:
        self.last_received = 0.0
        self.pings = 0
        self.aborted = ""

    def ping(self) -> None:
        self.pings += 1

    def abort(self, reason: str) -> None:
        self.aborted = reason


async def test_a_quiet_connection_is_asked_for_a_sign_of_life_and_a_silent_one_is_dead() -> None:
    ticker = Ticker(asyncio.get_running_loop(), Deadlines())
    one = Peer("test", lambda: Dial("h", 1, "c"), ticker)
    wire = one.client = Wire()  # type: ignore[assignment]
    for now, pings, aborted in (
        (QUIET - 1, 0, ""),
        (QUIET, 1, ""),
        (QUIET + 1, 2, ""),
        (SILENT, 2, "no sign of life for 20 s"),
    ):
        one.check(now)
        assert (wire.pings, wire.aborted) == (pings, aborted)  # type: ignore[attr-defined]


def test_pauses_between_tries_grow_and_scatter() -> None:
    pauses = Backoff(5.0, 60.0, lambda: 0.5)
    assert [pauses.take() for _ in range(6)] == [5, 10, 20, 40, 60, 60]
    pauses.reset()
    assert pauses.take() == 5
    for scatter, pause in ((0.0, 8.0), (1.0, 12.0)):
        assert Backoff(10.0, 10.0, lambda value=scatter: value).take() == pytest.approx(pause)


@pytest.mark.slow
def test_a_half_open_connection_is_noticed_and_nothing_is_lost(gated: Gate, people: People) -> None:
    """The network swallows everything: no reset, no end."""
    sides = gated(pool_size=2, retry_interval="60s")
    us, eu, gate = sides.us, sides.eu, sides.gate
    there = people.collector(eu, "t")
    wait_routes(us, "eu", 1)
    gate.hold()
    here = people.client(us)
    sent = [b"%d" % number for number in range(100)]
    pipeline(here, "t", sent)
    wait_state(us, "eu", "disconnected", "no sign of life for 20 s", timeout=40)
    gate.release()
    assert firsts(there.wait(100, 40)) == sent  # what was in flight came when it was let go, too
    wait_running(us, "eu", 40)


def test_a_receiver_that_acknowledges_nothing_is_connected_to_anew(
    gated: Gate, people: People
) -> None:
    """Signs of life may come all the while: it is the acknowledgements that count."""
    sides = gated(pool_size=1, retry_interval="1s")
    us, eu, gate = sides.us, sides.eu, sides.gate
    there = people.collector(eu, "t")
    wait_routes(us, "eu", 1)
    gate.hold()
    people.client(us).publish_acknowledged("t", b"1")
    us.wait_log("no acknowledgement within 1 s")
    gate.release()
    assert there.wait(1)[0] == b"1"
    wait_running(us, "eu")
    assert forwarding(us, "eu")["retried"] >= 1


def test_a_black_hole_holds_up_nobody(start_broker: Brokers, people: People) -> None:
    """Neither a peer that takes connections and says nothing, nor an address behind nothing."""
    with doorstep() as hole:
        us, eu = start_broker(name="us", start=False), start_broker(name="eu", start=False)
        holes = link("hole", hole.port), link("nowhere", "no-such-host.invalid:1883")
        us.write(cluster("us", link("eu", eu), *holes))
        eu.write(cluster("eu", link("us", us)))
        us.start()
        eu.start()
        wait_running(us, "eu")
        here, there = people.collector(us, "t"), people.collector(eu, "t")
        wait_routes(us, "eu", 1)
        sent = [b"%d" % number for number in range(500)]
        pipeline(people.client(us), "t", sent)
        assert here.wait(500) == sent
        assert there.wait(500) == sent
        wait_state(us, "hole", "disconnected", "no answer within 5 s")
        wait_state(us, "nowhere", "disconnected", "no-such-host.invalid: ")


def test_a_subscriber_over_there_that_reads_nothing_holds_up_nobody(
    start_broker: Brokers, people: People
) -> None:
    us, eu = pair(start_broker, pool_size=1)
    stuck = people.subscriber(eu, "load", qos=0)
    quick = people.collector(eu, "t", qos=0)
    wait_routes(us, "eu", 2)
    here = people.client(us)
    pieces = 60
    for number in range(pieces):
        here.publish("load", bytes(1_000_000))
        here.publish("t", b"%d" % number)
    quick.wait(pieces)
    wait_settled(us, "eu")
    assert quick.payloads == [b"%d" % number for number in range(pieces)]
    stuck.drop()


def test_an_address_of_several_families_is_tried_in_turn(
    start_broker: Brokers, people: People
) -> None:
    """`localhost` is ::1 and 127.0.0.1 on many machines; the listener is on the second only."""
    us, eu = start_broker(name="us", start=False), start_broker(name="eu", start=False)
    us.write(cluster("us", link("eu", f"localhost:{eu.port}", pool_size=1)))
    eu.write(cluster("eu", link("us", f"localhost:{us.port}", pool_size=1)))
    us.start()
    eu.start()
    wait_running(us, "eu")
    wait_running(eu, "us")


# -- the wrong cluster ---------------------------------------------------------------------------


def test_a_link_that_leads_to_another_cluster_says_which(start_broker: Brokers) -> None:
    asia = start_broker(cluster("asia"), name="asia")
    us = start_broker(cluster("us", link("eu", asia, pool_size=1)), name="us")
    wait_state(us, "eu", "inconsistent", f'the cluster at 127.0.0.1:{asia.port} is called "asia"')
    asia.wait_log("link refused")
    assert "reason=unknown_cluster" in asia.log()


def test_two_names_for_one_cluster_are_told(start_broker: Brokers) -> None:
    """Each side has its own name for the other, and one of them is wrong."""
    us, eu = start_broker(name="us", start=False), start_broker(name="eu", start=False)
    us.write(cluster("us", link("europe", eu, pool_size=1)))
    eu.write(cluster("eu", link("us", us, pool_size=1)))
    us.start()
    eu.start()
    wait_state(us, "europe", "inconsistent", 'is called "eu", not "europe"')
    wait_state(eu, "us", "inconsistent", '"us" has no link to "eu"')


def test_a_wrong_link_does_not_spin(start_broker: Brokers, people: People) -> None:
    """One attempt is made, then there is a pause; the other links of the same node run."""
    us, eu = start_broker(name="us", start=False), start_broker(name="eu", start=False)
    us.write(cluster("us", link("eu", eu, pool_size=1), link("self", us, pool_size=1)))
    eu.write(cluster("eu", link("us", us, pool_size=1)))
    us.start()
    eu.start()
    wait_state(us, "self", "inconsistent", "is this cluster itself")
    wait_running(us, "eu")
    there = people.subscriber(eu, "t")
    wait_routes(us, "eu", 1)
    for number in range(3):
        people.client(us).publish_acknowledged("t", b"%d" % number)
        assert there.take().payload == b"%d" % number
    assert us.log().count("link refused") == 1
    assert peer.Backoff(5.0, 60.0, lambda: 0.0).take() == 4.0  # seconds until the next


def test_a_link_that_only_one_side_knows_says_what_is_missing(start_broker: Brokers) -> None:
    us, eu = start_broker(name="us", start=False), start_broker(cluster("eu"), name="eu")
    us.write(cluster("us", link("eu", eu, pool_size=1)))
    us.start()
    wait_state(us, "eu", "inconsistent", '"eu" has no link to "us"')
    status, _ = call(eu, "POST", "/cluster/links", link("us", us, pool_size=1))
    assert status == 201
    wait_running(us, "eu")  # at once: the other side has introduced itself
    wait_running(eu, "us")


# -- loops ---------------------------------------------------------------------------------------


def test_two_linked_clusters_with_a_pool_of_8_make_no_loop(
    start_broker: Brokers, people: People
) -> None:
    """Everybody gets everything once, though both sides want `#` of each other."""
    us, eu = pair(start_broker)
    assert told(us, "eu")["pool_size"] == 8
    here, there = people.collector(us, "#"), people.collector(eu, "#")
    wait_routes(us, "eu", 1)
    wait_routes(eu, "us", 1)
    for broker, prefix in ((us, "us"), (eu, "eu")):
        for number in range(20):
            one = people.client(broker, f"{prefix}-{number}")
            pipeline(one, f"{prefix}/{number}", [b"%d" % turn for turn in range(20)])
    total = 2 * 20 * 20
    wait_for(lambda: len(here.got) >= total, what="everything")
    wait_for(lambda: len(there.got) >= total, what="everything")
    for broker, other in ((us, "eu"), (eu, "us")):
        wait_settled(broker, other)
        figures = forwarding(broker, other)
        assert (figures["matched"], figures["received"]) == (total // 2, total // 2)
    assert len(here.got) == len(there.got) == total
