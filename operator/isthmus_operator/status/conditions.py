"""Conditions in the shape that all of Kubernetes uses, and what changes from one pass to the next.

`lastTransitionTime` moves only when a condition's status does; an event is told only when `Ready`
says something else than before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from isthmus_operator.status.reasons import PASSING, Reason

Truth = Literal["True", "False", "Unknown"]
Document = dict[str, Any]


class Finding(NamedTuple):
    """What is known of one aspect."""

    status: Truth
    reason: Reason
    message: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """What `kubectl describe` shows under Events."""

    type: Literal["Normal", "Warning"]
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Update:
    """What a pass has to write."""

    status: Document | None = None
    """The whole new status, or None where the old one still holds."""
    events: list[Event] = field(default_factory=list)


def met(reason: Reason, message: str = "") -> Finding:
    """It is so."""
    return Finding("True", reason, message)


def unmet(reason: Reason, message: str) -> Finding:
    """It is not so."""
    return Finding("False", reason, message)


def unknown(reason: Reason, message: str) -> Finding:
    """It can't be told."""
    return Finding("Unknown", reason, message)


def instant(now: float) -> str:
    """Seconds since the epoch, as Kubernetes writes them."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def since(moment: float | None, before: str | None) -> str | None:
    """`moment` as Kubernetes writes it; as `before` where that is the same but for rounding."""
    if moment is None:
        return None
    if before and abs(seconds(before) - moment) < 2:
        return before
    return instant(moment)


def seconds(text: str) -> float:
    """The reverse of `instant`."""
    return datetime.fromisoformat(text).timestamp()


def conditions(
    findings: Mapping[str, Finding], before: Sequence[Document], generation: int, now: float
) -> list[Document]:
    """The list for a status; an aspect that says the same as `before` keeps its time."""
    old = {one["type"]: one for one in before}
    found = []
    for kind, finding in findings.items():
        last = old.get(kind, {})
        same = last.get("status") == finding.status
        found.append(
            {
                "type": kind,
                "status": finding.status,
                "observedGeneration": generation,
                "lastTransitionTime": last["lastTransitionTime"] if same else instant(now),
                "reason": str(finding.reason),
                "message": finding.message,
            }
        )
    return found


def ready(findings: Mapping[str, Finding], everything: Finding) -> Finding:
    """What sums up: the first that is not met, else `everything`."""
    for finding in findings.values():
        if finding.status != "True":
            return finding
    return everything


def update(new: Document, before: Mapping[str, Any]) -> Update:
    """What to write and to tell, `before` being the status as it stands."""
    new = {key: value for key, value in new.items() if value is not None}
    if new == dict(before):
        return Update()
    return Update(new, _told(new, before))


def _told(new: Document, before: Mapping[str, Any]) -> list[Event]:
    now, then = _ready(new), _ready(before)
    if (now.get("status"), now.get("reason")) == (then.get("status"), then.get("reason")):
        return []
    reason = Reason(now["reason"])
    calm = now["status"] == "True" or reason in PASSING
    return [Event("Normal" if calm else "Warning", reason, now["message"])]


def _ready(status: Mapping[str, Any]) -> Mapping[str, Any]:
    found = (one for one in status.get("conditions", ()) if one["type"] == "Ready")
    return next(found, {})
