"""What is written and what is left alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from isthmus_operator import names
from isthmus_operator.plan import differs, plan

OWNER = "uid-1"


def service(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "a", "namespace": "mqtt", "labels": {names.OWNER: OWNER}},
        "spec": {"ports": [{"name": "mqtt", "port": 1883}], **spec},
    }


def stored(manifest: dict[str, Any], owned: dict[str, Any] | None = None) -> dict[str, Any]:
    """As an API server gives it back: with its defaults, and what others have added."""
    found = copy.deepcopy(manifest)
    found["metadata"] |= {"uid": "x", "resourceVersion": "7", "annotations": {"theirs": "1"}}
    found["spec"]["clusterIP"] = "10.0.0.1"
    for port in found["spec"]["ports"]:
        port |= {"protocol": "TCP", "targetPort": port["port"]}
    fields = {
        "f:metadata": {"f:labels": {f"f:{names.OWNER}": {}}},
        "f:spec": {
            "f:ports": {
                'k:{"port":1883,"protocol":"TCP"}': {".": {}, "f:name": {}, "f:port": {}},
            },
            **(owned or {}),
        },
    }
    found["metadata"]["managedFields"] = [
        {"manager": names.FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields},
        {"manager": "other", "operation": "Update", "fieldsV1": {"f:spec": {"f:clusterIP": {}}}},
    ]
    return found


def test_a_pass_without_changes_writes_nothing() -> None:
    assert not plan([service()], [stored(service())], OWNER)


def test_what_is_missing_is_written() -> None:
    assert plan([service()], [], OWNER).apply == [service()]


def test_what_somebody_changed_is_written_again() -> None:
    live = stored(service(type="LoadBalancer"))
    live["spec"]["type"] = "ClusterIP"
    assert plan([service(type="LoadBalancer")], [live], OWNER).apply


def test_what_we_no_longer_want_is_taken_back() -> None:
    live = stored(service(loadBalancerClass="x"), {"f:loadBalancerClass": {}})
    assert plan([service()], [live], OWNER).apply


def test_a_port_that_is_no_longer_wanted_is_taken_back() -> None:
    live = stored(
        service(), {"f:ports": {'k:{"port":1884,"protocol":"TCP"}': {".": {}, "f:port": {}}}}
    )
    assert plan([service()], [live], OWNER).apply


def test_what_others_added_is_left_alone() -> None:
    live = stored(service())
    live["spec"]["externalIPs"] = ["192.0.2.1"]
    live["spec"]["ports"].append({"name": "theirs", "port": 99, "protocol": "TCP"})
    assert not plan([service()], [live], OWNER)


def test_only_what_carries_the_owner_is_deleted() -> None:
    ours, theirs, going = (stored(service()) for _ in range(3))
    ours["metadata"]["name"], theirs["metadata"]["name"] = "old", "theirs"
    theirs["metadata"]["labels"] = {names.OWNER: "uid-2"}
    going["metadata"] |= {"name": "going", "deletionTimestamp": "2026-01-01T00:00:00Z"}
    found = plan([service()], [stored(service()), ours, theirs, going], OWNER)
    assert found.delete == [ours]
    assert not found.apply


@pytest.mark.parametrize(
    ("wanted", "live", "expected"),
    [
        ({"cpu": "0.5"}, {"cpu": "500m"}, False),
        ({"cpu": 1}, {"cpu": "1"}, False),
        ({"memory": "1024Mi"}, {"memory": "1Gi"}, False),
        ({"memory": "1Gi"}, {"memory": "1G"}, True),
        ({"tolerations": []}, {}, False),
        ({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "a"}, {"key": "b"}]}, True),
        ({"hostNetwork": False}, {}, False),
        ({"hostNetwork": True}, {}, True),
        ({"emptyDir": {}}, {"emptyDir": {}}, False),
        ({"env": [{"name": "a", "value": "1"}]}, {"env": [{"name": "a", "value": "2"}]}, True),
        (
            {"env": [{"name": "a", "value": "1"}]},
            {"env": [{"name": "z"}, {"name": "a", "value": "1"}]},
            False,
        ),
    ],
)
def test_compares_as_the_api_server_stores(wanted: Any, live: Any, expected: bool) -> None:
    def manifest(spec: Any) -> dict[str, Any]:
        return {"kind": "X", "metadata": {"name": "x"}, "spec": spec}

    assert differs(manifest(wanted), manifest(live)) is expected


def test_text_of_a_secret_is_compared_as_it_is_stored() -> None:
    wanted = {"kind": "Secret", "metadata": {"name": "x"}, "stringData": {"a": "b"}}
    live = {"kind": "Secret", "metadata": {"name": "x"}, "data": {"a": "Yg=="}}
    assert not differs(wanted, live)
    assert differs(wanted, {**live, "data": {"a": "Yw=="}})
