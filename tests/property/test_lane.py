"""A lane against a model: order, window, buffer and what is counted, whatever the line does."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from isthmus_broker.link.lane import OVERHEAD, QOS0_PATIENCE, Entry, Lane, Stats
from isthmus_broker.mqtt import packets
from isthmus_broker.mqtt.codes import V5

TOPIC = b"$LINK/cluster/msg/us"
MAX_BYTES = 4 * (OVERHEAD + 100)
LIMIT = 150
"""Largest packet that the other side takes."""


@dataclass
class Sent:
    """One message in the model."""

    number: int
    qos: int
    expires: float
    size: int
    deliveries: int = 0
    settled: bool = False


def entry(number: int, qos: int, size: int, now: float, expires: float) -> Entry:
    body = b"%06d" % number + bytes(size - 6)
    if qos:
        return Entry(body, 1, 1, size + 30, 0, now, expires)
    packet = packets.encode(packets.Publish(TOPIC, body), V5)
    return Entry(packet, 0, 1, len(packet), 0, now, min(expires, now + QOS0_PATIENCE))


class LaneMachine(RuleBasedStateMachine):
    """Pushes, connects, takes, acknowledges and breaks, with the clock running."""

    def __init__(self) -> None:
        super().__init__()
        self.stats = Stats()
        self.lane = Lane(TOPIC, 3, MAX_BYTES, self.stats)
        self.now = 0.0
        self.connected = False
        self.window = 0
        self.numbers = 0
        self.waiting: list[Sent] = []
        """Everything that is not settled, in the order in which it came."""
        self.flight: dict[int, Sent] = {}
        self.first_sent: list[int] = []
        self.accepted = 0

    @rule(
        qos=st.integers(0, 1),
        size=st.sampled_from([10, 60, 200]),
        lasts=st.sampled_from([math.inf, math.inf, 5.0]),
    )
    def message_comes(self, qos: int, size: int, lasts: float) -> None:
        self.numbers += 1
        one = entry(self.numbers, qos, size, self.now, self.now + lasts)
        before = self.stats.buffered_bytes
        taken = self.lane.push(one, self.now)
        assert taken or before + one.cost > MAX_BYTES
        if taken:
            self.accepted += 1
            self.waiting.append(Sent(self.numbers, qos, one.expires, one.largest))

    @precondition(lambda self: not self.connected)
    @rule(window=st.integers(1, 5))
    def connects(self, window: int) -> None:
        self.connected = True
        self.window = min(3, window)
        self.lane.connected(window, LIMIT)

    @precondition(lambda self: self.connected)
    @rule()
    def breaks(self) -> None:
        self.connected = False
        self.lane.disconnected()
        self.flight.clear()

    @precondition(lambda self: self.connected)
    @rule(room=st.sampled_from([1, 100, 10_000]))
    def takes(self, room: int) -> None:
        data = self.lane.take(self.now, room)
        while data:
            end = packets.length_needed(data)
            packet = packets.decode(data[0], data[2:end] if data[1] < 128 else data[3:end], V5)
            assert isinstance(packet, packets.Publish)
            assert packet.topic == TOPIC
            assert end <= LIMIT
            self.went_out(packet)
            data = data[end:]

    def went_out(self, packet: packets.Publish) -> None:
        number = int(packet.payload[:6])
        one = next(it for it in self.waiting if it.number == number)
        assert self.now < one.expires
        assert not one.settled
        assert packet.qos == one.qos
        one.deliveries += 1
        if one.deliveries == 1:
            self.first_sent.append(number)
        if one.qos:
            assert packet.packet_id not in self.flight
            behind = [it.number for it in self.flight.values()]
            assert number not in behind
            self.flight[packet.packet_id] = one
        else:
            one.settled = True

    @precondition(lambda self: self.flight)
    @rule(data=st.data(), code=st.sampled_from([0, 0x10, 0x97]))
    def acknowledged(self, data: st.DataObject, code: int) -> None:
        packet_id = data.draw(st.sampled_from(sorted(self.flight)))
        before = self.stats.acknowledged, self.stats.failed
        assert self.lane.acknowledge(packet_id, code, self.now)
        after = self.stats.acknowledged, self.stats.failed
        assert after == (before[0] + (code < 0x80), before[1] + (code >= 0x80))
        self.flight.pop(packet_id).settled = True

    @rule(packet_id=st.integers(60_000, 65_535))
    def stray_acknowledgement(self, packet_id: int) -> None:
        if packet_id not in self.flight:
            assert not self.lane.acknowledge(packet_id, 0, self.now)

    @rule(seconds=st.sampled_from([0.1, 5.0, QOS0_PATIENCE]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.lane.purge(self.now)

    @invariant()
    def first_deliveries_are_in_order(self) -> None:
        assert self.first_sent == sorted(self.first_sent)

    @invariant()
    def the_window_and_the_buffer_hold(self) -> None:
        assert len(self.flight) <= max(self.window, 0)
        assert self.lane.in_flight == self.stats.in_flight == len(self.flight)
        assert 0 <= self.stats.buffered_bytes <= MAX_BYTES
        assert self.stats.buffered == len(self.lane)

    @invariant()
    def every_message_is_accounted_for(self) -> None:
        stats = self.stats
        assert stats.matched == self.numbers
        dropped = sum(stats.dropped.values())
        assert stats.matched == stats.acknowledged + dropped + stats.buffered

    def teardown(self) -> None:
        """Left alone on a good line, everything goes out that may; and in its order."""
        self.breaks()
        self.lane.connected(3, LIMIT)
        self.connected, self.window = True, 3
        order: list[int] = []
        while True:
            before = len(self.first_sent)
            self.takes(10_000)
            order += [it.number for it in self.flight.values()]
            for packet_id in list(self.flight):
                self.lane.acknowledge(packet_id, 0, self.now)
                self.flight.pop(packet_id).settled = True
            if not len(self.lane):
                break
            assert before <= len(self.first_sent)
        assert order == sorted(order)
        for one in self.waiting:
            gone = self.now >= one.expires or one.size > LIMIT
            assert one.settled or gone, one
        assert (self.stats.buffered, self.stats.buffered_bytes, self.stats.in_flight) == (0, 0, 0)


TestLane = LaneMachine.TestCase
TestLane.settings = settings(max_examples=150)


def lane(max_inflight: int = 32, max_bytes: int = 1 << 20) -> tuple[Lane, Stats]:
    stats = Stats()
    return Lane(TOPIC, max_inflight, max_bytes, stats), stats


def test_nothing_is_sent_twice_but_what_was_in_flight() -> None:
    one, stats = lane(max_inflight=2)
    for number in range(4):
        one.push(entry(number, 1, 20, 0.0, math.inf), 0.0)
    one.connected(65_535, math.inf)
    first = one.take(0.0, 10_000)
    assert one.acknowledge(1, 0, 1.0)
    one.disconnected()
    one.connected(65_535, math.inf)
    second = one.take(2.0, 10_000)
    assert first.count(b"\x32-") == second.count(b"\x32-") == 2
    assert b"000000" not in second
    assert second.index(b"000001") < second.index(b"000002")
    assert stats.retried == 1


def test_the_lag_is_that_of_the_last_acknowledged_message() -> None:
    one, stats = lane()
    one.push(entry(1, 1, 20, 10.0, math.inf), 10.0)
    assert one.waiting_since() == 10.0
    one.connected(1, math.inf)
    one.take(11.0, 1000)
    one.acknowledge(1, 0, 12.5)
    assert stats.lag == pytest.approx(2.5)
    assert one.waiting_since() == math.inf


def test_a_message_in_flight_for_too_long_is_overdue() -> None:
    one, _ = lane()
    one.push(entry(1, 1, 20, 0.0, math.inf), 0.0)
    one.connected(1, math.inf)
    one.take(5.0, 1000)
    assert not one.overdue(20.0, 15.0)
    assert one.overdue(20.1, 15.0)


def test_a_full_buffer_makes_room_by_what_has_expired() -> None:
    one, stats = lane(max_bytes=2 * (OVERHEAD + 20))
    for number in range(2):
        assert one.push(entry(number, 1, 20, 0.0, 1.0), 0.0)
    assert not one.push(entry(2, 1, 20, 0.5, math.inf), 0.5)
    assert one.push(entry(3, 1, 20, 1.0, math.inf), 1.0)
    assert stats.dropped == {"buffer_full": 1, "expired": 2}
