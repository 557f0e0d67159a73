"""Outgoing bytes of one connection, their limit, and the slow-consumer rule.

A write of its own for each message would cost more than all the rest; so what a turn of the loop
brings is joined and written once. A full outbox drops the newest QoS 0 messages, counted; QoS 1
and 2 are bounded by their window. A client that takes nothing for `STALL` seconds is cut off.
"""

from __future__ import annotations

from typing import Final, Protocol

import structlog

from isthmus_broker.net.ticker import Ticker
from isthmus_broker.routing.counters import Counters

STALL: Final = 10.0
"""Seconds without progress after which a connection is ended."""
HIGH_WATER: Final = 256 << 10
"""Bytes in the transport at which it asks us to wait."""
LINGER: Final = 5.0
"""Seconds that a closing connection has to take its last bytes."""

log = structlog.get_logger("isthmus.outbox")


class Transport(Protocol):
    """What an outbox needs of an asyncio transport (or of what stands for one)."""

    def write(self, data: bytes) -> None:
        """Send, or buffer."""

    def get_write_buffer_size(self) -> int:
        """Bytes that the kernel has not taken yet."""

    def close(self) -> None:
        """Send what is buffered, then close."""

    def abort(self) -> None:
        """Close at once."""

    def pause_reading(self) -> None:
        """Take no more from the client."""

    def resume_reading(self) -> None:
        """Go on taking."""


class Outbox:
    """Gathers bytes for one connection and writes them once per turn of the loop."""

    __slots__ = (
        "_blocked",
        "_chunks",
        "_closing",
        "_counters",
        "_dropped",
        "_limit",
        "_stuck_at",
        "_stuck_since",
        "_ticker",
        "_transport",
        "_watched",
        "name",
        "size",
        "stalled",
    )

    def __init__(
        self, transport: Transport, ticker: Ticker, counters: Counters, limit: int
    ) -> None:
        self.name = ""
        """Client id, for the log."""
        self.size = 0
        """Bytes that wait for the end of the turn, or for the transport."""
        self.stalled = False
        """Whether the client was cut off because it took nothing."""
        self._transport = transport
        self._ticker = ticker
        self._counters = counters
        self._limit = limit
        self._chunks: list[bytes] | None = None
        self._blocked = False
        self._closing = False
        self._dropped = 0
        self._watched = False
        self._stuck_at = 0
        self._stuck_since = 0.0

    def put(self, data: bytes) -> None:
        """Send: for what is bounded elsewhere (acknowledgements, QoS 1 and 2)."""
        chunks = self._chunks
        if chunks is None:
            if self._closing:
                return
            self._chunks = [data]
            if not self._blocked:
                self._ticker.mark(self)
        else:
            chunks.append(data)
        self.size += len(data)

    def offer(self, data: bytes, count: int) -> bool:
        """Send `count` packets of QoS 0, or drop them where the buffer is full."""
        if self._closing:
            return False
        size = self.size + len(data)
        if size > self._limit and self.size:
            self._drop(count)
            return False
        if self._chunks is not None:
            self._chunks.append(data)
        elif self._blocked:
            self._chunks = [data]
        elif self._ticker.prompt:
            self._ticker.prompt = False
            self._counters.bytes_sent += size
            self._transport.write(data)
            return True
        else:
            self._chunks = [data]
            self._ticker.mark(self)
        self.size = size
        return True

    @property
    def crowded(self) -> bool:
        """Whether work that can wait (retained messages) should."""
        return self._blocked or self.size > self._limit // 2

    def flush(self) -> None:
        """Write what has been gathered, unless the transport has enough."""
        chunks = self._chunks
        if chunks is None or self._blocked:
            return
        self._chunks = None
        self._counters.bytes_sent += self.size
        self.size = 0
        self._transport.write(chunks[0] if len(chunks) == 1 else b"".join(chunks))

    def pause(self) -> None:
        """Wait: the transport has enough (`asyncio.Protocol.pause_writing`)."""
        self._blocked = True
        self._stuck_at = self._transport.get_write_buffer_size()
        self._stuck_since = self._ticker.now()
        if not self._watched:
            self._watched = True
            self._ticker.deadlines.add(self._stuck_since + STALL, self._check)

    def resume(self) -> None:
        """Go on: the transport has room again."""
        self._blocked = False
        if self._dropped:
            log.warning("messages dropped", client_id=self.name, count=self._dropped)
            self._dropped = 0
        self.flush()

    def pause_reading(self) -> None:
        """Take no more from the client for now."""
        if not self._closing:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take from the client again."""
        if not self._closing:
            self._transport.resume_reading()

    def close(self) -> None:
        """Send what waits, within `LINGER` seconds, and close."""
        if self._closing:
            return
        self.flush()
        self._closing = True
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._ticker.deadlines.add(self._ticker.now() + LINGER, self._give_up)

    def lost(self) -> None:
        """Note that the connection is gone."""
        self._closing = True
        self._chunks = None
        self.size = 0

    def _give_up(self, _now: float) -> None:
        self._transport.abort()

    def _check(self, now: float) -> float | None:
        if not self._blocked or self._closing:
            self._watched = False
            return None
        left = self._transport.get_write_buffer_size()
        if left < self._stuck_at:
            self._stuck_at, self._stuck_since = left, now
        if now < self._stuck_since + STALL:
            return self._stuck_since + STALL
        log.warning("client takes nothing, cut off", client_id=self.name, seconds=STALL)
        self.stalled = True
        self.lost()
        self._transport.abort()
        return None

    def _drop(self, count: int) -> None:
        self._counters.drop("outbox_full", count)
        if not self._dropped:
            log.warning("client is slow, dropping QoS 0", client_id=self.name, limit=self._limit)
        self._dropped += count
