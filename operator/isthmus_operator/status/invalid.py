"""The status of a resource that can't be read: of another version than the operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isthmus_operator.status.conditions import Document, conditions, unmet
from isthmus_operator.status.reasons import Reason


def invalid_status(
    raw: Mapping[str, Any], reason: Reason, message: str, now: float
) -> Document | None:
    """The status with that said in `Accepted` and `Ready`; None where it is said already."""
    before = dict(raw.get("status") or {})
    generation = raw["metadata"].get("generation", 1)
    finding = unmet(reason, message)
    found = {"Accepted": finding, "Ready": finding}
    new = {
        **before,
        "observedGeneration": generation,
        "conditions": conditions(found, before.get("conditions", ()), generation, now),
    }
    return None if new == before else new
