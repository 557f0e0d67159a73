"""Latency: one message at a time, from its sending to its arrival.

Several brokers are measured in turn, a slice each, so that what else the machine does meets all of
them alike.
"""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, Self

from benchmarks import clients, mqtt

INTERVAL: Final = 0.001
"""Seconds between two messages."""
PAYLOAD: Final = 64
_SETTLE: Final = 1.0
_WARM: Final = 200
_SLICE: Final = 250
"""Messages to one broker before the next one's turn."""
_serial = itertools.count()


@dataclass(frozen=True)
class Latency:
    """Of many messages, in microseconds."""

    median: float
    p99: float
    count: int


def compare(ports: Mapping[str, tuple[int, int]], count: int) -> dict[str, Latency]:
    """Send `count` messages of QoS 0 over each of several ways, by name: where in, where out."""
    with ExitStack() as stack:
        probes = {name: stack.enter_context(Probe(*way)) for name, way in ports.items()}
        time.sleep(_SETTLE)
        for probe in probes.values():
            probe.run(_WARM)
        samples: dict[str, list[float]] = {name: [] for name in probes}
        for _ in range(0, count, _SLICE):
            for name, probe in probes.items():
                samples[name] += probe.run(min(_SLICE, count))
    return {name: summary(found) for name, found in samples.items()}


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
        """Seconds that each of `count` messages took, an `INTERVAL` or more apart."""
        return [self.paced() for _ in range(count)]

    def paced(self) -> float:
        """Send one message; returns the seconds that it took, an `INTERVAL` later at least."""
        begun = time.perf_counter()
        self._publisher.sendall(self._packet)
        _receive(self._subscriber, len(self._packet))
        took = time.perf_counter() - begun
        time.sleep(max(0.0, INTERVAL - took))
        return took


def _receive(sock: socket.socket, size: int) -> None:
    while size:
        came = len(sock.recv(size))
        if not came:
            raise clients.LoadError("the broker has closed the subscriber's connection")
        size -= came


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
