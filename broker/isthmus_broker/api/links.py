"""Cluster links over HTTP, in the shape of EMQX's REST: configuration, status, metrics, changes.

A change goes into a file beside the configuration (`settings.overlay`) and is then taken up by the
same reload that a changed file causes; what can't be taken up is undone and told.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from isthmus_broker.api.errors import ApiError, bad_request, dumps, not_found
from isthmus_broker.api.ports import Broker, Direction, Forwarding, LinkStatus
from isthmus_broker.errors import ConfigurationError, StoreError
from isthmus_broker.settings import REDACTED, LinkSettings, overlay_path, parse_link
from isthmus_broker.settings import overlay as kept

_STOPPED: Final = LinkStatus("stopped", "", Direction("stopped"), Direction("stopped"))
_UNKNOWN: Final = LinkStatus(
    "disconnected", "not started yet", Direction("disconnected"), Direction("disconnected")
)


class LinkResource:
    """Handlers of `/api/v5/cluster/links...`."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._changing = asyncio.Lock()

    def routes(self) -> list[web.RouteDef]:
        """The paths."""
        one = "/api/v5/cluster/links/link/{name}"
        return [
            web.get("/api/v5/cluster/links", self.all),
            web.post("/api/v5/cluster/links", self.create),
            web.get(one, self.get),
            web.put(one, self.update),
            web.delete(one, self.delete),
            web.get(f"{one}/metrics", self.metrics),
            web.put(f"{one}/metrics/reset", self.reset),
        ]

    async def all(self, request: web.Request) -> web.Response:  # noqa: ARG002
        """All links with their status."""
        links = self._broker.settings.cluster.links
        return web.json_response([self._shown(link) for link in links], dumps=dumps)

    async def get(self, request: web.Request) -> web.Response:
        """One link with its status."""
        return web.json_response(self._shown(self._link(request)), dumps=dumps)

    async def create(self, request: web.Request) -> web.Response:
        """Add a link."""
        self._check_writable()
        body = await _body(request)
        name = _name_in(body)
        async with self._changing:
            if self._broker.settings.cluster.link(name) is not None:
                raise ApiError(400, "ALREADY_EXISTS", f'there is a link "{name}" already')
            await self._put(name, body)
        return web.json_response(self._named(name), status=201, dumps=dumps)

    async def update(self, request: web.Request) -> web.Response:
        """Replace a link; secrets that come as they are shown stay as they are."""
        self._check_writable()
        body = await _body(request)
        name = self._link(request).name
        if body.setdefault("name", name) != name:
            raise bad_request(f'name: "{body["name"]}": expected "{name}", as in the path')
        async with self._changing:
            self._link(request)
            await self._put(name, body)
        return web.json_response(self._named(name), dumps=dumps)

    async def delete(self, request: web.Request) -> web.Response:
        """Remove a link."""
        self._check_writable()
        async with self._changing:
            await self._change(self._link(request).name, None)
        return web.Response(status=204)

    async def metrics(self, request: web.Request) -> web.Response:
        """What became of the messages of one link."""
        status = self._status(self._link(request))
        node = self._broker.settings.node.name
        metrics = _metrics(status)
        body = {"metrics": metrics, "node_metrics": [{"node": node, "metrics": metrics}]}
        return web.json_response(body, dumps=dumps)

    async def reset(self, request: web.Request) -> web.Response:
        """Start counting anew."""
        self._broker.reset_link_metrics(self._link(request).name)
        return web.Response(status=204)

    # What is there

    def _link(self, request: web.Request) -> LinkSettings:
        name = request.match_info["name"]
        link = self._broker.settings.cluster.link(name)
        if link is None:
            raise not_found(name)
        return link

    def _named(self, name: str) -> dict[str, object]:
        link = self._broker.settings.cluster.link(name)
        if link is None:
            raise not_found(name)
        return self._shown(link)

    def _status(self, link: LinkSettings) -> LinkStatus:
        if not link.enable:
            return _STOPPED
        return self._broker.link_status(link.name) or _UNKNOWN

    def _shown(self, link: LinkSettings) -> dict[str, object]:
        settings = self._broker.settings
        status = self._status(link)
        shown = link.model_dump(mode="json", exclude_none=True)
        shown.setdefault("clientid", settings.cluster.name)
        node: dict[str, object] = {"node": settings.node.name, "status": status.state}
        if status.reason:
            node["reason"] = status.reason
        node["incoming"] = dataclasses.asdict(status.incoming)
        node["outgoing"] = dataclasses.asdict(status.outgoing)
        return {**shown, "status": status.state, "reason": status.reason, "node_status": [node]}

    # Changing it

    def _check_writable(self) -> None:
        if self._broker.settings.api.read_only:
            raise ApiError(
                403,
                "READ_ONLY",
                "api.read_only is set: links are changed where the configuration comes from",
            )

    async def _put(self, name: str, body: dict[str, Any]) -> None:
        settings = self._broker.settings
        _keep_secrets(body, settings.raw_link(name))
        directory = settings.path.parent if settings.path else Path()
        try:
            parse_link(body, directory)
        except ConfigurationError as error:
            raise bad_request(str(error), error.mistakes) from error
        await self._change(name, body)

    async def _change(self, name: str, body: Mapping[str, Any] | None) -> None:
        settings = self._broker.settings
        path = overlay_path(settings.path, settings.node.data_dir)
        if path is None:
            raise ApiError(
                409, "CONFLICT", "there is no configuration file beside which to keep the change"
            )
        before = await asyncio.to_thread(_read, path)
        try:
            await asyncio.to_thread(kept.write, path, name, body)
            await self._broker.reload()
        except ConfigurationError as error:
            await asyncio.to_thread(kept.restore, path, before)
            message = f"not changed, since the configuration would have mistakes: {error}"
            raise ApiError(409, "CONFLICT", message, error.mistakes) from error
        except StoreError as error:
            raise ApiError(409, "CONFLICT", f"not changed: {error}") from error


async def _body(request: web.Request) -> dict[str, Any]:
    if request.content_type != "application/json":
        raise ApiError(
            415, "UNSUPPORTED_MEDIA_TYPE", f"{request.content_type}: expected application/json"
        )
    try:
        body = json.loads(await request.read())
    except UnicodeDecodeError as error:
        raise bad_request("the body is not UTF-8") from error
    except RecursionError as error:
        raise bad_request("the body is nested too deep") from error
    except ValueError as error:
        raise bad_request(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise bad_request("the body: expected an object")
    for shown_only in ("status", "reason", "node_status"):
        body.pop(shown_only, None)
    return body


def _name_in(body: Mapping[str, Any]) -> str:
    name = body.get("name", body.get("upstream"))
    if not isinstance(name, str):
        raise bad_request("name: expected the name of the other cluster")
    return name


def _keep_secrets(body: dict[str, Any], before: Mapping[str, Any]) -> None:
    """Whoever sends back what was shown means the secret that it stands for."""
    for section, known in ((body, before), (body.get("ssl"), before.get("ssl"))):
        if isinstance(section, dict) and section.get("password") == REDACTED:
            if not isinstance(known, Mapping) or "password" not in known:
                raise bad_request("password: the stars stand for nothing: expected a password")
            section["password"] = known["password"]


def _metrics(status: LinkStatus) -> dict[str, object]:
    forwarding: Forwarding = status.forwarding
    return {
        "router": {"routes": status.outgoing.routes, "announced": status.incoming.routes},
        "forwarding": dataclasses.asdict(forwarding),
    }


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path} can't be read: {error.strerror}") from error
