"""The last retained message of each topic (3.3.1.3), within limits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from isthmus_broker.mqtt import topics
from isthmus_broker.mqtt.publish import Message

_SWEEP: Final = 1.0
"""Seconds at least between two looks at all messages for expired ones."""


class Retained:
    """Retained messages by topic.

    `max_count` messages, `max_bytes` of topics and payloads together, `max_payload` each; those
    without a Message Expiry Interval go after `max_age` seconds.
    """

    def __init__(
        self,
        *,
        max_count: float = 100_000,
        max_bytes: int = 256 << 20,
        max_payload: int = 1 << 20,
        max_age: float = math.inf,
    ) -> None:
        self.bytes = 0
        self._limits = max_count, max_bytes, max_payload
        self._max_age = max_age
        self._messages: dict[bytes, Message] = {}
        self._ends: dict[bytes, float] = {}  # of those that go by `max_age`
        self._swept = -math.inf

    def __len__(self) -> int:
        return len(self._messages)

    def store(self, message: Message, now: float) -> bool:
        """Keep a message in place of its topic's last; an empty payload removes that.

        Returns False where a limit forbids it [MQTT-3.3.1-5, -6, -7].
        """
        topic = message.topic
        self._remove(topic)
        if not message.payload or message.expired(now):
            return True
        if not self._has_room(message):
            self._sweep(now)
            if not self._has_room(message):
                return False
        self._messages[topic] = message
        self.bytes += _size(message)
        if message.expires_at is None and self._max_age < math.inf:
            self._ends[topic] = now + self._max_age
        return True

    def get(self, topic: bytes, now: float) -> Message | None:
        """The message of one topic."""
        message = self._messages.get(topic)
        if message is not None and self._gone(message, now):
            self._remove(topic)
            return None
        return message

    def match_slices(self, filter: bytes, now: float, scan: int = 1000) -> Iterator[list[Message]]:
        """The messages whose topics match, found in slices of at most `scan` topics looked at.

        What is stored while it runs may be missed; what stays is not.
        """
        names = list(self._messages)
        for start in range(0, len(names), scan):
            found = []
            for topic in names[start : start + scan]:
                if topics.match(filter, topic):
                    message = self.get(topic, now)
                    if message is not None:
                        found.append(message)
            yield found

    def _gone(self, message: Message, now: float) -> bool:
        return message.expired(now) or self._ends.get(message.topic, math.inf) <= now

    def _has_room(self, message: Message) -> bool:
        max_count, max_bytes, max_payload = self._limits
        return (
            len(self._messages) < max_count
            and self.bytes + _size(message) <= max_bytes
            and len(message.payload) <= max_payload
        )

    def _sweep(self, now: float) -> None:
        """Remove what has expired and nobody has asked for since."""
        if now < self._swept + _SWEEP:
            return
        self._swept = now
        for topic in [it.topic for it in self._messages.values() if self._gone(it, now)]:
            self._remove(topic)

    def _remove(self, topic: bytes) -> None:
        gone = self._messages.pop(topic, None)
        if gone is not None:
            self.bytes -= _size(gone)
            self._ends.pop(topic, None)


def _size(message: Message) -> int:
    return len(message.topic) + len(message.payload) + len(message.properties)
