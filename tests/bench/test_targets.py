"""Targets: what counts as met, and what is said of what was not measured."""

from __future__ import annotations

import pytest

from benchmarks.brokers import ISTHMUS, MOSQUITTO
from benchmarks.measures import TABLES
from benchmarks.report import measured, wanted
from benchmarks.results import Results
from benchmarks.targets import MET, MISSED, TARGETS, UNKNOWN, Target, judge

SHARE = Target("", "qos0.cost", 1 / 12, ("qos0.cost", MOSQUITTO))
MOST = Target("", "idle.bytes", 6000, unit="bytes")
LEAST = Target("", "crowd.served", 15_000, at_least=True, whole=True)


def found(quick: bool = False, **figures: dict[str, float]) -> Results:
    keys = {name.replace("_", ".", 1): value for name, value in figures.items()}
    return Results("2026-01-31", {}, {}, quick, figures=keys)


@pytest.mark.parametrize(
    ("target", "results", "state"),
    [
        (SHARE, found(qos0_cost={ISTHMUS: 0.5, MOSQUITTO: 6.0}), MET),
        (SHARE, found(qos0_cost={ISTHMUS: 0.51, MOSQUITTO: 6.0}), MISSED),
        (SHARE, found(qos0_cost={ISTHMUS: 0.5}), UNKNOWN),
        (SHARE, found(qos0_cost={ISTHMUS: 0.5, MOSQUITTO: 0.0}), UNKNOWN),
        (SHARE, found(), UNKNOWN),
        (MOST, found(idle_bytes={ISTHMUS: 6000}), MET),
        (MOST, found(idle_bytes={ISTHMUS: 6001}), MISSED),
        (LEAST, found(crowd_served={ISTHMUS: 15_000}), MET),
        (LEAST, found(crowd_served={ISTHMUS: 14_999}), MISSED),
        (LEAST, found(quick=True, crowd_served={ISTHMUS: 15_000}), UNKNOWN),
    ],
)
def test_a_target_is_met_missed_or_unknown(target: Target, results: Results, state: str) -> None:
    assert judge(target, results).state == state


def test_targets_are_about_figures_that_are_told() -> None:
    told = {row.key for table in TABLES for row in table.rows}
    assert {it.key for it in TARGETS} | {it.of[0] for it in TARGETS if it.of} <= told


@pytest.mark.parametrize(
    ("target", "value", "limit_text", "value_text"),
    [
        (SHARE, 0.1, "at most 1/12", "1/60"),
        (Target("", "x.y", 1 / 3, ("x.y", MOSQUITTO)), 2.5, "at most 1/3", "1/2.4"),
        (Target("", "x.y", 1.1, ("x.y", MOSQUITTO)), 9.0, "at most 1.10 ×", "1.50 ×"),
        (Target("", "x.y", 1 / 2, ("x.y", MOSQUITTO)), 0.6, "at most 1/2", "1/10"),
        (MOST, 3387.1, "at most 6,000 bytes", "3,387 bytes"),
        (Target("", "x.y", 5, unit="s"), 1.464, "at most 5 s", "1.46 s"),
    ],
)
def test_amounts_read_as_people_say_them(
    target: Target, value: float, limit_text: str, value_text: str
) -> None:
    results = Results("", {}, {}, figures={target.key: {ISTHMUS: value, MOSQUITTO: 6.0}})
    assert wanted(target) == limit_text
    assert measured(judge(target, results)) == value_text
