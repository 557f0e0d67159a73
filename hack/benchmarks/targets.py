"""What the figures should be, and whether they are: met, not met, or not measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks.brokers import ISTHMUS, MOSQUITTO, NATS
from benchmarks.results import Results

MET: Final = "met"
MISSED: Final = "not met"
UNKNOWN: Final = "not measured"


@dataclass(frozen=True)
class Target:
    """An upper limit (or, with `at_least`, a lower one) for a figure of Isthmus."""

    what: str
    key: str
    limit: float
    """In the figure's own unit, or as a share of what it is compared with."""
    of: tuple[str, str] | None = None
    """Key and broker of the figure that it is compared with."""
    at_least: bool = False
    unit: str = ""
    whole: bool = False
    """Whether a quick run, with fewer of everything, tells nothing about it."""


@dataclass(frozen=True)
class Verdict:
    """What came of a target."""

    target: Target
    value: float | None
    """To be compared with the limit."""

    @property
    def state(self) -> str:
        """`MET`, `MISSED` or `UNKNOWN`."""
        if self.value is None:
            return UNKNOWN
        limit = self.target.limit
        good = self.value >= limit if self.target.at_least else self.value <= limit
        return MET if good else MISSED


TARGETS: Final = (
    Target("CPU a message, QoS 0, of mosquitto's", "qos0.cost", 1 / 12, ("qos0.cost", MOSQUITTO)),
    Target("CPU a message, QoS 0, of nats-server's", "qos0.cost", 1 / 2, ("qos0.cost", NATS)),
    Target(
        "the same, fan-out to ten, mosquitto", "fanout.cost", 1 / 20, ("fanout.cost", MOSQUITTO)
    ),
    Target("the same, fan-out to ten, nats-server", "fanout.cost", 1 / 3, ("fanout.cost", NATS)),
    Target("the same, QoS 1, mosquitto", "qos1.cost", 1 / 3, ("qos1.cost", MOSQUITTO)),
    Target("the same, link, QoS 0, mosquitto", "link-qos0.cost", 1, ("link-qos0.cost", MOSQUITTO)),
    Target("median latency, of mosquitto's", "latency.median", 1.1, ("latency.median", MOSQUITTO)),
    Target("memory of an idle connection", "idle.bytes", 6000, unit="bytes"),
    Target("idle connections on one node", "crowd.served", 15_000, at_least=True, whole=True),
    Target("others' latency, a subscriber stops reading", "slow-subscriber.change", 1.1, unit="×"),
    Target("others' latency, a link into a black hole", "frozen-peer.change", 1.1, unit="×"),
    Target("bootstrap of 100,000 routes", "routes.seconds", 5, unit="s", whole=True),
)


def judge(target: Target, results: Results) -> Verdict:
    """Hold a target against the figures."""
    value = None if target.whole and results.quick else results.get(target.key, ISTHMUS)
    if value is not None and target.of is not None:
        other = results.get(*target.of)
        value = value / other if other else None
    return Verdict(target, value)


def verdicts(results: Results) -> list[Verdict]:
    """All of them."""
    return [judge(target, results) for target in TARGETS]
