"""The last retained message of each topic (3.3.1.3), within limits."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus_broker.mqtt import topics
from isthmus_broker.mqtt.publish import Message


class Retained:
    """Retained messages by topic.

    `max_count` messages, `max_bytes` of topics and payloads together, `max_payload` each.
    """

    def __init__(
        self, *, max_count: float = 100_000, max_bytes: int = 256 << 20, max_payload: int = 1 << 20
    ) -> None:
        self.bytes = 0
        self._limits = max_count, max_bytes, max_payload
        self._messages: dict[bytes, Message] = {}

    def __len__(self) -> int:
        return len(self._messages)

    def store(self, message: Message, now: float) -> bool:  # noqa: ARG002
        """Keep a message in place of its topic's last; an empty payload removes that.

        Returns False where a limit forbids it [MQTT-3.3.1-5, -6, -7].
        """
        self._remove(message.topic)
        if not message.payload:
            return True
        max_count, max_bytes, max_payload = self._limits
        size = _size(message)
        if (
            len(self._messages) >= max_count
            or self.bytes + size > max_bytes
            or len(message.payload) > max_payload
        ):
            return False
        self._messages[message.topic] = message
        self.bytes += size
        return True

    def get(self, topic: bytes, now: float) -> Message | None:
        """The message of one topic."""
        message = self._messages.get(topic)
        if message is not None and message.expired(now):
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

    def _remove(self, topic: bytes) -> None:
        gone = self._messages.pop(topic, None)
        if gone is not None:
            self.bytes -= _size(gone)


def _size(message: Message) -> int:
    return len(message.topic) + len(message.payload) + len(message.properties)
