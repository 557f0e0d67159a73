"""QoS 2 from both ends: as `clients`, but each answer of four bytes has to be looked at."""

from __future__ import annotations

import socket
from typing import Final

from benchmarks.clients import LoadError, Ring

_BUFFER: Final = 1 << 18
_PUBREC: Final = 0x50
_PUBREL: Final = 0x62
_PUBCOMP: Final = 0x70
_ANSWER: Final = 4
"""Bytes of each of these packets in MQTT 3.1.1."""


class Sender(Ring):
    """A publisher that releases each message once the broker has received it."""

    def __init__(self, sock: socket.socket, ring: bytes, size: int) -> None:
        super().__init__(sock, ring, size)
        self._rest = b""
        self._releases = bytearray()

    def push(self, allowed: int) -> None:
        """As `Ring.push`; releases go first, and never into the middle of a message."""
        if self.whole:
            self._release()
        if not self._releases:
            super().push(allowed)

    def ready(self) -> None:
        """Take answers: PUBREC asks for a PUBREL, PUBCOMP ends a message."""
        self._blocked = False
        try:
            came = self.sock.recv(_BUFFER)
        except BlockingIOError:
            return
        if not came:
            raise LoadError("the broker has closed the publisher's connection")
        data = self._rest + came
        used = len(data) - len(data) % _ANSWER
        self._rest = data[used:]
        for pos in range(0, used, _ANSWER):
            if data[pos] == _PUBREC:
                self._releases += b"\x62\x02" + data[pos + 2 : pos + 4]
            elif data[pos] == _PUBCOMP:
                self.acknowledged += 1
            else:
                raise LoadError(f"PUBREC or PUBCOMP expected, 0x{data[pos]:02x} came")
        if self.whole:
            self._release()

    def _release(self) -> None:
        if self._releases:
            try:
                del self._releases[: self.sock.send(self._releases)]
            except BlockingIOError:
                self._blocked = True


class Receiver:
    """A subscriber that plays its part for whatever comes, at once."""

    def __init__(self, sock: socket.socket, packet: bytes, identifier_at: int) -> None:
        self.sock = sock
        self.received = 0
        """Messages that have come and were released."""
        self._size = len(packet)
        self._first = packet[0]
        self._at = identifier_at
        self._rest = b""
        self._unsent = bytearray()
        sock.setblocking(False)

    def ready(self) -> None:
        """Take what has come."""
        came = self.sock.recv(_BUFFER)
        if not came:
            raise LoadError("the broker has closed a subscriber's connection")
        data = self._rest + came
        pos = self._answer(data)
        self._rest = data[pos:]
        try:
            del self._unsent[: self.sock.send(self._unsent)]
        except BlockingIOError:
            return  # goes out with the next ones

    def _answer(self, data: bytes) -> int:
        """Answer each whole packet; returns where the first incomplete one begins."""
        pos = 0
        while len(data) - pos >= _ANSWER:
            if data[pos] == _PUBREL:
                self._unsent += b"\x70\x02" + data[pos + 2 : pos + 4]
                self.received += 1
                pos += _ANSWER
            elif data[pos] != self._first:
                raise LoadError(f"a new message of QoS 2 expected, 0x{data[pos]:02x} came")
            elif len(data) - pos < self._size:
                break
            else:
                at = pos + self._at
                self._unsent += b"\x50\x02" + data[at : at + 2]
                pos += self._size
        return pos
