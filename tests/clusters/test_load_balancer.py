"""Which address a Service of type LoadBalancer gets in our clusters."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from clusters.loadbalancer import ADDRESS, NO_ADDRESS, changes

RANGE = ipaddress.IPv4Network("198.18.1.128/30")  # with two addresses
FIRST, SECOND = "198.18.1.129", "198.18.1.130"


def service(
    name: str,
    has: str | None = None,
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    ingress = [{"ip": has}] if has else None
    return {
        "metadata": {"namespace": "n", "name": name, "annotations": annotations},
        "spec": {"type": "LoadBalancer", **spec},
        "status": {"loadBalancer": {"ingress": ingress} if ingress else {}},
    }


@pytest.mark.parametrize(
    ("services", "wanted"),
    [
        pytest.param([service("a")], {"a": FIRST}, id="the first that is free"),
        pytest.param([service("a"), service("b")], {"a": FIRST, "b": SECOND}, id="one each"),
        pytest.param([service("b", FIRST), service("a")], {"a": SECOND}, id="what one has stays"),
        pytest.param(
            [service("a", FIRST), service("b", SECOND), service("c")], {}, id="none is left"
        ),
        pytest.param([service("a", type="ClusterIP")], {}, id="not of this type"),
        pytest.param([service("a", loadBalancerClass="x.example/y")], {}, id="somebody else's"),
        pytest.param(
            [service("a", FIRST, {NO_ADDRESS: "true"})], {"a": None}, id="taken away as asked"
        ),
        pytest.param([service("a", None, {NO_ADDRESS: "true"})], {}, id="withheld as asked"),
        pytest.param(
            [service("a", FIRST, {ADDRESS: SECOND})], {"a": SECOND}, id="changed as asked"
        ),
        pytest.param(
            [service("a"), service("b", None, {ADDRESS: FIRST})],
            {"a": SECOND, "b": FIRST},
            id="one that was asked for is nobody else's",
        ),
        pytest.param(
            [service("a", loadBalancerIP=SECOND)], {"a": SECOND}, id="asked for in the spec"
        ),
    ],
)
def test_addresses(services: list[dict[str, Any]], wanted: dict[str, str | None]) -> None:
    paths = {f"/api/v1/namespaces/n/services/{name}": to for name, to in wanted.items()}
    assert changes(services, RANGE) == paths
