"""Kubernetes clusters without nodes: what tests against real API servers stand on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import clusters
from clusters import Cluster
from waiting import wait_for

pytestmark = [pytest.mark.kube, pytest.mark.slow]


@pytest.fixture(scope="module")
def both() -> Iterator[list[Cluster]]:
    with clusters.temporary(["left", "right"], control_plane=True) as found:
        yield list(found.values())


def names(cluster: Cluster, kind: str) -> list[str]:
    return cluster.kubectl("get", kind, "--output=name").split()


def test_clusters_are_apart(both: list[Cluster]) -> None:
    left, right = both
    left.kubectl("create", "namespace", "only-left")
    assert "namespace/only-left" in names(left, "namespaces")
    assert "namespace/only-left" not in names(right, "namespaces")


def test_namespaces_end_with_what_is_in_them(both: list[Cluster]) -> None:
    left, _ = both
    left.kubectl("create", "namespace", "goes")
    left.kubectl("create", "configmap", "thing", "--namespace=goes")
    left.kubectl("delete", "namespace", "goes", "--wait=true", "--timeout=60s")
    assert "namespace/goes" not in names(left, "namespaces")


def test_orphans_are_collected(both: list[Cluster]) -> None:
    left, _ = both
    left.kubectl("create", "configmap", "owner")
    uid = left.kubectl("get", "configmap", "owner", "--output=jsonpath={.metadata.uid}")
    owned = f"""
apiVersion: v1
kind: ConfigMap
metadata:
  name: owned
  ownerReferences: [{{apiVersion: v1, kind: ConfigMap, name: owner, uid: {uid}}}]
"""
    left.kubectl("apply", "--filename=-", stdin=owned)
    left.kubectl("delete", "configmap", "owner")
    wait_for(lambda: "configmap/owned" not in names(left, "configmaps"), 60)


def test_an_api_server_that_was_stopped_comes_back_with_its_data(both: list[Cluster]) -> None:
    left, right = both
    left.kubectl("create", "configmap", "stays")
    address = left.kubeconfig.read_text()
    left.stop_api()
    with pytest.raises(clusters.Failed, match="refused"):
        left.kubectl("get", "configmap", "stays")
    right.kubectl("get", "namespaces")
    left.start_api()
    assert "configmap/stays" in names(left, "configmaps")
    assert left.kubeconfig.read_text() == address


def test_a_frozen_api_server_does_not_answer_until_it_may_go_on(both: list[Cluster]) -> None:
    left, _ = both
    left.freeze_api()
    with pytest.raises(clusters.Failed):
        left.kubectl("get", "namespaces", "--request-timeout=1s")
    left.thaw_api()
    assert names(left, "namespaces")


def test_a_service_account_has_its_own_rights_only(both: list[Cluster]) -> None:
    left, _ = both
    who = left.service_account_kubeconfig("default", "default")
    asked = left.kubectl("auth", "whoami", f"--kubeconfig={who}")
    assert "system:serviceaccount:default:default" in asked
    with pytest.raises(clusters.Failed, match="Forbidden"):
        left.kubectl("get", "secrets", f"--kubeconfig={who}")


def test_bringing_up_what_is_up_changes_nothing(both: list[Cluster]) -> None:
    left, _ = both
    before = left.kubeconfig.read_text()
    again = clusters.up([left.name], control_plane=True)[left.name]
    assert again.kubeconfig.read_text() == before
    with pytest.raises(clusters.Refused, match="is a control-plane cluster"):
        clusters.up([left.name])


def test_down_leaves_nothing() -> None:
    with clusters.temporary(["short"], control_plane=True) as found:
        folder = found["short"].kubeconfig.parent
        assert processes_of(folder)
    assert not folder.exists()
    assert not processes_of(folder)


def test_down_ends_what_somebody_forgot_by_removing_the_folder() -> None:
    with clusters.temporary(["lost"], control_plane=True) as found:
        folder = found["lost"].kubeconfig.parent
        shutil.rmtree(folder / "run")
        (folder / "cluster.json").unlink()
        assert processes_of(folder)
    assert not folder.exists()
    assert not processes_of(folder)


def test_a_cluster_that_is_not_there_is_said_to_be_missing() -> None:
    with pytest.raises(clusters.Refused, match="There is no cluster nowhere"):
        clusters.find("nowhere")


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "1a", "a" * 31, "../a"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(clusters.Refused, match="can't be a cluster's name"):
        clusters.up([name], control_plane=True)


def processes_of(folder: Path) -> list[str]:
    """Command lines of the processes that have to do with a cluster's folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if f"{folder}/" in line:
            found.append(line)
    return found
