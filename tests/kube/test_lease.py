"""Who leads, with real processes and a real API server."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clusters import Cluster
from isthmus_operator import lease
from isthmus_operator.cluster import KubeCluster
from isthmus_operator.lease import Lease
from waiting import wait_for

_LEADER = Path(__file__).parents[1] / "support" / "leader.py"
_OTHERS = 15.0
"""Seconds within which another one has to lead."""

Start = Callable[[str, str], "subprocess.Popen[str]"]


@pytest.fixture
def start(home: Cluster) -> Iterator[Start]:
    """Call it with the name of a Lease and who wants it."""
    processes: list[subprocess.Popen[str]] = []

    def begin(name: str, who: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(_LEADER), str(home.kubeconfig), "default", name, who]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _leads(process: subprocess.Popen[str]) -> bool:
    """Waits until it says so, among what it logs."""
    assert process.stdout is not None
    return any(line.startswith("leads") for line in process.stdout)


def _holder(home: Cluster, name: str) -> str:
    path = "jsonpath={.spec.holderIdentity}"
    return home.kubectl("-n", "default", "get", "lease", name, "-o", path).strip()


@pytest.mark.slow
def test_another_one_leads_soon_after_the_leader_was_killed(home: Cluster, start: Start) -> None:
    first = start("killed", "one")
    assert _leads(first)
    start("killed", "two")
    first.send_signal(signal.SIGKILL)
    first.wait()
    wait_for(lambda: _holder(home, "killed") == "two", _OTHERS, "the other one leads")


def test_another_one_leads_at_once_where_the_leader_gave_it_back(
    home: Cluster, start: Start
) -> None:
    first = start("released", "one")
    assert _leads(first)
    second = start("released", "two")
    first.send_signal(signal.SIGTERM)
    assert first.wait(10) == 0
    assert _leads(second)
    assert _holder(home, "released") == "two"


@pytest.mark.slow
async def test_a_leader_without_answers_stops_before_another_begins(
    kube: KubeCluster, home: Cluster
) -> None:
    held = Lease(kube, "default", "frozen", "one")
    await held.acquire()
    home.freeze_api()
    try:
        async with asyncio.timeout(lease.DURATION):  # it is what this is about: no longer than that
            await held.hold()
    finally:
        home.thaw_api()


async def test_a_leader_that_sees_somebody_else_stops(kube: KubeCluster) -> None:
    held = Lease(kube, "default", "taken", "one")
    await held.acquire()
    found = await kube.get("Lease", "default", "taken")
    assert found is not None
    found["spec"]["holderIdentity"] = "two"
    await kube.replace(found)
    async with asyncio.timeout(15):
        await held.hold()
    await held.release()
    found = await kube.get("Lease", "default", "taken")
    assert found is not None
    assert found["spec"]["holderIdentity"] == "two"


async def test_annotations_of_others_neither_renew_it_nor_end_it(
    kube: KubeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(lease.time, "monotonic", lambda: now)
    first = Lease(kube, "default", "annotated", "one")
    await first.acquire()
    second = Lease(kube, "default", "annotated", "two")
    assert not await second._try()
    now += lease.DURATION - 1
    await kube.apply(
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": "annotated",
                "namespace": "default",
                "annotations": {"somebody": "else"},
            },
        }
    )
    assert not await second._try()
    now += 1
    assert await second._try()
    found: Any = await kube.get("Lease", "default", "annotated")
    assert found["metadata"]["annotations"] == {"somebody": "else"}
    assert found["spec"]["leaseTransitions"] == 2


async def test_says_why_it_can_not_have_it(
    kube: KubeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = Lease(kube, "nowhere", "x", "one")
    for _ in range(3):
        assert not await wanted._try()
    assert capsys.readouterr().out.count('namespaces "nowhere" not found') == 1
