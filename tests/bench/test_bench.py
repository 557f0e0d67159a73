"""`hack/bench` as a command: it runs, and tells what it should. No figure is looked at."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks.brokers import ISTHMUS, NAMES

BENCH = Path(__file__).resolve().parents[2] / "hack" / "bench"


def bench(*arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BENCH, *arguments], capture_output=True, text=True, timeout=timeout, check=False
    )


def test_help_names_the_options() -> None:
    assert "broker" in bench("--help").stdout
    assert "--only SUITE" in bench("broker", "--help").stdout


def test_an_unknown_bench_is_refused() -> None:
    assert bench("nonsense").returncode == 1


@pytest.mark.slow
def test_a_quick_run_measures_each_broker(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = bench("--quick", "--only", "alone", "--only", "routes", "--json", str(figures))
    assert done.returncode == 0, done.stderr
    assert "CPU seconds for a million deliveries" in done.stdout
    assert "QoS 1, one to one: Isthmus" in done.stderr  # how it goes on
    assert "not measured" in done.stdout
    found = json.loads(figures.read_text())["figures"]
    assert set(found["qos0.cost"]) == set(NAMES)
    assert all(value > 0 for value in found["qos0.cost"].values())
    assert found["qos1.lost"][ISTHMUS] == 0
    assert found["routes.count"] == {ISTHMUS: 2000}


@pytest.mark.slow
def test_a_quick_run_of_the_faults(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = bench("--quick", "--only", "faults", "--json", str(figures))
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())["figures"]
    for key in ("slow-subscriber", "frozen-peer"):
        assert found[f"{key}.before"][ISTHMUS] > 0
        assert found[f"{key}.during"][ISTHMUS] > 0
