"""The rows of the tables: each figure that is told, its name, its unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Measure:
    """One row; a figure has as many decimals as `digits` says."""

    key: str
    name: str
    digits: int = 0


@dataclass(frozen=True)
class Table:
    """Rows of one unit."""

    name: str
    title: str
    rows: tuple[Measure, ...]


WORKS: Final = {
    "qos0": "QoS 0, one to one",
    "fanout": "QoS 0, one to ten",
    "fanin": "QoS 0, ten to one",
    "qos1": "QoS 1, one to one",
    "qos2": "QoS 2, one to one",
    "link-qos0": "over a link, QoS 0",
    "link-qos1": "over a link, QoS 1",
}
"""What is measured of throughput, and what it is called."""


def _works(value: str, digits: int) -> tuple[Measure, ...]:
    return tuple([Measure(f"{key}.{value}", name, digits) for key, name in WORKS.items()])


TABLES: Final = (
    Table("cost", "CPU seconds for a million deliveries", _works("cost", 2)),
    Table("rate", "Deliveries a second, broker on one core", _works("rate", 0)),
    Table(
        "latency",
        "Latency, microseconds",
        (
            Measure("latency.median", "median"),
            Measure("latency.p99", "99th percentile"),
            Measure("link-latency.median", "over a link, median"),
            Measure("link-latency.p99", "over a link, 99th percentile"),
        ),
    ),
    Table(
        "idle",
        "Idle connections, each with a subscription",
        (
            Measure("idle.bytes", "bytes of memory for each"),
            Measure("idle.rate", "connects a second"),
            Measure("idle.cost", "CPU milliseconds a connect", 3),
        ),
    ),
    Table(
        "crowd",
        "Many of them on one node",
        (
            Measure("crowd.served", "connected, and each served"),
            Measure("crowd.bytes", "bytes of memory for each"),
            Measure("crowd.median", "latency beside them, median, µs"),
            Measure("crowd.p99", "latency beside them, 99th percentile, µs"),
        ),
    ),
    Table(
        "faults",
        "Latency of others in a fault, microseconds",
        (
            Measure("slow-subscriber.before", "everybody reads, median"),
            Measure("slow-subscriber.during", "a subscriber stops reading, median"),
            Measure("slow-subscriber.change", "changed by the factor", 2),
            Measure("slow-subscriber.before_p99", "everybody reads, 99th percentile"),
            Measure("slow-subscriber.during_p99", "a subscriber stops reading, 99th percentile"),
            Measure("frozen-peer.before", "the link runs, median"),
            Measure("frozen-peer.during", "the other side is frozen, median"),
            Measure("frozen-peer.change", "changed by the factor", 2),
            Measure("frozen-peer.before_p99", "the link runs, 99th percentile"),
            Measure("frozen-peer.during_p99", "the other side is frozen, 99th percentile"),
        ),
    ),
    Table(
        "routes",
        "Bootstrap of a link",
        (
            Measure("routes.count", "routes"),
            Measure("routes.seconds", "seconds", 2),
            Measure("routes.bytes", "bytes of memory for each"),
        ),
    ),
)
