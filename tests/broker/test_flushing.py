"""When bytes go out: at once for a read that comes alone, else joined at the end of the turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from isthmus_broker.mqtt.deadlines import Deadlines
from isthmus_broker.net.outbox import Outbox
from isthmus_broker.net.ticker import Ticker
from isthmus_broker.routing.counters import Counters


class Loop:
    """An event loop whose turns and time are ours."""

    def __init__(self) -> None:
        self.now = 100.0
        self.soon: list[Callable[[], None]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def turn(self) -> None:
        callbacks, self.soon = self.soon, []
        for callback in callbacks:
            callback()


class Transport:
    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def get_write_buffer_size(self) -> int:
        return 0


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def ticker(loop: Loop) -> Ticker:
    fake: Any = loop
    return Ticker(fake, Deadlines())


def outbox(ticker: Ticker, limit: int = 100) -> tuple[Outbox, list[bytes]]:
    transport: Any = Transport()
    return Outbox(transport, ticker, Counters(), limit), transport.written


def read(ticker: Ticker, *steps: Callable[[], object]) -> None:
    ticker.begin_read()
    for step in steps:
        step()
    ticker.end_read()


def test_a_read_that_comes_alone_is_answered_before_it_ends(loop: Loop, ticker: Ticker) -> None:
    (first, to_first), (second, to_second) = outbox(ticker), outbox(ticker)
    read(ticker, lambda: first.offer(b"a", 1), lambda: second.offer(b"b", 1))
    assert (to_first, to_second, loop.soon) == ([b"a"], [b"b"], [])


def test_what_follows_closely_is_joined(loop: Loop, ticker: Ticker) -> None:
    one, written = outbox(ticker)
    for text in (b"a", b"b", b"c"):
        read(ticker, lambda text=text: one.offer(text, 1))
    assert written == [b"a"]
    loop.turn()
    assert written == [b"a", b"bc"]
    loop.now += 0.001
    read(ticker, lambda: one.offer(b"d", 1))
    assert written == [b"a", b"bc", b"d"]


def test_many_packets_of_one_read_are_two_writes_at_most(ticker: Ticker) -> None:
    one, written = outbox(ticker)
    read(ticker, *[lambda: one.offer(b"a", 1)] * 5, lambda: one.put(b"b"))
    assert written == [b"a", b"aaaab"]


def test_the_order_is_kept_whatever_comes_first(ticker: Ticker) -> None:
    one, written = outbox(ticker)
    read(ticker, lambda: one.put(b"a"), lambda: one.offer(b"b", 1), lambda: one.put(b"c"))
    assert b"".join(written) == b"abc"


def test_what_was_put_outside_of_reads_waits_for_the_turn(loop: Loop, ticker: Ticker) -> None:
    (one, written), (other, to_other) = outbox(ticker), outbox(ticker)
    one.put(b"a")
    read(ticker, lambda: other.offer(b"b", 1))
    assert (written, to_other) == ([], [])
    loop.turn()
    assert (written, to_other) == ([b"a"], [b"b"])


def test_a_blocked_outbox_writes_nothing(loop: Loop, ticker: Ticker) -> None:
    one, written = outbox(ticker)
    one.pause()
    read(ticker, lambda: one.offer(b"a", 1), lambda: one.put(b"b"))
    loop.turn()
    assert written == []
    one.resume()
    assert written == [b"ab"]


def test_a_full_outbox_drops_the_newest(ticker: Ticker) -> None:
    one, written = outbox(ticker, limit=3)
    one.pause()
    assert [one.offer(b"ab", 1), one.offer(b"cd", 1), one.offer(b"e", 1)] == [True, False, True]
    one.resume()
    assert written == [b"abe"]
