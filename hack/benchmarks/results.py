"""What a run has found: figures by measurement and broker, and under which circumstances.

A figure's key is a name and, after a dot, which of its values: `qos0.cost`, `idle.bytes`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


class ResultsError(Exception):
    """A file holds no results."""


@dataclass
class Results:
    """Everything that is told of one run."""

    when: str
    """Date, as in 2026-01-31."""
    machine: dict[str, str]
    versions: dict[str, str]
    quick: bool = False
    load_before: float = 0.0
    """Load average of the last minute, before the run."""
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    """Value by broker, by key."""
    notes: list[str] = field(default_factory=list)
    """What could not be measured, and why."""

    def put(self, key: str, broker: str, value: float) -> None:
        """Note a figure."""
        self.figures.setdefault(key, {})[broker] = value

    def get(self, key: str, broker: str) -> float | None:
        """A figure, or None where there is none."""
        return self.figures.get(key, {}).get(broker)

    def write(self, path: Path) -> None:
        """Write them as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read what `write` has written.

        Raises:
            ResultsError: it is something else.
        """
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise ResultsError(f"{path}: no results of a bench: {error}") from error
