"""Latency: one message at a time, from its sending to its arrival."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from benchmarks import clients, mqtt

INTERVAL: Final = 0.001
"""Seconds between two messages."""
PAYLOAD: Final = 64
_SETTLE: Final = 1.0
_WARM: Final = 200
_serial = itertools.count()


@dataclass(frozen=True)
class Latency:
    """Of many messages, in microseconds."""

    median: float
    p99: float
    count: int


def measure(publish_port: int, subscribe_port: int, count: int) -> Latency:
    """Send `count` messages of QoS 0, each a millisecond after the one before at the earliest."""
    with Probe(publish_port, subscribe_port) as probe:
        time.sleep(_SETTLE)
        probe.run(_WARM)
        return summary(probe.run(count))


def summary(samples: Sequence[float]) -> Latency:
    """Median and 99th percentile of latencies in seconds."""
    ordered = sorted(samples)
    return Latency(_quantile(ordered, 0.5) * 1e6, _quantile(ordered, 0.99) * 1e6, len(ordered))


class Probe:
    """A publisher and a subscriber of one topic."""

    def __init__(self, publish_port: int, subscribe_port: int) -> None:
        run = next(_serial)
        topic = f"bench/probe/{run}"
        self._packet = mqtt.publish(topic, b"x" * PAYLOAD)
        self._subscriber = clients.subscriber(subscribe_port, f"probe-sub-{run}", topic)
        self._publisher = clients.connect(publish_port, f"probe-pub-{run}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect."""
        self._publisher.close()
        self._subscriber.close()

    def run(self, count: int) -> list[float]:
        """Seconds that each of `count` messages took."""
        samples: list[float] = []
        due = time.perf_counter()
        for _ in range(count):
            samples.append(self._once())
            due = max(due + INTERVAL, time.perf_counter())
            time.sleep(due - time.perf_counter() if due > time.perf_counter() else 0)
        return samples

    def run_for(self, seconds: float) -> list[float]:
        """As `run`, for some time."""
        samples: list[float] = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            samples.append(self._once())
            time.sleep(INTERVAL)
        return samples

    def _once(self) -> float:
        begun = time.perf_counter()
        self._publisher.sendall(self._packet)
        _receive(self._subscriber, len(self._packet))
        return time.perf_counter() - begun


def _receive(sock: socket.socket, size: int) -> None:
    while size:
        came = len(sock.recv(size))
        if not came:
            raise clients.LoadError("the broker has closed the subscriber's connection")
        size -= came


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
