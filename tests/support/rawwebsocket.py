"""A WebSocket's bytes by hand: for clients that do what no library would."""

from __future__ import annotations

import base64
import os
import socket
import struct


def upgrade(plain: socket.socket) -> None:
    """Ask for the WebSocket of a listener, and take the answer."""
    key = base64.b64encode(os.urandom(16)).decode()
    plain.sendall(
        f"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        f"Sec-WebSocket-Protocol: mqtt\r\n\r\n".encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += plain.recv(1)
    assert answer.startswith(b"HTTP/1.1 101 ")


def masked(data: bytes, opcode: int = 2) -> bytes:
    """A frame as a client sends it, masked with zeros."""
    size = bytes((0x80 | len(data),)) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data))
    return bytes((0x80 | opcode,)) + size + bytes(4) + data
