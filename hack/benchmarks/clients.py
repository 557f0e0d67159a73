"""Clients of the load: blocking where a handshake or one message is waited for, else not.

`Ring` sends one long precomputed piece of bytes round and round; `Counter` and `Acknowledger`
count what comes without a look at each packet.
"""

from __future__ import annotations

import socket
from typing import Final

from benchmarks import mqtt

TIMEOUT: Final = 20.0
"""Seconds after which a blocking client gives up."""
_BUFFER: Final = 1 << 20
_CHUNK: Final = 64 << 10
"""Bytes in one send, at most."""


class LoadError(Exception):
    """A broker did not do what a measurement needs; the text says what came instead."""


class Unsupported(LoadError):
    """A broker does not have what is to be measured."""


def connect(port: int, client_id: str, *, receive_buffer: int = 0) -> socket.socket:
    """Connect to 127.0.0.1 and wait until the broker has accepted the client.

    Raises:
        LoadError: it was refused.
        OSError: nobody listens, or nothing came in time.
    """
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(TIMEOUT)
    sock.connect(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(mqtt.connect(client_id))
    expect(sock, mqtt.ACCEPTED)
    return sock


def subscriber(port: int, client_id: str, topic_filter: str, qos: int = 0) -> socket.socket:
    """Connect and subscribe."""
    sock = connect(port, client_id)
    subscribe(sock, topic_filter, qos)
    return sock


def subscribe(sock: socket.socket, topic_filter: str, qos: int = 0) -> None:
    """Subscribe, and wait until it is acknowledged.

    Raises:
        Unsupported: a lower QoS is granted.
    """
    sock.sendall(mqtt.subscribe([topic_filter], qos))
    expect(sock, b"\x90\x03\x00\x01")
    granted = read(sock, 1)[0]
    if granted < qos:
        raise Unsupported(f"it grants QoS {granted} where QoS {qos} was asked for")
    if granted != qos:
        raise LoadError(f"subscription refused, return code 0x{granted:02x}")


def expect(sock: socket.socket, wanted: bytes) -> None:
    """Read exactly these bytes."""
    came = read(sock, len(wanted))
    if came != wanted:
        raise LoadError(f"expected {wanted.hex()}, {came.hex()} came")


def read(sock: socket.socket, size: int) -> bytes:
    """Read `size` bytes."""
    parts = b""
    while len(parts) < size:
        came = sock.recv(size - len(parts))
        if not came:
            raise LoadError("the broker has closed the connection")
        parts += came
    return parts


class Ring:
    """A publisher, not blocking: sends the packets of `ring` over and over, as many as allowed."""

    def __init__(self, sock: socket.socket, ring: bytes, size: int) -> None:
        self.sock = sock
        self.acknowledged = 0
        """Messages that the broker has taken for good."""
        self._ring = memoryview(ring)
        self._size = size
        self._sent = 0  # bytes
        self._came = 0  # bytes
        self._blocked = False
        sock.setblocking(False)

    @property
    def sent(self) -> int:
        """Messages whose sending has begun."""
        return -(-self._sent // self._size)

    @property
    def whole(self) -> bool:
        """Whether no message is half sent."""
        return not self._sent % self._size

    def push(self, allowed: int) -> None:
        """Send until `allowed` messages have been sent in all, or the kernel takes no more."""
        left = allowed * self._size - self._sent
        length = len(self._ring)
        while left > 0 and not self._blocked:
            start = self._sent % length
            try:
                taken = self.sock.send(self._ring[start : start + min(left, _CHUNK)])
            except BlockingIOError:
                self._blocked = True
                return
            self._sent += taken
            left -= taken

    def ready(self) -> None:
        """The kernel has room again, or acknowledgements have come."""
        self._blocked = False
        try:
            while came := self.sock.recv(_CHUNK):
                self._came += len(came)
        except BlockingIOError:
            self.acknowledged = self._came // mqtt.PUBACK_SIZE
            return
        raise LoadError("the broker has closed the publisher's connection")


class Counter:
    """A QoS 0 subscriber, not blocking: compares each byte that comes with what was published."""

    def __init__(self, sock: socket.socket, packet: bytes) -> None:
        self.sock = sock
        self._size = len(packet)
        self._bytes = 0
        self._expected = memoryview(packet * (_BUFFER // len(packet) + 2))
        self._buffer = bytearray(_BUFFER)
        sock.setblocking(False)

    @property
    def received(self) -> int:
        """Whole messages that have come."""
        return self._bytes // self._size

    def ready(self) -> None:
        """Take what has come."""
        came = self.sock.recv_into(self._buffer)
        if not came:
            raise LoadError("the broker has closed a subscriber's connection")
        start = self._bytes % self._size
        # Compares in C, and copies nothing.
        if not self._buffer.startswith(self._expected[start : start + came]):
            raise LoadError("other bytes came than were published")
        self._bytes += came


class Acknowledger:
    """A QoS 1 subscriber, not blocking: acknowledges whatever comes, at once."""

    def __init__(self, sock: socket.socket, packet: bytes, identifier_at: int) -> None:
        self.sock = sock
        self.received = 0
        self._size = len(packet)
        self._first = packet[0]
        self._at = identifier_at
        self._rest = 0  # bytes of an incomplete packet, at the beginning of the buffer
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._unsent = bytearray()
        sock.setblocking(False)

    def ready(self) -> None:
        """Take what has come."""
        came = self.sock.recv_into(self._view[self._rest :])
        if not came:
            raise LoadError("the broker has closed a subscriber's connection")
        have = self._rest + came
        count, self._rest = divmod(have, self._size)
        used = have - self._rest
        if count:
            self._acknowledge(count, used)
            self.received += count
            self._buffer[: self._rest] = self._buffer[used:have]

    def _acknowledge(self, count: int, used: int) -> None:
        """PUBACK all of the packets, by slices: their identifiers are a packet's size apart."""
        buffer, size, at = self._buffer, self._size, self._at
        if buffer[:used:size] != bytes((self._first,)) * count:
            raise LoadError("something else came than a new message of QoS 1")
        acks = bytearray(b"\x40\x02\x00\x00" * count)
        acks[2::4] = buffer[at:used:size]
        acks[3::4] = buffer[at + 1 : used : size]
        self._unsent += acks
        try:
            del self._unsent[: self.sock.send(self._unsent)]
        except BlockingIOError:
            return  # goes out with the next ones
