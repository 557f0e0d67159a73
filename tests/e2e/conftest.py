"""Two Kubernetes clusters with nodes and our images; the chart installed in the first."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import pytest

from clusters import Cluster, temporary
from world import BROKER_IMAGE, EU, ROOT, SYSTEM, US, World, complaints, helm, namespace


@pytest.fixture(scope="session")
def both() -> Iterator[Mapping[str, Cluster]]:
    """The clusters, with the images in both."""
    with temporary([US, EU]) as found:
        for cluster in found.values():
            cluster.load("broker", "operator")
        yield found


@pytest.fixture(scope="session")
def installed(both: Mapping[str, Cluster]) -> Mapping[str, Cluster]:
    """The operator, installed by its chart as its README says."""
    helm(
        both[US],
        *("install", "isthmus", str(ROOT / "charts/isthmus-operator")),
        *("--namespace", SYSTEM, "--create-namespace", "--wait", "--timeout=3m"),
        *("--set", "image.repository=localhost/isthmus-operator", "--set", "image.tag=dev"),
        *("--set", f"brokerImage={BROKER_IMAGE}"),
        *("--set", "log.format=json"),
    )
    return both


@pytest.fixture
def world(installed: Mapping[str, Cluster], request: pytest.FixtureRequest) -> Iterator[World]:
    """A namespace of the test's own; at the end the operator must have had no trouble."""
    short = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[:40]
    with namespace(installed, short.strip("-")) as made:
        yield made
    assert complaints(installed[US]) == []
