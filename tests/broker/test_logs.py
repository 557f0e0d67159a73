"""The log goes where the settings say, as they say, and a flood becomes a few lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from isthmus_broker.errors import ConfigurationError
from isthmus_broker.logs import BURST, PERIOD, Limit, Log
from isthmus_broker.settings import LogSettings


@pytest.fixture(autouse=True)
def _defaults_afterwards() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_levels_below_the_wanted_one_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    output = Log()
    log = structlog.get_logger("isthmus.test")
    output.apply(LogSettings(level="warning"))
    log.info("not shown")
    log.warning("shown", link="eu")
    output.apply(LogSettings(level="debug"))
    log.debug("shown now")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "shown" in lines[0]
    assert "link=eu" in lines[0]
    assert "shown now" in lines[1]


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    Log().apply(LogSettings(format="json"))
    try:
        int("what happened")
    except ValueError:
        structlog.get_logger().exception("it failed", topic="grüße")
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["level"], line["topic"]) == ("it failed", "error", "grüße")
    assert "what happened" in line["exception"]
    assert line["timestamp"].endswith("Z")


def test_a_file_is_appended_to(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "broker.log"
    file.write_text("before\n")
    output = Log()
    output.apply(LogSettings(file=file))
    structlog.get_logger().info("to the file")
    output.apply(LogSettings())
    structlog.get_logger().info("to standard error")
    assert file.read_text().startswith("before\n")
    assert "to the file" in file.read_text()
    assert "to standard error" not in file.read_text()
    assert "to standard error" in capsys.readouterr().err


def test_a_file_that_can_t_be_written_changes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = Log()
    output.apply(LogSettings())
    with pytest.raises(ConfigurationError, match=r"log\.file: .*can't be written: Is a directory"):
        output.apply(LogSettings(file=tmp_path))
    structlog.get_logger().info("still here")
    assert "still here" in capsys.readouterr().err


def test_a_flood_of_one_warning_is_a_few_lines_and_a_count() -> None:
    now = 0.0
    limit = Limit(lambda: now)

    def shown(event: str, level: str = "warning") -> dict[str, object] | None:
        try:
            return dict(limit(None, level, {"event": event}))
        except structlog.DropEvent:
            return None

    assert sum(shown("flood") is not None for _ in range(BURST + 100)) == BURST
    assert shown("another") is not None
    assert all(shown("flood", "error") for _ in range(BURST + 1))  # our own faults: all of them
    now = PERIOD
    assert shown("flood") == {"event": "flood", "not_shown": 100}
    assert shown("flood") == {"event": "flood"}
