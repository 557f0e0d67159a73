"""Faults that are to leave everybody else alone: what a message takes before one, and during it.

Beside the probe, a flood of other messages runs all the time. Before the fault, its subscriber
takes them; then it stops reading, or the broker that it is connected to, across a link, freezes.
Everything else stays as it was.
"""

from __future__ import annotations

import signal
import socket
import time
from dataclasses import dataclass
from typing import Final, Self

from benchmarks import clients, mqtt
from benchmarks.brokers import Broker, Pair
from benchmarks.latency import Latency, Probe, summary

FLOOD: Final = 16 << 20
"""Bytes a second, about, if a message a millisecond is measured."""
_TOPIC: Final = "bench/flood"
_BURST: Final = 16
"""Messages of a KiB beside each one that is measured."""
_SMALL: Final = 64 << 10
"""Bytes that the kernel keeps for a subscriber: soon full."""
_SETTLE: Final = 1.0
_WARM: Final = 0.5


@dataclass(frozen=True)
class Fault:
    """Latency of somebody who has nothing to do with it."""

    before: Latency
    during: Latency


def slow_subscriber(broker: Broker, before: float, during: float) -> Fault:
    """A subscriber stops reading; seconds of either phase."""
    with _Flood(broker.port, broker.port) as flood, Probe(broker.port, broker.port) as probe:
        good = _phase(flood, probe, before)
        flood.reading = False
        return Fault(good, _phase(flood, probe, during))


def frozen_peer(pair: Pair, before: float, during: float) -> Fault:
    """The other side of a link stops dead, its connections open: a black hole."""
    near, far = pair.near.port, pair.far.port
    with _Flood(near, far) as flood, Probe(near, near) as probe:
        good = _phase(flood, probe, before)
        pair.far.process.signal(signal.SIGSTOP)
        try:
            return Fault(good, _phase(flood, probe, during))
        finally:
            pair.far.process.signal(signal.SIGCONT)


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


def _phase(flood: _Flood, probe: Probe, seconds: float) -> Latency:
    _measured(flood, probe, _WARM)
    return summary(_measured(flood, probe, seconds))


def _measured(flood: _Flood, probe: Probe, seconds: float) -> list[float]:
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        samples.append(probe.paced())
        flood.step()
    return samples


def _drain(sock: socket.socket) -> None:
    try:
        while sock.recv(1 << 18):
            pass
    except BlockingIOError:
        return
    raise clients.LoadError("the broker has closed the connection of a subscriber that reads")
