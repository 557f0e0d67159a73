"""An application message, and its PUBLISH frame for each layout, made once.

A message goes to many subscribers, but its bytes differ only by protocol level, QoS, retain flag
and the packet identifier; so each layout is built once and the identifier spliced in. Which
subscriber gets which layout is the session's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from isthmus_broker.mqtt.codes import V5
from isthmus_broker.mqtt.wire import varint


class OriginKind(Enum):
    """Where a message entered this node."""

    LOCAL = "local"
    """A client of this cluster published it: may cross links."""
    LINK = "link"
    """Another cluster sent it: delivered here, never onward."""
    NODE = "node"
    """Another node of this cluster sent it, and has forwarded it already."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a message came from; decides where it may still go."""

    kind: OriginKind
    cluster: str = ""
    """Name of the linked cluster, for `OriginKind.LINK`."""


LOCAL: Final = Origin(OriginKind.LOCAL)

_EXPIRY_ID: Final = b"\x02"  # Message Expiry Interval, 3.3.2.3.3


class Message:
    """One application message, immutable once published.

    `properties` are the encoded MQTT 5.0 properties that travel with the message unchanged and in
    order (Payload Format Indicator, Content Type, Response Topic, Correlation Data, User
    Property): without their length, Message Expiry Interval, Topic Alias and Subscription
    Identifier. `expires_at` is monotonic seconds, or None. `publisher` is the client id.
    """

    __slots__ = (
        "_frames",
        "expires_at",
        "origin",
        "payload",
        "properties",
        "publisher",
        "qos",
        "retain",
        "topic",
        "username",
    )

    def __init__(
        self,
        topic: bytes,
        payload: bytes,
        qos: int = 0,
        retain: bool = False,
        publisher: str = "",
        username: str | None = None,
        *,
        properties: bytes = b"",
        expires_at: float | None = None,
        origin: Origin = LOCAL,
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.properties = properties
        self.expires_at = expires_at
        self.publisher = publisher
        self.username = username
        self.origin = origin
        self._frames: dict[int, tuple[bytes, bytes]] | None = None

    def __repr__(self) -> str:
        return f"Message({self.topic!r}, {len(self.payload)} bytes, qos={self.qos})"

    def expired(self, now: float) -> bool:
        """Whether the Message Expiry Interval has passed [MQTT-3.3.2-5]."""
        return self.expires_at is not None and now >= self.expires_at

    def parts(self, level: int, qos: int, retain: bool) -> tuple[bytes, bytes]:
        """What stands before and after the packet identifier (which QoS 0 has not).

        For a plain delivery only: no DUP, alias, subscription identifier or expiry interval; those
        go through `frame`.
        """
        layout = level << 3 | qos << 1 | retain
        frames = self._frames
        if frames is None:
            frames = self._frames = {}
        found = frames.get(layout)
        if found is None:
            found = frames[layout] = self._build(level, qos, retain, self.topic, b"")
        return found

    def frame(
        self,
        level: int,
        qos: int,
        retain: bool,
        packet_id: int,
        now: float,
        *,
        dup: bool = False,
        topic: bytes | None = None,
        own: bytes = b"",
    ) -> bytes:
        """The whole PUBLISH packet for one receiver.

        `topic` replaces the name (empty where an alias stands for it); `own` are encoded
        properties of this delivery alone: Topic Alias, Subscription Identifiers.
        """
        expires_at = self.expires_at
        if level == V5 and expires_at is not None:
            # [MQTT-3.3.2-6]: what is left of the interval, at least a second.
            left = max(1, int(expires_at - now))
            own = _EXPIRY_ID + left.to_bytes(4, "big") + own
        if own or topic is not None:
            name = self.topic if topic is None else topic
            head, tail = self._build(level, qos, retain, name, own)
        else:
            head, tail = self.parts(level, qos, retain)
        if dup:
            head = bytes((head[0] | 0x08,)) + head[1:]
        return head + packet_id.to_bytes(2, "big") + tail if qos else head + tail

    def _build(
        self, level: int, qos: int, retain: bool, topic: bytes, own: bytes
    ) -> tuple[bytes, bytes]:
        name = len(topic).to_bytes(2, "big") + topic
        if level == V5:
            properties = own + self.properties
            tail = varint(len(properties)) + properties + self.payload
        else:
            tail = self.payload
        size = len(name) + (2 if qos else 0) + len(tail)
        return bytes((0x30 | qos << 1 | retain,)) + varint(size) + name, tail
