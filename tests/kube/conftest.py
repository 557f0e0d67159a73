"""Two API servers without nodes, the CRDs, and the operator as a process on one of them."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from clusters import Cluster, Failed, temporary
from isthmus_operator import kubeconfig
from isthmus_operator.cluster import KubeCluster
from operators import Operator
from waiting import wait_for
from worlds import World

ROOT = Path(__file__).parents[2]
_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.kube)


@pytest.fixture(scope="session")
def both() -> Iterator[tuple[Cluster, Cluster]]:
    """Two API servers with our CRDs on the first."""
    with temporary(["home", "other"], control_plane=True) as found:
        home, other = found["home"], found["other"]
        wait_for(lambda: _crds(home), 30.0, "CRDs")
        yield home, other


@pytest.fixture
def home(both: tuple[Cluster, Cluster]) -> Iterator[Cluster]:
    """The first API server, running whatever a test did to it."""
    yield both[0]
    both[0].start_api()


@pytest.fixture
async def kube(home: Cluster) -> AsyncIterator[KubeCluster]:
    """The operator's own client of it."""
    found = KubeCluster(kubeconfig.of_file(home.kubeconfig))
    yield found
    await found.close()


def _crds(home: Cluster) -> bool:
    try:
        home.kubectl("apply", "-f", str(ROOT / "crds"))
        home.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
    except Failed:
        return False  # an API server that has just started says so
    return True


@pytest.fixture
def world(both: tuple[Cluster, Cluster], tmp_path: Path) -> Iterator[World]:
    """A namespace on both clusters, with the operator running for it; its log is looked at."""
    home, other = both
    namespace = f"t{next(_numbers)}"
    for one in both:
        one.kubectl("create", "namespace", namespace)
    home.kubectl(
        "-n", namespace, "create", "secret", "generic", "other",
        f"--from-file=kubeconfig={other.kubeconfig}",
    )  # fmt: skip
    operator = Operator(
        home.kubeconfig,
        tmp_path / "operator.log",
        ISTHMUS_NAMESPACES=namespace,
        ISTHMUS_LEASE_NAME=f"isthmus-{namespace}",
        ISTHMUS_LEASE_NAMESPACE=namespace,
    )
    operator.start()
    found = World(home, other, namespace, operator)
    try:
        yield found
        if operator.running:
            operator.stop()
        operator.check_log()
    finally:
        if operator.running:
            operator.stop()
        _free(home, namespace)


def _free(home: Cluster, namespace: str) -> None:
    """Nothing of a test that has failed keeps its namespace from going."""
    for kind in ("clink", "bc"):
        listed = home.kubectl("-n", namespace, "get", kind, "-o", "name").split()
        for name in listed:
            home.kubectl(
                "-n", namespace, "patch", name, "--type=merge",
                "-p", '{"metadata":{"finalizers":null}}',
            )  # fmt: skip
    home.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show the operator's log with a test that has failed."""
    report: Any = yield
    found = getattr(item, "funcargs", {}).get("world")
    if report.failed and found is not None:
        report.sections.append(("operator", found.operator.log()[-8000:]))
    return report
