"""The admin API over HTTP: links, status, health, keys, and clean answers to bad requests."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry, Counter

from isthmus_broker.api.app import MAX_BODY, create_app, serve
from isthmus_broker.api.ports import Broker, Direction, Forwarding, LinkStatus
from isthmus_broker.errors import ConfigurationError
from isthmus_broker.settings import Bind, Settings, load

CONFIG = """
cluster {
  name = cluster-us-east
  links = [
    { name = cluster-eu-west, server = "h:11883", topics = ["#"]
      username = u, password = "file://secret" }
    { name = off, server = "[::1]:1", topics = [], enable = false }
  ]
}
"""
LINKS = "/api/v5/cluster/links"
LINK = f"{LINKS}/link/cluster-eu-west"
NEW = {"name": "new", "server": "n:1", "topics": ["a/#"], "pool_size": 2, "retry_interval": "5s"}


class Node:
    """Stands in for the server: reloads for real, links are made up."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings: Settings = load(path, {})
        self.registry = CollectorRegistry()
        self.reload_error = ""
        self.refused = ""
        self.reset: list[str] = []

    def uptime(self) -> float:
        return 12.5

    def not_ready(self) -> str:
        return self.refused

    def connections(self) -> int:
        return 3

    def link_status(self, name: str) -> LinkStatus | None:
        if name != "cluster-eu-west":
            return None
        incoming = Direction("running", since=1.0, last_seen=2.0, routes=1, messages=5)
        outgoing = Direction("connecting", "refused", routes=7, rate=1.5, lag=0.25)
        counted = Forwarding(matched=9, success=8, dropped=1, dropped_by={"buffer_full": 1})
        return LinkStatus("connecting", "refused", incoming, outgoing, counted)

    def reset_link_metrics(self, name: str) -> None:
        self.reset.append(name)

    async def reload(self) -> None:
        self.settings = load(self.path, {})


Client = TestClient[Any, Any]
Open = Callable[..., Awaitable[tuple[Client, Node]]]


@pytest.fixture(name="opened")
async def _opened(tmp_path: Path) -> AsyncIterator[Open]:
    clients: list[Client] = []

    async def start(more: str = "") -> tuple[Client, Node]:
        (tmp_path / "secret").write_text("hunter2\n")
        (tmp_path / "broker.conf").write_text(CONFIG + more)
        node = Node(tmp_path / "broker.conf")
        broker: Broker = node
        client = TestClient(TestServer(create_app(broker)))
        await client.start_server()
        clients.append(client)
        return client, node

    yield start
    for client in clients:
        await client.close()


async def test_links_with_their_status(opened: Open) -> None:
    client, _ = await opened()
    answer = await client.get(LINKS)
    assert answer.status == 200
    link, off = await answer.json()
    assert (link["name"], link["server"], link["topics"]) == ("cluster-eu-west", "h:11883", ["#"])
    assert (link["clientid"], link["pool_size"], link["password"]) == (
        "cluster-us-east",
        8,
        "******",
    )
    assert (link["status"], link["reason"]) == ("connecting", "refused")
    (node,) = link["node_status"]
    assert node["node"] == "isthmus@127.0.0.1"
    assert node["incoming"]["routes"] == 1
    assert node["outgoing"]["lag"] == 0.25
    assert (off["enable"], off["status"], off["server"]) == (False, "stopped", "[::1]:1")
    assert "hunter2" not in await (await client.get(LINK)).text()


async def test_metrics_of_a_link_and_their_reset(opened: Open) -> None:
    client, node = await opened()
    body = await (await client.get(f"{LINK}/metrics")).json()
    assert body["metrics"]["router"]["routes"] == 7
    assert body["metrics"]["forwarding"]["success"] == 8
    assert body["node_metrics"] == [{"node": "isthmus@127.0.0.1", "metrics": body["metrics"]}]
    assert (await client.put(f"{LINK}/metrics/reset")).status == 204
    assert node.reset == ["cluster-eu-west"]


async def test_changes_last_over_restarts(opened: Open) -> None:
    client, node = await opened()
    answer = await client.post(LINKS, json=NEW)
    assert answer.status == 201
    assert (await answer.json())["retry_interval"] == "5s"
    answer = await client.put(f"{LINKS}/link/new", json={**NEW, "topics": []})
    assert (answer.status, (await answer.json())["topics"]) == (200, [])
    assert (await client.delete(f"{LINKS}/link/off")).status == 204
    assert [link.name for link in load(node.path, {}).cluster.links] == ["cluster-eu-west", "new"]
    kept = node.path.with_name("broker.links.conf")
    assert kept.stat().st_mode & 0o777 == 0o600


async def test_what_was_shown_can_be_sent_back(opened: Open) -> None:
    client, node = await opened()
    before = node.settings.cluster.link("cluster-eu-west")
    shown = await (await client.get(LINK)).json()
    answer = await client.put(LINK, json={**shown, "clientid": None})
    assert answer.status == 200, await answer.text()
    assert node.settings.cluster.link("cluster-eu-west") == before
    (node.path.parent / "secret").write_text("changed")
    await node.reload()
    link = node.settings.cluster.link("cluster-eu-west")
    assert link is not None
    assert link.password is not None
    assert link.password.get_secret_value() == "changed"


@pytest.mark.parametrize(
    ("body", "key", "said"),
    [
        ({**NEW, "server": "nope"}, "server", '"nope": expected host:port'),
        ({**NEW, "topics": ["a", "b/#/c"]}, "topics[1]", "# must be the last level"),
        ({**NEW, "topics": "a"}, "topics", '"a": expected a list'),
        ({**NEW, "pool_size": 0}, "pool_size", "0: expected at least 1"),
        ({**NEW, "pool": 1}, "pool", 'did you mean "pool_size"'),
        ({"name": "x"}, "server", "is missing: expected host:port"),
        ({**NEW, "ssl": {"certfile": "no.pem"}}, "ssl.certfile", "can't be read"),
    ],
)
async def test_a_bad_body_is_told_by_key(
    opened: Open, body: dict[str, Any], key: str, said: str
) -> None:
    client, node = await opened()
    answer = await client.post(LINKS, json=body)
    assert answer.status == 400
    told = await answer.json()
    assert told["code"] == "BAD_REQUEST"
    assert any(it["key"] == key and said in it["message"] for it in told["mistakes"]), told
    assert not node.path.with_name("broker.links.conf").exists()


async def test_what_the_whole_would_contradict_is_undone(opened: Open) -> None:
    client, node = await opened()
    answer = await client.post(LINKS, json={**NEW, "name": "cluster-us-east"})
    assert answer.status == 409
    assert "this cluster itself" in (await answer.json())["message"]
    assert not node.path.with_name("broker.links.conf").exists()
    await client.post(LINKS, json=NEW)
    kept = node.path.with_name("broker.links.conf").read_bytes()
    node.path.write_text("log.level = nonsense")
    assert (await client.delete(f"{LINKS}/link/new")).status == 409
    assert node.path.with_name("broker.links.conf").read_bytes() == kept


async def test_read_only(opened: Open) -> None:
    client, _ = await opened("api.read_only = true")
    for answer in (
        await client.post(LINKS, json=NEW),
        await client.put(LINK, json=NEW),
        await client.delete(LINK),
    ):
        assert (answer.status, (await answer.json())["code"]) == (403, "READ_ONLY")
    assert (await client.get(LINK)).status == 200


async def test_no_file_to_keep_changes_beside(opened: Open) -> None:
    client, node = await opened()
    node.settings = Settings()
    answer = await client.post(LINKS, json=NEW)
    assert answer.status == 409
    assert "no configuration file" in (await answer.json())["message"]


@pytest.mark.parametrize(
    ("method", "path", "more", "status", "code"),
    [
        ("GET", f"{LINKS}/link/nope", {}, 404, "NOT_FOUND"),
        ("PUT", f"{LINKS}/link/nope", {"json": NEW}, 404, "NOT_FOUND"),
        ("DELETE", f"{LINKS}/link/nope", {}, 404, "NOT_FOUND"),
        ("GET", f"{LINKS}/link/nope/metrics", {}, 404, "NOT_FOUND"),
        ("PATCH", LINK, {}, 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/nowhere", {}, 404, "NOT_FOUND"),
        ("POST", LINKS, {"json": {**NEW, "name": "off"}}, 400, "ALREADY_EXISTS"),
        ("PUT", LINK, {"json": NEW}, 400, "BAD_REQUEST"),
        ("PUT", LINK, {"json": {"name": 3}}, 400, "BAD_REQUEST"),
        ("POST", LINKS, {"json": {}}, 400, "BAD_REQUEST"),
        ("POST", LINKS, {"json": [1]}, 400, "BAD_REQUEST"),
        (
            "POST",
            LINKS,
            {"json": {**NEW, "username": "u", "password": "******"}},
            400,
            "BAD_REQUEST",
        ),
        ("POST", LINKS, {"data": b"{"}, 400, "BAD_REQUEST"),
        ("POST", LINKS, {"data": b"\xff\xfe{"}, 400, "BAD_REQUEST"),
        ("POST", LINKS, {"data": b"[" * 500_000}, 400, "BAD_REQUEST"),
        ("POST", LINKS, {"data": b"x" * (MAX_BODY + 1)}, 413, "PAYLOAD_TOO_LARGE"),
        ("POST", LINKS, {"data": {"a": "b"}}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    ],
)
async def test_errors_are_json(
    opened: Open, method: str, path: str, more: dict[str, Any], status: int, code: str
) -> None:
    client, _ = await opened()
    body = more.get("data")
    if isinstance(body, bytes):
        more = {"data": io.BytesIO(body), "headers": {"Content-Type": "application/json"}}
    answer = await client.request(method, path, **more)
    told = await answer.json()
    assert (answer.status, told["code"]) == (status, code)
    assert told["message"]


async def test_an_unforeseen_error_tells_no_details(opened: Open) -> None:
    client, node = await opened()
    node.uptime = None  # type: ignore[method-assign, assignment]
    answer = await client.get("/api/v5/status")
    assert (answer.status, await answer.json()) == (
        500,
        {"code": "INTERNAL_ERROR", "message": "see the broker's log"},
    )


class TestKey:
    """With a key, whoever shows it; without, requests to loopback only."""

    KEY = "0123456789abcdef"
    BASIC = base64.b64encode(f"any:{KEY}".encode()).decode()

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"Authorization": f"Bearer {KEY}"}, 200),
            ({"Authorization": f"Basic {BASIC}"}, 200),
            ({"X-Isthmus-Key": KEY}, 200),
            ({}, 401),
            ({"Authorization": "Bearer no"}, 401),
            ({"Authorization": "Basic !!"}, 401),
            ({"Authorization": KEY}, 401),
            ({"X-Isthmus-Key": ""}, 401),
            ({"X-Isthmus-Key": "é"}, 401),
        ],
    )
    async def test_key(self, opened: Open, headers: dict[str, str], status: int) -> None:
        client, _ = await opened(f"api.api_key = {self.KEY}")
        for path in (LINKS, "/metrics", "/api/v5/status"):
            assert (await client.get(path, headers=headers)).status == status
        assert (await client.get("/healthz")).status == 200

    async def test_a_changed_key_holds_at_once(self, opened: Open) -> None:
        client, node = await opened(f"api.api_key = {self.KEY}")
        node.path.write_text(f"{CONFIG}api.api_key = {self.KEY}2")
        await node.reload()
        answer = await client.get(LINKS, headers={"X-Isthmus-Key": self.KEY})
        assert answer.status == 401

    @pytest.mark.parametrize(
        ("host", "status"),
        [("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:9", 200), ("evil.example", 403)],
    )
    async def test_without_key_the_host_must_be_ours(
        self, opened: Open, host: str, status: int
    ) -> None:
        client, _ = await opened()
        assert (await client.get(LINKS, headers={"Host": host})).status == status


async def test_health_and_status(opened: Open) -> None:
    client, node = await opened()
    assert await (await client.get("/healthz")).text() == "ok\n"
    assert (await client.get("/readyz")).status == 200
    node.refused = "about to stop"
    answer = await client.get("/readyz")
    assert (answer.status, await answer.text()) == (503, "about to stop\n")
    body = await (await client.get("/api/v5/status")).json()
    assert (body["cluster"], body["uptime"], body["connections"]) == ("cluster-us-east", 12.5, 3)
    assert body["configuration"]["hash"] == node.settings.content_hash
    assert body["configuration"]["source_hash"] == node.settings.source_hash


async def test_prometheus(opened: Open) -> None:
    client, node = await opened()
    Counter("isthmus_things", "Things.", registry=node.registry).inc()
    answer = await client.get("/metrics")
    assert "isthmus_things_total 1.0" in await answer.text()
    assert answer.headers["Content-Type"].startswith("text/plain")
    asked = {"Accept": "application/openmetrics-text"}
    assert "# EOF" in await (await client.get("/metrics", headers=asked)).text()


async def test_openapi_names_every_path(opened: Open) -> None:
    client, _ = await opened()
    body = await (await client.get("/api/v5/openapi.json")).json()
    app = client.server.app  # type: ignore[attr-defined]
    paths = {resource.canonical for resource in app.router.resources()}
    assert set(body["paths"]) == paths
    text = json.dumps(body)
    schemas = body["components"]["schemas"]
    assert schemas["Link"]["properties"]["server"]["type"] == "string"
    for reference in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert reference in schemas


async def test_changes_at_the_same_time_all_last(opened: Open) -> None:
    client, node = await opened()
    bodies = [{**NEW, "name": f"n{number}"} for number in range(5)]
    answers = await asyncio.gather(*(client.post(LINKS, json=body) for body in bodies))
    assert {answer.status for answer in answers} == {201}
    names = {link.name for link in load(node.path, {}).cluster.links}
    assert names >= {body["name"] for body in bodies}


async def test_serve(opened: Open) -> None:
    _, node = await opened()
    runner = await serve(node, Bind("127.0.0.1", 0))
    try:
        host, port = runner.addresses[0][:2]
        async with ClientSession() as session, session.get(f"http://{host}:{port}/healthz") as it:
            assert it.status == 200
        with pytest.raises(OSError):
            await serve(node, Bind("127.0.0.1", port))
    finally:
        await runner.cleanup()


def test_a_public_api_without_key_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("api.bind = 18083")
    with pytest.raises(ConfigurationError, match="there is no key"):
        load(tmp_path / "a.conf", {})
    (tmp_path / "key").write_text("0123456789abcdef\n")
    (tmp_path / "a.conf").write_text('api { bind = 18083, key_file = "key" }')
    settings = load(tmp_path / "a.conf", {})
    assert settings.api.api_key is not None
    assert settings.api.api_key.get_secret_value() == "0123456789abcdef"
