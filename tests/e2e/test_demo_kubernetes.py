"""`hack/demo --kubernetes` as people run it, from nothing to messages and back to nothing."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from clusters import registry
from waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

DEMO = str(Path(__file__).parents[2] / "hack" / "demo")
ENDED = 900.0
"""Seconds in which it ends, images being built before."""

Started = subprocess.Popen[str]
Start = Callable[[Mapping[str, str]], Started]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a check; what the test leaves running is ended."""
    running: list[Started] = []

    def begin(environment: Mapping[str, str]) -> Started:
        with (tmp_path / "said").open("w") as said:
            process = subprocess.Popen(
                [DEMO, "--kubernetes", "--check"],
                cwd="/",
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                text=True,
            )
        running.append(process)
        return process

    yield begin
    for process in running:
        process.terminate()
        process.wait(ENDED)


def clusters_of(process: Started) -> list[str]:
    """Its Kubernetes clusters: each process of the chain takes the place of the one before."""
    names = [record.name for record in registry.everything()]
    return [name for name in names if name.endswith(f"-{process.pid}")]


def test_check_shows_each_step_and_leaves_nothing(start: Start, tmp_path: Path) -> None:
    process = start({})
    status = process.wait(ENDED)
    said = (tmp_path / "said").read_text()
    assert status == 0, said
    assert "\x1b" not in said
    lines = iter(said.splitlines())
    for expected in (
        "✔ Kubernetes clusters us-east and eu-west",
        "✔ images loaded onto both nodes",
        "✔ operator installed in us-east",
        "✔ kubectl apply -f hack/demo-config/kubernetes.yaml",
        "kind: ClusterLink",
        "✔ kubectl wait --for=condition=Ready clink/atlantic",
        'us-east  received   linked/42  "Hello from the other side!"',
        'eu-west  received   linked/1   "Hello from US!"',
        "True    Linked   running   running",
        "nothing is left running",
    ):
        assert any(expected in line for line in lines), f"{expected}\n{said}"
    assert clusters_of(process) == []


def test_what_is_not_seen_fails_says_why_and_leaves_nothing(start: Start, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "mosquitto_pub").write_text("#!/bin/sh\necho no such luck >&2; exit 1\n")
    (programs / "mosquitto_pub").chmod(0o755)
    process = start({"PATH": f"{programs}:{os.environ['PATH']}"})
    status = process.wait(ENDED)
    said = (tmp_path / "said").read_text()
    assert status == 1, said
    assert "✘ linked/42 did not come" in said
    assert "no such luck" in said
    assert "nothing is left running" not in said
    assert clusters_of(process) == []


def test_one_that_is_ended_takes_its_clusters_along(start: Start, tmp_path: Path) -> None:
    process = start({})
    wait_for(lambda: len(clusters_of(process)) == 2, ENDED)
    process.send_signal(signal.SIGTERM)
    status = process.wait(ENDED)
    assert status == 128 + signal.SIGTERM, (tmp_path / "said").read_text()
    assert clusters_of(process) == []
