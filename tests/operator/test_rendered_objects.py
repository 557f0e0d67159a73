"""Rendered objects at a real API server: it takes every one, in a namespace of restricted pods."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusters import Cluster, temporary
from rendered import CASES, Authorities, of_case

NAMESPACES = ("mqtt", "brokers")


@pytest.fixture(scope="module")
def api_server() -> Iterator[Cluster]:
    with temporary(["rendered"], control_plane=True) as found:
        server = found["rendered"]
        for name in NAMESPACES:
            server.kubectl("create", "namespace", name)
            server.kubectl("create", "serviceaccount", "us", "-n", name)
            server.kubectl("label", "ns", name, "pod-security.kubernetes.io/enforce=restricted")
        yield server


@pytest.mark.kube
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_object_is_taken(case: Path, api_server: Cluster) -> None:
    for manifests in of_case(case, Authorities()).values():
        everything = {"apiVersion": "v1", "kind": "List", "items": manifests}
        said = api_server.kubectl(
            *("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"),
            stdin=json.dumps(everything),
        )
        assert said.count("serverside-applied") == len(manifests)


@pytest.mark.kube
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_namespace_with_restricted_pods_takes_the_pods(case: Path, api_server: Cluster) -> None:
    for manifests in of_case(case, Authorities()).values():
        (found,) = (one for one in manifests if one["kind"] == "StatefulSet")
        template = found["spec"]["template"]
        meta = {**template["metadata"], "name": "x", "namespace": found["metadata"]["namespace"]}
        spec = {**template["spec"], "serviceAccountName": "us"}
        spec.pop("priorityClassName", None)  # there is none of that name
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
        api_server.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
