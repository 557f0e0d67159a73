"""Messages for one other cluster, spread over its lanes; implements `routing.ports.RemoteCluster`.

A lane is picked by publisher, so that each publisher's order holds, or in turn where order is of no
concern. What a lane does with its messages is `lane`'s business, when they go out `peer`'s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final
from zlib import crc32

from isthmus_broker.link.lane import QOS0_PATIENCE, Entry, Lane, Stats
from isthmus_broker.link.message import MessageIds, encode_message, encode_run
from isthmus_broker.link.payload import MESSAGE_TOPIC
from isthmus_broker.mqtt.publish import Message
from isthmus_broker.mqtt.wire import varint

_CHUNK: Final = 32 << 10
"""Bytes of payloads in one entry of a run, about: what is dropped or expires is dropped whole."""


class Forwarder:
    """Turns messages into entries of lanes.

    `mark` is told the number of each lane that has been given something; `wall` gives the time as
    milliseconds since the epoch.
    """

    def __init__(
        self,
        local: str,
        lanes: Sequence[Lane],
        stats: Stats,
        ids: MessageIds,
        wall: Callable[[], int],
        mark: Callable[[int], None],
        *,
        in_turn: bool = False,
    ) -> None:
        self.lanes = list(lanes)
        self.stats = stats
        self.topic = MESSAGE_TOPIC + local.encode()
        self._ids = ids
        self._wall = wall
        self._mark = mark
        self.in_turn = in_turn
        self._turn = 0
        self._name = len(self.topic).to_bytes(2, "big") + self.topic

    def forward(self, message: Message, now: float) -> None:
        """Queue one message for that cluster."""
        data = encode_message(message, self._ids.take(), now, self._wall())
        size = len(self._name) + 3 + len(data)
        expires = math.inf if message.expires_at is None else message.expires_at
        qos = min(message.qos, 1)
        if not qos:
            data = b"".join((b"\x30", varint(size - 2), self._name, b"\0", data))
            expires = min(expires, now + QOS0_PATIENCE)
        self._push(Entry(data, qos, 1, size + 5, _key(message.publisher), now, expires), now)

    def forward_run(
        self,
        topic: bytes,
        payloads: Sequence[bytes],
        publisher: str,
        username: str | None,
        now: float,
    ) -> None:
        """Queue many messages of QoS 0 without properties and of one publisher."""
        step = max(1, _CHUNK * len(payloads) // (1 + sum(map(len, payloads))))
        wall, key = self._wall(), _key(publisher)
        for start in range(0, len(payloads), step):
            part = payloads[start : start + step]
            data = encode_run(self.topic, topic, part, publisher, username, self._ids, wall)
            # What each packet adds to its payload is the same, but for a byte or two of length.
            added = (len(data) - sum(map(len, part))) // len(part) + 3
            largest = max(map(len, part)) + added
            self._push(Entry(data, 0, len(part), largest, key, now, now + QOS0_PATIENCE), now)

    def take_over(self, entries: Iterable[Entry], now: float) -> None:
        """Take what the lanes before these were to carry; it was counted when it came."""
        for entry in entries:
            self.stats.matched -= entry.count
            self._push(entry, now)

    def _push(self, entry: Entry, now: float) -> None:
        number = entry.key
        if self.in_turn:
            number = self._turn = self._turn + 1
        number %= len(self.lanes)
        if self.lanes[number].push(entry, now):
            self._mark(number)


def _key(publisher: str) -> int:
    return crc32(publisher.encode(errors="replace"))
