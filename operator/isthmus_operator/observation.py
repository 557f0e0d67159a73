"""What was seen, as plain values: what the status of a resource is made of.

Instants are seconds since the epoch. How it is seen is left to `cluster` and `brokerapi`; what
follows from it to `status`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction of a link, as one broker node tells it."""

    state: str
    """`running`, `connecting`, `disconnected`, `inconsistent`, `stopped`."""
    reason: str = ""
    since: float | None = None
    last_seen: float | None = None
    """Last proof of life of the other side."""
    routes: int = 0


@dataclass(frozen=True, slots=True)
class LinkReport:
    """One link, as one broker node tells it; `incoming` is what that node's cluster receives."""

    incoming: Direction
    outgoing: Direction


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What one broker pod said of itself."""

    pod: str
    at: float
    """When it said so."""
    version: str = ""
    source_hash: str = ""
    """SHA-256 of the configuration file that it runs, in hexadecimal."""
    error: str = ""
    """Why a changed file was not taken up."""
    problem: str = ""
    """Why there is no answer; then the rest is empty."""
    links: Mapping[str, LinkReport] = field(default_factory=dict)
    """By the other cluster's name."""


@dataclass(frozen=True, slots=True)
class PodState:
    """A broker pod as Kubernetes sees it."""

    name: str
    ready: bool
    waiting: str = ""
    """Why a container waits: `ImagePullBackOff: ...`, `CrashLoopBackOff: ...`; or unschedulable."""


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What is known of one BrokerCluster after a pass of its reconciliation."""

    at: float
    problem_reason: str = ""
    """A reason of `status.Reason` where the pass ended early."""
    problem: str = ""
    wanted_hash: str = ""
    """SHA-256 of the configuration file that was rendered last."""
    links: Mapping[str, int] = field(default_factory=dict)
    """Links in it: UID of a ClusterLink, and its generation."""
    replicas: int = 0
    ready: int = 0
    pods: tuple[PodState, ...] = ()
    nodes: tuple[NodeReport, ...] = ()
    mqtt_endpoint: str = ""
    """`host:port`, or empty while it has no address."""
    link_endpoint: str = ""
    link_waiting: str = ""
    """Why there is no address for links yet, and what to do."""
    waiting_since: float | None = None
