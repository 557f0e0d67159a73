"""The few MQTT 3.1.1 packets that a load needs, as bytes. No decoder: see `clients`."""

from __future__ import annotations

from typing import Final

PUBACK_SIZE: Final = 4
PINGREQ: Final = b"\xc0\x00"
PINGRESP: Final = b"\xd0\x00"
ACCEPTED: Final = b"\x20\x02\x00\x00"
"""CONNACK of MQTT 3.1.1 for a new session."""


def connect(client_id: str, keep_alive: int = 600) -> bytes:
    """CONNECT with a clean session; `keep_alive` in seconds."""
    head = _text("MQTT") + b"\x04\x02" + keep_alive.to_bytes(2, "big")
    return _packet(0x10, head + _text(client_id))


def subscribe(topic_filters: list[str], qos: int) -> bytes:
    """SUBSCRIBE to all of the filters, with packet identifier 1."""
    wanted = b"".join(_text(it) + bytes((qos,)) for it in topic_filters)
    return _packet(0x82, b"\x00\x01" + wanted)


def publish(topic: str, payload: bytes, qos: int = 0, packet_id: int = 0) -> bytes:
    """PUBLISH; `packet_id` counts at QoS 1 only."""
    identifier = packet_id.to_bytes(2, "big") if qos else b""
    return _packet(0x30 | qos << 1, _text(topic) + identifier + payload)


def _packet(first: int, body: bytes) -> bytes:
    return bytes((first,)) + _varint(len(body)) + body


def _text(text: str) -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(2, "big") + raw


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
