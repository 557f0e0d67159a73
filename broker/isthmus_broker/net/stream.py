"""One TCP or TLS connection: moves bytes between the transport and the connection, nothing more."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final, Protocol, cast

import structlog

from isthmus_broker.connection.connection import Connection
from isthmus_broker.connection.limiter import Bucket
from isthmus_broker.connection.node import Node, Peer
from isthmus_broker.net.outbox import HIGH_WATER, Outbox
from isthmus_broker.net.ticker import Ticker

_SMALL: Final = 1024
"""Bytes of a read without messages that are not counted."""

log = structlog.get_logger("isthmus.connection")


class Door(Protocol):
    """The listener that a connection came in by."""

    name: str
    node: Node
    ticker: Ticker
    messages_rate: float
    bytes_rate: float

    @property
    def outbox_limit(self) -> int:
        """Bytes that may wait for one client before QoS 0 is dropped."""

    def enter(self, connection: Connection) -> None:
        """Count a connection in."""

    def leave(self, connection: Connection) -> None:
        """Count a connection out."""

    def refusal(self, now: float) -> str:
        """Why no further connection is taken now; empty where one is."""


class Throttle:
    """Keeps one client within its rates, by reading from it more slowly."""

    __slots__ = ("_bytes", "_messages")

    def __init__(self, door: Door, now: float) -> None:
        self._messages = Bucket(door.messages_rate, now)
        self._bytes = Bucket(door.bytes_rate, now)

    def pause(self, messages: int, size: int, now: float) -> float:
        """Seconds for which nothing more is to be read."""
        return max(self._messages.take(messages, now), self._bytes.take(size, now))


class Stream(asyncio.Protocol):
    """The asyncio side of one connection."""

    __slots__ = ("_connection", "_door", "_outbox", "_throttle", "_transport")

    def __init__(self, door: Door) -> None:
        self._door = door
        self._throttle: Throttle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it before it costs anything."""
        self._transport = cast("asyncio.Transport", transport)
        door = self._door
        now = door.ticker.now()
        self._connection: Connection | None = None
        refusal = door.refusal(now)
        if refusal:
            door.node.counters.refuse(refusal)
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        self._outbox = Outbox(self._transport, door.ticker, door.node.counters, door.outbox_limit)
        peer = Peer(peer_address(transport), door.name, common_name(transport))
        self._connection = Connection(door.node, self._outbox, peer, now)
        door.enter(self._connection)

    def data_received(self, data: bytes) -> None:
        """Hand on what has come; pause where the client is above its rates."""
        connection = self._connection
        if connection is None:
            return
        ticker = self._door.ticker
        now = ticker.begin_read()
        before = connection.messages
        try:
            connection.receive(data, now)
        finally:
            ticker.end_read()
        messages = connection.messages - before
        if messages or len(data) > _SMALL:  # idle clients need no throttle, and have none
            if self._throttle is None:
                self._throttle = Throttle(self._door, now)
            wait = self._throttle.pause(messages, len(data), now)
            if wait:
                self._outbox.pause_reading()
                asyncio.get_running_loop().call_later(wait, self._outbox.resume_reading)

    def eof_received(self) -> bool:
        """Close: MQTT has no use for a connection that is half open."""
        return False

    def pause_writing(self) -> None:
        """Stop flushing: the transport has enough."""
        if self._connection is not None:
            self._outbox.pause()

    def resume_writing(self) -> None:
        """Go on flushing."""
        if self._connection is not None:
            self._outbox.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the connection that nothing more comes."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._outbox.lost()
        stalled = "took nothing, cut off" if self._outbox.stalled else ""
        ended(self._door, connection, stalled or (str(exc) if exc else "closed by the client"))


def ended(door: Door, connection: Connection, why: str) -> None:
    """Note the end of a connection's transport, and log what was the reason of the end."""
    client = connection.client
    connection.lost(why, door.ticker.now())
    door.leave(connection)
    door.node.counters.disconnect(connection.ended.partition(":")[0])
    tell, event = log.debug, "connection ended"
    if connection.at_fault:
        tell, event = log.warning, "client disconnected" if client else "client refused"
    tell(
        event,
        client_id=client.client_id if client else None,
        peer=connection.peer.address,
        listener=door.name,
        reason=connection.ended,
    )


def peer_address(transport: asyncio.BaseTransport) -> str:
    """The client's address; empty where the transport knows none."""
    peername = transport.get_extra_info("peername")
    return str(peername[0]) if isinstance(peername, tuple) and peername else ""


def common_name(transport: asyncio.BaseTransport) -> str | None:
    """The common name of the certificate that the client has shown and TLS has verified."""
    tls = transport.get_extra_info("ssl_object")
    if not isinstance(tls, ssl.SSLObject | ssl.SSLSocket) and not hasattr(tls, "getpeercert"):
        return None
    certificate = tls.getpeercert() or {}
    for part in certificate.get("subject", ()):
        for key, value in part:
            if key == "commonName":
                return str(value)
    return None
