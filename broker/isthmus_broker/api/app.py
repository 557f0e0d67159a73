"""The admin API as an aiohttp application: health, status, metrics, links, OpenAPI.

`serve` opens it; what it shows and does goes through `ports.Broker`.
"""

from __future__ import annotations

import socket
from typing import Final

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from isthmus_broker import __version__
from isthmus_broker.api import guard
from isthmus_broker.api.errors import dumps
from isthmus_broker.api.links import LinkResource
from isthmus_broker.api.openapi import document
from isthmus_broker.api.ports import Broker
from isthmus_broker.settings import Bind

MAX_BODY: Final = 1 << 20
"""Bytes; a link's configuration is far below."""

_BROKER: Final = web.AppKey("broker", Broker)


def create_app(broker: Broker) -> web.Application:
    """Make the application."""
    app = web.Application(
        middlewares=[guard.errors, guard.key_required(lambda: broker.settings)],
        client_max_size=MAX_BODY,
    )
    app[_BROKER] = broker
    app.add_routes(
        [
            web.get("/healthz", _healthz),
            web.get("/readyz", _readyz),
            web.get("/metrics", _metrics),
            web.get("/api/v5/status", _status),
            web.get("/api/v5/openapi.json", _openapi),
            *LinkResource(broker).routes(),
        ]
    )
    return app


async def serve(broker: Broker, bind: Bind) -> web.AppRunner:
    """Open the API; `cleanup()` of what is returned closes it.

    Raises:
        OSError: the address can't be listened on.

    """
    runner = web.AppRunner(create_app(broker), access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
        listening = socket.create_server((bind.host, bind.port), family=family, backlog=64)
        await web.SockSite(runner, listening).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner


async def _healthz(request: web.Request) -> web.Response:  # noqa: ARG001
    """The event loop turns: that is all that a restart could help with."""
    return web.Response(text="ok\n")


async def _readyz(request: web.Request) -> web.Response:
    reason = request.app[_BROKER].not_ready()
    return web.Response(text=f"{reason or 'ok'}\n", status=503 if reason else 200)


async def _metrics(request: web.Request) -> web.Response:
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    body = encode(request.app[_BROKER].registry)
    return web.Response(body=body, headers={"Content-Type": content_type})


async def _status(request: web.Request) -> web.Response:
    broker = request.app[_BROKER]
    settings = broker.settings
    body = {
        "version": __version__,
        "node": settings.node.name,
        "cluster": settings.cluster.name,
        "uptime": round(broker.uptime(), 3),
        "connections": broker.connections(),
        "ready": not broker.not_ready(),
        "configuration": {
            "file": str(settings.path) if settings.path else None,
            "hash": settings.content_hash,
            "source_hash": settings.source_hash,
            "error": broker.reload_error,
            "warnings": list(settings.warnings),
        },
    }
    return web.json_response(body, dumps=dumps)


async def _openapi(request: web.Request) -> web.Response:  # noqa: ARG001
    return web.json_response(document(), dumps=dumps)
