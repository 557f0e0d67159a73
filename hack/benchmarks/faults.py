"""Faults that are to leave everybody else alone: what a message takes before one, and during it.

Beside the probe, a flood of other messages runs all the time. Before the fault, its subscriber
takes them; then it stops reading, or the broker that it is connected to, across a link, freezes.
Everything else stays as it was. What the machine does to latency meanwhile is told by another
broker of the same kind, which nothing happens to and which is measured in turn.
"""

from __future__ import annotations

import signal
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, Self

from benchmarks import clients, mqtt
from benchmarks.brokers import Broker, Pair
from benchmarks.latency import Latency, Probe, summary

FLOOD: Final = 16 << 20
"""Bytes a second, about: a burst every other millisecond."""
_TOPIC: Final = "bench/flood"
_BURST: Final = 32
"""Messages of a KiB beside each one that is measured."""
_SMALL: Final = 64 << 10
"""Bytes that the kernel keeps for a subscriber: soon full."""
_SETTLE: Final = 1.0
_WARM: Final = 0.5


@dataclass(frozen=True)
class Fault:
    """Latency of somebody who has nothing to do with it, and with an untouched broker."""

    before: Latency
    during: Latency
    untouched_before: Latency
    untouched_during: Latency

    @property
    def change(self) -> float:
        """By what factor the median has changed, beyond what the untouched broker has seen."""
        expected = self.untouched_during.median / self.untouched_before.median
        return self.during.median / self.before.median / expected


def slow_subscriber(broker: Broker, untouched: Broker, before: float, during: float) -> Fault:
    """A subscriber stops reading; seconds of either phase."""
    with _Flood(broker.port, broker.port) as flood, _Probes(broker, untouched) as probes:
        good = _phase(flood, probes, before)
        flood.reading = False
        return _fault(good, _phase(flood, probes, during))


def frozen_peer(pair: Pair, untouched: Broker, before: float, during: float) -> Fault:
    """The other side of a link stops dead, its connections open: a black hole."""
    flood = _Flood(pair.near.port, pair.far.port)
    with flood, _Probes(pair.near, untouched) as probes:
        good = _phase(flood, probes, before)
        pair.far.process.signal(signal.SIGSTOP)
        try:
            return _fault(good, _phase(flood, probes, during))
        finally:
            pair.far.process.signal(signal.SIGCONT)


class _Probes(ExitStack):
    """One at the broker that has a fault, one at the untouched one."""

    def __init__(self, broker: Broker, untouched: Broker) -> None:
        super().__init__()
        self.one = self.enter_context(Probe(broker.port, broker.port))
        self.other = self.enter_context(Probe(untouched.port, untouched.port))


class _Flood:
    """A publisher and a subscriber that have nothing to do with the probe."""

    def __init__(self, publish_port: int, subscribe_port: int) -> None:
        self.reading = True
        self._burst = mqtt.publish(_TOPIC, b"x" * 1024) * _BURST
        self._unsent = b""
        self._subscriber = clients.connect(subscribe_port, "flood-sub", receive_buffer=_SMALL)
        clients.subscribe(self._subscriber, _TOPIC)
        self._publisher = clients.connect(publish_port, "flood-pub")
        time.sleep(_SETTLE)
        for sock in (self._subscriber, self._publisher):
            sock.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._subscriber.close()
        self._publisher.close()

    def step(self) -> None:
        """Publish a burst, and take what has come, if the subscriber still reads."""
        data = self._unsent or self._burst
        try:
            self._unsent = data[self._publisher.send(data) :]
        except BlockingIOError:
            self._unsent = data
        if self.reading:
            _drain(self._subscriber)


_Phase = tuple[Latency, Latency]


def _fault(before: _Phase, during: _Phase) -> Fault:
    return Fault(before[0], during[0], before[1], during[1])


def _phase(flood: _Flood, probes: _Probes, seconds: float) -> _Phase:
    """Latency at the broker, and at the untouched one."""
    _measured(flood, probes, _WARM)
    samples, untouched = _measured(flood, probes, seconds)
    return summary(samples), summary(untouched)


def _measured(flood: _Flood, probes: _Probes, seconds: float) -> tuple[list[float], list[float]]:
    samples: list[float] = []
    untouched: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        samples.append(probes.one.paced())
        flood.step()
        untouched.append(probes.other.paced())
    return samples, untouched


def _drain(sock: socket.socket) -> None:
    try:
        while sock.recv(1 << 18):
            pass
    except BlockingIOError:
        return
    raise clients.LoadError("the broker has closed the connection of a subscriber that reads")
