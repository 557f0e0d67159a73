"""What a pod, or something that is no API server, may answer; played by an HTTP server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from isthmus_operator.access import Access
from isthmus_operator.brokerapi import report
from isthmus_operator.cluster import KubeCluster, client
from isthmus_operator.cluster.breaker import Breaker
from isthmus_operator.errors import BrokerError, Refused, Unauthorized, Unreachable

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[KubeCluster]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Call it with a handler of all requests; it returns a cluster that asks it."""
    runners: list[web.AppRunner] = []
    clusters: list[KubeCluster] = []

    async def begin(handler: Handler) -> KubeCluster:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", handler)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        reached = Access(f"http://127.0.0.1:{runner.addresses[0][1]}", token="t")
        clusters.append(KubeCluster(reached, deadline=1.0, breaker=Breaker()))
        return clusters[-1]

    yield begin
    for cluster in clusters:
        await cluster.close()
    for runner in runners:
        await runner.cleanup()


def _answering(status: int, body: bytes) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body)

    return answer


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 65536)


async def _silent(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


def _status(code: int, message: str) -> bytes:
    return json.dumps(
        {"kind": "Status", "apiVersion": "v1", "code": code, "message": message}
    ).encode()


async def test_asks_with_the_key_in_a_header_of_its_own(serve: Serve) -> None:
    asked: list[tuple[str, str, str]] = []

    async def broker(request: web.Request) -> web.StreamResponse:
        shown = (request.headers["X-Isthmus-Key"], request.headers["Authorization"])
        asked.append((request.path, *shown))
        if request.path.endswith("/status"):
            return web.json_response({"version": "1", "configuration": {"source_hash": ""}})
        return web.json_response([])

    found = await report(await serve(broker), "n", "us-0", "key", 7.0)
    assert (found.pod, found.at, found.version) == ("us-0", 7.0, "1")
    base = "/api/v1/namespaces/n/pods/us-0:18083/proxy/api/v5"
    assert sorted(asked) == [
        (f"{base}/cluster/links", "key", "Bearer t"),
        (f"{base}/status", "key", "Bearer t"),
    ]


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (401, b'{"code": "UNAUTHORIZED", "message": "No key"}', BrokerError, "No key"),
        (403, b'{"code": "FORBIDDEN", "message": "no"}', BrokerError, "FORBIDDEN"),
        (500, b"oops", BrokerError, "500: oops"),
        (403, _status(403, "cannot get resource pods/proxy"), Unauthorized, "pods/proxy"),
        (404, _status(404, "pods not found"), BrokerError, "pods not found"),
        (503, _status(503, "error trying to reach service"), BrokerError, "reach service"),
        (200, b"<html>", BrokerError, "otherwise than expected"),
    ],
)
async def test_tells_a_broker_s_faults_from_the_api_server_s(
    serve: Serve, status: int, body: bytes, kind: type[Exception], words: str
) -> None:
    cluster = await serve(_answering(status, body))
    with pytest.raises(kind, match=words):
        await report(cluster, "n", "us-0", "key", 0.0)
    assert not cluster.breaker.problem


async def test_a_pod_that_is_late_is_not_the_api_server_s_fault(serve: Serve) -> None:
    cluster = await serve(_silent)
    with pytest.raises(BrokerError, match="no answer within 1 s"):
        await cluster.pod_proxy("n", "us-0", 18083, "/x", {})
    assert not cluster.breaker.problem
    with pytest.raises(Unreachable, match="no answer within 1 s"):
        await cluster.get("Secret", "n", "a")
    assert cluster.breaker.problem


async def test_an_endless_answer_ends(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_MOST", 200_000)
    with pytest.raises((BrokerError, Unreachable), match="more than 200000 bytes"):
        await (await serve(_endless)).pod_proxy("n", "us-0", 18083, "/x", {})


@pytest.mark.parametrize("body", [b"<html>welcome</html>", b"[]", b"", b'{"hello": 1}'])
async def test_what_is_no_api_server_is_named(serve: Serve, body: bytes) -> None:
    cluster = await serve(_answering(200, body))
    with pytest.raises(Refused, match="an API server"):
        await cluster.list("Secret", "n", "")
