"""What the two clusters tell of the link between them, as values; pure.

A direction is told by its sender, who counts what it forwards and what waits; by its receiver where
the sender does not answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

RUNNING: Final = "running"


@dataclass(frozen=True, repr=False)
class Told:
    """What one cluster tells of its link, as in its admin API."""

    incoming: Mapping[str, Any]
    outgoing: Mapping[str, Any]
    forwarding: Mapping[str, Any]

    @property
    def runs(self) -> bool:
        """Whether both directions run."""
        return {self.incoming["state"], self.outgoing["state"]} == {RUNNING}

    @property
    def wanted(self) -> int:
        """Routes that the other cluster has announced."""
        return int(self.outgoing["routes"])

    @property
    def announced(self) -> int:
        """Routes that this cluster announces."""
        return int(self.incoming["routes"])

    @property
    def waiting(self) -> int:
        """Messages that the other cluster has not acknowledged."""
        return int(self.forwarding["queuing"]) + int(self.forwarding["inflight"])

    def __repr__(self) -> str:
        return f"{self.waiting} messages waiting, " + "; ".join(
            f"{name} {it['state']}{' (' + it['reason'] + ')' if it['reason'] else ''}, "
            f"routes {it['routes']}"
            for name, it in (("in", self.incoming), ("out", self.outgoing))
        )


@dataclass(frozen=True)
class Direction:
    """One direction of the link."""

    source: str
    target: str
    state: str
    reason: str = ""
    routes: int | None = None
    rate: float | None = None
    """Messages a second."""
    lag: float | None = None
    """Seconds to the last acknowledgement, or that a message waits by now."""
    waiting: int | None = None
    """Messages that wait in the sender."""


def told(link: Mapping[str, Any], metrics: Mapping[str, Any]) -> Told:
    """Read what the admin API answers for a link, and for its metrics."""
    node = link["node_status"][0]
    return Told(node["incoming"], node["outgoing"], metrics["metrics"]["forwarding"])


def direction(source: str, target: str, sender: Told | None, receiver: Told | None) -> Direction:
    """One direction, from what its ends tell; None: that end does not answer."""
    if sender is None:
        if receiver is None:
            return Direction(source, target, "down", "neither cluster answers")
        there = receiver.incoming
        return Direction(source, target, there["state"], there["reason"])
    state, reason = sender.outgoing["state"], sender.outgoing["reason"]
    if state == RUNNING and receiver is not None:
        state, reason = receiver.incoming["state"], receiver.incoming["reason"]
    return Direction(
        source,
        target,
        state,
        reason,
        sender.wanted,
        float(sender.outgoing["rate"]),
        sender.outgoing["lag"],
        sender.waiting,
    )
