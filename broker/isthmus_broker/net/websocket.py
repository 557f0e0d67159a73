"""MQTT over WebSocket (6): aiohttp speaks WebSocket, the connection is the same as over TCP."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Final

from aiohttp import WSMsgType, web

from isthmus_broker.connection.connection import Connection
from isthmus_broker.connection.node import Peer
from isthmus_broker.net.outbox import HIGH_WATER, Outbox
from isthmus_broker.net.stream import Door, Throttle, common_name, ended, peer_address

_PROTOCOLS: Final = ("mqtt", "mqttv3.1")
_LEAST_FRAME: Final = 4 << 20
_CLOSE_TIMEOUT: Final = 5.0


class WebSocketTransport:
    """What an `Outbox` needs of a transport, over a WebSocket: sends in order, in a task."""

    def __init__(self, socket: web.WebSocketResponse, tcp: asyncio.Transport | None) -> None:
        self.outbox: Outbox | None = None
        self.readable = asyncio.Event()
        self.readable.set()
        self._socket = socket
        self._tcp = tcp
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._more = asyncio.Event()
        self._closing = False
        self._paused = False

    def write(self, data: bytes) -> None:
        """Queue for the sending task; asks the outbox to wait where there is much."""
        self._waiting.append(data)
        self._size += len(data)
        self._more.set()
        if self._size > HIGH_WATER and not self._paused and self.outbox is not None:
            self._paused = True
            self.outbox.pause()

    def get_write_buffer_size(self) -> int:
        """Bytes that aiohttp has not taken yet."""
        return self._size

    def close(self) -> None:
        """End the connection once everything is sent."""
        self._closing = True
        self.readable.set()
        self._more.set()

    def abort(self) -> None:
        """End the connection, and throw away what waits."""
        self._waiting.clear()
        self._size = 0
        self.close()
        if self._tcp is not None:
            self._tcp.abort()  # what aiohttp has taken already may never get through

    def pause_reading(self) -> None:
        """Take no more messages for now."""
        self.readable.clear()

    def resume_reading(self) -> None:
        """Take messages again."""
        self.readable.set()

    async def send(self) -> None:
        """Send until closed."""
        while not self._closing or self._waiting:
            await self._more.wait()
            self._more.clear()
            while self._waiting:
                data = self._waiting.popleft()
                await self._socket.send_bytes(data)
                self._size = max(0, self._size - len(data))
                if self._paused and self._size < HIGH_WATER // 4 and self.outbox is not None:
                    self._paused = False
                    self.outbox.resume()
        await self._socket.close()


async def serve(door: Door, request: web.Request) -> web.WebSocketResponse:
    """Carry one MQTT connection over the WebSocket that `request` asks for."""
    now = door.ticker.now()
    refusal = door.refusal(now)
    if refusal:
        door.node.counters.refuse(refusal)
        raise web.HTTPServiceUnavailable(text=refusal)
    limit = max(_LEAST_FRAME, door.node.mqtt.max_packet_size + 16)
    socket = web.WebSocketResponse(
        protocols=_PROTOCOLS, max_msg_size=limit, compress=False, timeout=_CLOSE_TIMEOUT
    )
    await socket.prepare(request)
    transport = WebSocketTransport(socket, request.transport)
    outbox = Outbox(transport, door.ticker, door.node.counters, door.outbox_limit)
    transport.outbox = outbox
    tcp = request.transport
    address, name = (peer_address(tcp), common_name(tcp)) if tcp else ("", None)
    connection = Connection(door.node, outbox, Peer(address, door.name, name), now)
    door.enter(connection)
    sender = asyncio.create_task(transport.send())
    why = "closed by the client"
    try:
        why = await _receive(door, socket, transport, connection)
    except ConnectionError as error:
        why = str(error)
    finally:
        ended(door, connection, why)
        outbox.close()
        with contextlib.suppress(ConnectionError, TimeoutError):
            await asyncio.wait_for(sender, _CLOSE_TIMEOUT)
        outbox.lost()
    return socket


async def _receive(
    door: Door,
    socket: web.WebSocketResponse,
    transport: WebSocketTransport,
    connection: Connection,
) -> str:
    """Hand on what comes until the end; returns why it ended."""
    throttle = Throttle(door, door.ticker.now())
    async for frame in socket:
        if frame.type is not WSMsgType.BINARY:  # [MQTT-6.0.0-1]
            return "a WebSocket frame that is not binary"
        now = door.ticker.now()
        before = connection.messages
        connection.receive(frame.data, now)
        wait = throttle.pause(connection.messages - before, len(frame.data), now)
        if wait:
            await asyncio.sleep(wait)
        await transport.readable.wait()
    return "closed by the client"
