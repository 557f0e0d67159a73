"""One Kubernetes cluster as the operator uses it, against a real API server."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from clusters import Cluster
from isthmus_operator import kubeconfig
from isthmus_operator.cluster import Clusters, KubeCluster, Manifest
from isthmus_operator.cluster.breaker import Breaker
from isthmus_operator.cluster.watch import Watch
from isthmus_operator.errors import BrokerError, Conflict, Refused, Unauthorized, Unreachable
from waiting import wait_for_async

_LABEL = {"isthmus.dev/owner": "u1"}
_SELECTOR = "isthmus.dev/owner"
_numbers = itertools.count(1)


@pytest.fixture
def space(home: Cluster) -> Iterator[str]:
    """A namespace."""
    name = f"io-{next(_numbers)}"
    home.kubectl("create", "namespace", name)
    yield name
    home.start_api()
    home.kubectl("delete", "namespace", name, "--wait=false")


def _map(space: str, name: str = "a", **data: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": space, "labels": dict(_LABEL)},
        "data": data,
    }


async def test_applies_its_own_fields_and_leaves_others_theirs(
    kube: KubeCluster, home: Cluster, space: str
) -> None:
    await kube.apply(_map(space, ours="1", old="1"))
    home.kubectl("-n", space, "annotate", "configmap", "a", "theirs=yes")
    home.kubectl("-n", space, "patch", "configmap", "a", "-p", '{"data": {"x": "y", "ours": "0"}}')
    found = await kube.apply(_map(space, ours="2"))
    assert found["data"] == {"ours": "2", "x": "y"}
    assert found["metadata"]["annotations"] == {"theirs": "yes"}
    managers = {entry["manager"] for entry in found["metadata"]["managedFields"]}
    assert "isthmus" in managers


async def test_what_is_not_there_is_no_error_where_that_is_well(
    kube: KubeCluster, space: str
) -> None:
    assert await kube.get("Secret", space, "none") is None
    await kube.delete("Secret", space, "none")
    await kube.annotate_pod(space, "none", "a", "b")
    assert await kube.update_status("ClusterLink", space, "none", {}) is None
    assert await kube.list("Secret", space, _SELECTOR) == []


async def test_lists_more_than_a_page_with_kinds(
    kube: KubeCluster, space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isthmus_operator.cluster.client._PAGE", 2)
    for number in range(5):
        await kube.apply(_map(space, f"m{number}"))
    found = await kube.list("ConfigMap", space, _SELECTOR)
    assert [(one["kind"], one["apiVersion"], one["metadata"]["name"]) for one in found] == [
        ("ConfigMap", "v1", f"m{number}") for number in range(5)
    ]


async def test_says_whose_fault_it_is(kube: KubeCluster, home: Cluster, space: str) -> None:
    with pytest.raises(Refused, match=r"metadata\.name"):
        await kube.apply(_map(space, "A_"))
    with pytest.raises(Refused, match=r'namespaces "nowhere" not found'):
        await kube.apply(_map("nowhere"))
    await kube.create(_map(space))
    with pytest.raises(Conflict, match="already exists"):
        await kube.create(_map(space))
    read = await kube.get("ConfigMap", space, "a")
    assert read is not None
    await kube.apply(_map(space, changed="1"))
    with pytest.raises(Conflict, match="modified"):
        await kube.replace(read)
    with pytest.raises(BrokerError, match=r'pods "none" not found'):
        await kube.pod_proxy(space, "none", 18083, "/api/v5/status", {})


async def test_without_rights_or_with_a_wrong_token(home: Cluster, space: str) -> None:
    path = home.service_account_kubeconfig(space, "default")
    kube = KubeCluster(kubeconfig.of_file(path))
    with pytest.raises(Unauthorized, match="cannot list resource"):
        await kube.list("Secret", space, "")
    with pytest.raises(Unauthorized, match="cannot get resource"):
        await kube.pod_proxy(space, "none", 18083, "/", {})
    await kube.close()
    text = path.read_text()
    token = text.split("token: ")[1].split()[0]
    wrong = kubeconfig.of_secret(text.replace(token, "wrong").encode())
    kube = KubeCluster(wrong)
    with pytest.raises(Unauthorized, match="credentials that it knows"):
        await kube.list("Secret", space, "")
    await kube.close()


async def test_another_authority_is_not_believed(both: tuple[Cluster, Cluster]) -> None:
    home, other = (kubeconfig.of_file(one.kubeconfig) for one in both)
    kube = KubeCluster(dataclasses.replace(home, ca=other.ca))
    with pytest.raises(Unreachable, match=r"certificate|CERTIFICATE"):
        await kube.list("Secret", "default", "")
    await kube.close()


@pytest.fixture
def streams(kube: KubeCluster, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The revision from which each stream was asked for."""
    opened: list[str] = []
    lines = kube.lines

    def counted(kind: str, namespace: str, query: Any, silence: float) -> Any:
        opened.append(query["resourceVersion"])
        return lines(kind, namespace, query, silence)

    monkeypatch.setattr(kube, "lines", counted)
    return opened


class Heard:
    """What a watch has told."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str, str]] = []

    def __call__(self, kind: str, type_: str, found: Any) -> None:
        self.all.append((kind, type_, found["metadata"]["name"]))


@contextlib.asynccontextmanager
async def _watching(kube: KubeCluster, space: str, stream: float) -> AsyncIterator[Heard]:
    heard = Heard()
    watch = Watch(kube, "ConfigMap", space, _SELECTOR, heard, stream=stream)
    task = asyncio.create_task(watch.run())
    yield heard
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_watch_hears_of_everything_over_many_streams(
    kube: KubeCluster, space: str, streams: list[str]
) -> None:
    expected = []
    async with _watching(kube, space, stream=1.0) as heard:
        await wait_for_async(lambda: bool(streams), what="a stream")
        async with asyncio.timeout(30):
            while len(streams) < 4:
                await kube.apply(_map(space))
                await kube.delete("ConfigMap", space, "a")
                expected += [("ConfigMap", "ADDED", "a"), ("ConfigMap", "DELETED", "a")]
        await wait_for_async(lambda: len(heard.all) >= len(expected), what="all events")
        assert heard.all == expected


async def test_a_watch_goes_on_after_the_api_server_was_away(
    kube: KubeCluster, home: Cluster, space: str
) -> None:
    await kube.apply(_map(space, "kept"))
    await kube.apply(_map(space, "gone"))
    async with _watching(kube, space, stream=60.0) as heard:
        await wait_for_async(lambda: len(heard.all) == 2, what="what is there")
        await asyncio.to_thread(home.stop_api)
        await asyncio.to_thread(home.start_api)
        await asyncio.to_thread(home.kubectl, "-n", space, "delete", "configmap", "gone")
        last = ("ConfigMap", "DELETED", "gone")
        await wait_for_async(lambda: last in heard.all, 30.0, "the deletion")
        assert heard.all[2:] == [last]


async def test_a_watch_notices_that_its_stream_is_dead(
    kube: KubeCluster,
    home: Cluster,
    space: str,
    streams: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("isthmus_operator.cluster.watch._GRACE", 0.5)
    async with _watching(kube, space, stream=1.5) as heard:
        await wait_for_async(lambda: bool(streams), what="a stream")
        home.freeze_api()
        try:
            seen = len(streams)
            await wait_for_async(lambda: len(streams) > seen, what="another try")
        finally:
            home.thaw_api()
        await kube.apply(_map(space, "after"))
        await wait_for_async(
            lambda: ("ConfigMap", "ADDED", "after") in heard.all, 30.0, "the event"
        )


async def test_a_frozen_api_server_is_unreachable_within_the_deadline(
    home: Cluster, space: str
) -> None:
    kube = KubeCluster(kubeconfig.of_file(home.kubeconfig), deadline=1.0, breaker=Breaker())
    try:
        await kube.list("ConfigMap", space, "")
        home.freeze_api()
        async with asyncio.timeout(20):
            with pytest.raises(Unreachable, match="no answer within 1 s"):
                await kube.list("ConfigMap", space, "")
            for _ in range(50):  # each alone would take a second
                with pytest.raises(Unreachable, match="no answer within 1 s"):
                    await kube.apply(_map(space))
        home.thaw_api()

        async def answers() -> bool:
            with contextlib.suppress(Unreachable):
                return await kube.get("ConfigMap", space, "a") is None
            return False

        async with asyncio.timeout(30):
            while not await answers():  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.1)
    finally:
        await kube.close()


async def test_a_stopped_api_server_is_unreachable(
    kube: KubeCluster, home: Cluster, space: str
) -> None:
    home.stop_api()
    with pytest.raises(Unreachable, match=r"https://127\.0\.0\.1:\d+: "):
        await kube.list("ConfigMap", space, "")


async def test_a_closed_cluster_says_so(home: Cluster) -> None:
    kube = KubeCluster(kubeconfig.of_file(home.kubeconfig))
    await kube.close()
    await kube.close()
    with pytest.raises(Unreachable, match="not used any more"):
        await kube.get("Secret", "default", "a")


async def test_one_client_for_each_content_as_long_as_it_is_used(
    both: tuple[Cluster, Cluster],
) -> None:
    home, other = both
    clusters = Clusters(KubeCluster(kubeconfig.of_file(home.kubeconfig)))
    content = other.kubeconfig.read_bytes()
    one = await clusters.remote(("n", "a"), content)
    assert await clusters.remote(("n", "b"), content) is one
    rotated = await clusters.remote(
        ("n", "a"), other.service_account_kubeconfig("default", "default").read_bytes()
    )
    assert rotated is not one
    assert not one.closed
    await clusters.release(("n", "b"))
    assert one.closed
    await clusters.close()
    assert rotated.closed
