"""docs/operator.md explains every reason."""

from __future__ import annotations

from pathlib import Path

from isthmus_operator.status import Reason


def test_every_reason_is_explained() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operator.md").read_text()
    missing = [reason for reason in Reason if f"`{reason}`" not in text]
    assert not missing
