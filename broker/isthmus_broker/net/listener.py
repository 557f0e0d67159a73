"""Listeners: sockets that are bound once, and what accepts on them.

A listener owns its bound socket; servers accept on duplicates of it. So new certificates need
only a new server on the same socket: nobody is refused meanwhile, and whoever is connected stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Final

import structlog
from aiohttp import web

from isthmus_broker.connection.connection import Connection
from isthmus_broker.connection.limiter import Bucket
from isthmus_broker.connection.node import Node
from isthmus_broker.errors import IsthmusError
from isthmus_broker.mqtt.codes import ReasonCode
from isthmus_broker.net import websocket
from isthmus_broker.net.stream import Stream
from isthmus_broker.net.ticker import Ticker
from isthmus_broker.net.tls import server_context
from isthmus_broker.settings.models import AnyListener, SslListener, WsListener, WssListener

_BACKLOG: Final = 4096
_TLS_HANDSHAKE: Final = 15.0

log = structlog.get_logger("isthmus.listener")


class ListenError(IsthmusError):
    """An address can't be listened on; the text says which and why."""


class Listener:
    """One listener of the configuration, open or not."""

    def __init__(self, name: str, settings: AnyListener, node: Node, ticker: Ticker) -> None:
        self.name = name
        self.settings = settings
        self.node = node
        self.ticker = ticker
        self.connections: set[Connection] = set()
        self.port = 0
        """The port it is bound to; 0 before `open`."""
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._runner: web.AppRunner | None = None
        self._limit(settings)

    @property
    def outbox_limit(self) -> int:
        """Bytes that may wait for one client before QoS 0 is dropped."""
        return self.node.mqtt.max_mqueue_bytes

    async def open(self) -> None:
        """Bind and accept.

        Raises:
            ListenError: the address is taken, or not ours.
        """
        bind = self.settings.bind
        try:
            family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
            self._socket = socket.create_server(
                (bind.host, bind.port),
                family=family,
                backlog=_BACKLOG,
                dualstack_ipv6=bind.host == "::",
            )
        except OSError as error:
            raise ListenError(f"listener {self.name}: {bind}: {error.strerror}") from error
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]
        await self._serve()
        log.info("listening", listener=self.name, bind=str(bind))

    async def update(self, settings: AnyListener) -> None:
        """Take up changed settings that need no new socket; certificates are read again."""
        self.settings = settings
        self._limit(settings)
        before = self._server, self._runner
        await self._serve()
        await self._stop(*before)

    async def close(self) -> None:
        """Accept no more; who is connected stays until `disconnect`."""
        await self._stop(self._server, self._runner)
        self._server = self._runner = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def disconnect(self, code: ReasonCode) -> None:
        """End every connection that came in here."""
        now = self.ticker.now()
        for connection in list(self.connections):
            connection.displace(code, now)

    def enter(self, connection: Connection) -> None:
        """Count a connection in."""
        self.connections.add(connection)

    def leave(self, connection: Connection) -> None:
        """Count a connection out."""
        self.connections.discard(connection)

    def refusal(self, now: float) -> str:
        """Why no further connection is taken now; empty where one is."""
        if len(self.connections) >= self.settings.max_connections:
            return "max_connections"
        return "" if self._rate.allow(now) else "max_conn_rate"

    def _limit(self, settings: AnyListener) -> None:
        self._rate = Bucket(settings.max_conn_rate, self.ticker.now())
        self.messages_rate = settings.messages_rate
        self.bytes_rate = settings.bytes_rate

    async def _serve(self) -> None:
        if self._socket is None:
            return
        bound = self._socket.dup()
        context = _context(self.settings)
        if isinstance(self.settings, WsListener | WssListener):
            self._runner = await self._serve_websocket(
                bound, context, self.settings.websocket.mqtt_path
            )
            return
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Stream(self),
            sock=bound,
            ssl=context,
            ssl_handshake_timeout=_TLS_HANDSHAKE if context else None,
        )

    async def _serve_websocket(
        self, bound: socket.socket, context: ssl.SSLContext | None, path: str
    ) -> web.AppRunner:
        async def handle(request: web.Request) -> web.WebSocketResponse:
            return await websocket.serve(self, request)

        application = web.Application()
        application.router.add_get(path, handle)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.SockSite(runner, bound, ssl_context=context).start()
        return runner

    async def _stop(self, server: asyncio.Server | None, runner: web.AppRunner | None) -> None:
        if server is not None:
            server.close()
        if runner is not None:
            for site in list(runner.sites):
                with contextlib.suppress(RuntimeError):
                    await site.stop()


def _context(settings: AnyListener) -> ssl.SSLContext | None:
    return server_context(settings.ssl_options) if isinstance(settings, SslListener) else None
