"""One connection's share of the messages for another cluster: buffer, window, outcomes.

Sans-IO: `forward` puts messages in, `peer` takes bytes out and tells what became of them. A lane
keeps the order in which it was given messages; a message of QoS 1 or 2 stays until it is
acknowledged, so a lost connection costs a repetition at most.

The buffer is bounded in bytes over all lanes of a link. Where it is full the newest message is
dropped and counted; messages of QoS 0 wait for at most `QOS0_PATIENCE`.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from isthmus_broker.mqtt.wire import varint

QOS0_PATIENCE: Final = 45.0
"""Seconds that a message of QoS 0 waits for a connection, as with EMQX."""
OVERHEAD: Final = 200
"""Bytes that an entry costs beside its own."""
REFUSED: Final = 0x80
_NO_SUBSCRIBERS: Final = 0x10


@dataclass(slots=True)
class Stats:
    """What became of the messages for one cluster; totals, and what is buffered now."""

    matched: int = 0
    acknowledged: int = 0
    """Of QoS 1 and 2: acknowledged by the other side. Of QoS 0: handed to the connection."""
    failed: int = 0
    """Refused by the other side."""
    retried: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    buffered: int = 0
    """Messages that wait, or wait for their acknowledgement."""
    buffered_bytes: int = 0
    in_flight: int = 0
    lag: float | None = None
    """Seconds from the last acknowledged message's arrival here to its acknowledgement."""

    def drop(self, reason: str, count: int = 1) -> None:
        """Count messages that the other side will not get."""
        self.dropped[reason] = self.dropped.get(reason, 0) + count

    def reset(self) -> None:
        """Set the totals back to zero."""
        self.matched = self.acknowledged = self.failed = self.retried = 0
        self.dropped.clear()


class Entry:
    """One message of QoS 1 (`count` 1), or PUBLISH packets of QoS 0 as they go out."""

    __slots__ = ("arrived", "count", "data", "expires", "key", "largest", "qos", "sent", "tries")

    def __init__(
        self, data: bytes, qos: int, count: int, largest: int, key: int, now: float, expires: float
    ) -> None:
        self.data = data
        """Of QoS 0: whole packets. Of QoS 1: the payload of one."""
        self.qos = qos
        self.count = count
        self.largest = largest
        """Bytes of the largest packet in it."""
        self.key = key
        """Same number, same publisher: they stay in one lane."""
        self.arrived = now
        self.expires = expires
        self.sent = 0.0
        self.tries = 0

    @property
    def cost(self) -> int:
        """Bytes that it takes of the buffer."""
        return len(self.data) + OVERHEAD


class Lane:
    """What one connection is to carry. Times are monotonic seconds."""

    def __init__(self, link_topic: bytes, max_inflight: int, max_bytes: int, stats: Stats) -> None:
        self.max_inflight = max_inflight
        self.max_bytes = max_bytes
        self.stats = stats
        self._name = len(link_topic).to_bytes(2, "big") + link_topic
        self._queue: deque[Entry] = deque()
        self._flight: dict[int, Entry] = {}
        self._window = 0
        self._packet_limit = math.inf
        self._next_id = 0

    def __len__(self) -> int:
        return len(self._queue) + len(self._flight)

    @property
    def has_work(self) -> bool:
        """Whether `take` would give something, were there room for it."""
        if not self._queue:
            return False
        return not self._queue[0].qos or len(self._flight) < self._window

    @property
    def in_flight(self) -> int:
        """Messages that were sent and not acknowledged."""
        return len(self._flight)

    def waiting_since(self) -> float:
        """When the oldest entry that is not acknowledged came; infinite where there is none."""
        oldest = [entry.arrived for entry in (*self._first_flight(), *self._first_queued())]
        return min(oldest, default=math.inf)

    def push(self, entry: Entry, now: float) -> bool:
        """Take an entry, or drop and count it where the link's buffer is full."""
        stats = self.stats
        stats.matched += entry.count
        if stats.buffered_bytes + entry.cost > self.max_bytes:
            self.purge(now)
            if stats.buffered_bytes + entry.cost > self.max_bytes:
                stats.drop("buffer_full", entry.count)
                return False
        stats.buffered += entry.count
        stats.buffered_bytes += entry.cost
        self._queue.append(entry)
        return True

    def connected(self, receive_maximum: int, packet_limit: float) -> None:
        """A fresh connection is up: the limits are the other side's."""
        self._window = min(self.max_inflight, receive_maximum)
        self._packet_limit = packet_limit
        self._next_id = 0

    def disconnected(self) -> None:
        """The connection has gone: what was in flight is to be sent again, in its order."""
        self.stats.in_flight -= len(self._flight)
        self._queue.extendleft(reversed(self._flight.values()))
        self._flight.clear()
        self._window = 0

    def take(self, now: float, room: int) -> bytes:
        """Packets to send now: what the window allows, and not much more than `room` bytes."""
        queue, flight = self._queue, self._flight
        parts: list[bytes] = []
        while queue and room > 0:
            entry = queue[0]
            if entry.qos and len(flight) >= self._window:
                break
            queue.popleft()
            if now >= entry.expires:
                self._discard(entry, "expired")
                continue
            if entry.largest > self._packet_limit:
                self._discard(entry, "too_large")
                continue
            packet = self._send(entry, now) if entry.qos else self._send_run(entry)
            parts.append(packet)
            room -= len(packet)
        return b"".join(parts)

    def acknowledge(self, packet_id: int, code: int, now: float) -> bool:
        """A PUBACK has come; False where nothing is in flight under its identifier."""
        entry = self._flight.pop(packet_id, None)
        if entry is None:
            return False
        stats = self.stats
        stats.in_flight -= 1
        self._release(entry)
        if code >= REFUSED:
            stats.failed += 1
            stats.drop(f"refused_0x{code:02x}")
        else:
            stats.acknowledged += 1
            stats.lag = now - entry.arrived
        return True

    def overdue(self, now: float, patience: float) -> bool:
        """Whether the oldest message in flight has waited longer for its PUBACK."""
        return any(now - entry.sent > patience for entry in self._first_flight())

    def purge(self, now: float) -> None:
        """Drop from the front what has waited too long."""
        queue = self._queue
        while queue and now >= queue[0].expires:
            self._discard(queue.popleft(), "expired")

    def drain(self) -> list[Entry]:
        """Give up everything, in order, for another lane to carry."""
        self.disconnected()
        entries = list(self._queue)
        self._queue.clear()
        for entry in entries:
            self._release(entry)
        return entries

    def _first_flight(self) -> tuple[Entry, ...]:
        return (next(iter(self._flight.values())),) if self._flight else ()

    def _first_queued(self) -> tuple[Entry, ...]:
        return (self._queue[0],) if self._queue else ()

    def _send(self, entry: Entry, now: float) -> bytes:
        """The packet of a message of QoS 1, which is in flight from now on."""
        packet_id = self._next_id = self._next_id % 65_535 + 1
        while packet_id in self._flight:
            packet_id = self._next_id = self._next_id % 65_535 + 1
        self._flight[packet_id] = entry
        self.stats.in_flight += 1
        self.stats.retried += entry.tries > 0
        entry.tries += 1
        entry.sent = now
        size = len(self._name) + 3 + len(entry.data)
        return b"".join(
            (b"\x32", varint(size), self._name, packet_id.to_bytes(2, "big"), b"\0", entry.data)
        )

    def _send_run(self, entry: Entry) -> bytes:
        self._release(entry)
        self.stats.acknowledged += entry.count
        return entry.data

    def _discard(self, entry: Entry, reason: str) -> None:
        self._release(entry)
        self.stats.drop(reason, entry.count)

    def _release(self, entry: Entry) -> None:
        self.stats.buffered -= entry.count
        self.stats.buffered_bytes -= entry.cost
