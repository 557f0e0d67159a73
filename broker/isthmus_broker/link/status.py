"""What is told of a link: its state and its figures, per direction.

Plain values; `links` fills them in, the admin API, `$SYS` and the metrics show them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

State = Literal["running", "connecting", "disconnected", "stopped", "inconsistent"]


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction of a link as this node sees it."""

    state: State
    reason: str = ""
    """Why it is not running; what to do about it, where that is known."""
    since: float | None = None
    """When it entered this state: seconds since the epoch."""
    last_seen: float | None = None
    """Last proof of life of the other side: seconds since the epoch."""
    routes: int = 0
    """Routes announced to the other side (in), or by it (out)."""
    messages: int = 0
    """Messages received (in), or forwarded (out)."""
    rate: float = 0.0
    """Messages a second, lately."""
    dropped_by: Mapping[str, int] = field(default_factory=dict)
    """Messages that reached nobody on this side of the connection, by reason."""
    lag: float | None = None
    """Seconds that the last messages took, or wait by now; None: not known."""


@dataclass(frozen=True, slots=True)
class Forwarding:
    """What became of the messages for the other cluster; names as in EMQX."""

    matched: int = 0
    success: int = 0
    """Acknowledged by the other side."""
    failed: int = 0
    """Refused by the other side."""
    dropped: int = 0
    retried: int = 0
    received: int = 0
    queuing: int = 0
    """In the buffer now."""
    inflight: int = 0
    rate: float = 0.0
    rate_last5m: float = 0.0
    rate_max: float = 0.0
    queuing_bytes: int = 0
    dropped_by: Mapping[str, int] = field(default_factory=dict)
    """`dropped`, by reason."""


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """A link as this node sees it."""

    state: State
    """Running only where each direction that is wanted is."""
    reason: str
    incoming: Direction
    """From the other cluster to this one: what `topics` ask for."""
    outgoing: Direction
    """From this cluster to the other: what its subscribers ask for."""
    forwarding: Forwarding = Forwarding()
