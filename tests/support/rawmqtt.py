"""A client that says exactly what a test tells it to, byte for byte, and hides nothing.

It acknowledges nothing by itself and never reconnects. What comes is decoded by the broker's own
codec, which `tests/wire` holds to the specification.
"""

from __future__ import annotations

import socket
import ssl
from collections import deque
from typing import Any, Final, Self, TypeVar

from isthmus_broker.mqtt import packets
from isthmus_broker.mqtt.codes import V5, PacketType
from isthmus_broker.mqtt.packets import (
    Acknowledgement,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    Publish,
    SubAck,
    Subscribe,
    SubscriptionOptions,
    UnsubAck,
    Unsubscribe,
)
from isthmus_broker.mqtt.properties import Properties, Property
from waiting import DEADLINE

P = TypeVar("P", bound=Packet)

CLOSED: Final = (ConnectionResetError, BrokenPipeError, ssl.SSLError)


class Closed(AssertionError):
    """The broker has closed the connection where a packet was expected."""


class RawClient:
    """One connection to a broker on 127.0.0.1, at one protocol level."""

    def __init__(
        self,
        port: int,
        level: int = V5,
        *,
        tls: ssl.SSLContext | None = None,
        receive_buffer: int = 0,
    ) -> None:
        self.level = level
        plain = socket.socket()
        if receive_buffer:  # before connecting: the window is agreed then
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.settimeout(DEADLINE)
        plain.connect(("127.0.0.1", port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = plain if tls is None else tls.wrap_socket(plain, server_hostname="localhost")
        self._buffer = bytearray()
        self._skipped: deque[Packet] = deque()
        self._next_id = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    # -- bytes -----------------------------------------------------------------------------------

    def send(self, *what: bytes | Packet) -> None:
        """Send bytes as they are, and packets encoded, in one write."""
        self.socket.sendall(
            b"".join(it if isinstance(it, bytes) else packets.encode(it, self.level) for it in what)
        )

    def try_send(self, *what: bytes | Packet) -> bool:
        """Send to a broker that may have closed meanwhile; returns whether it had not."""
        try:
            self.send(*what)
        except CLOSED:
            return False
        return True

    def receive_bytes(self) -> tuple[int, bytes]:
        """The next packet: its first byte and its body."""
        head = self._head()
        while head is None:
            self._fill()
            head = self._head()
        start, size = head
        while len(self._buffer) < start + size:
            self._fill()
        first, body = self._buffer[0], bytes(self._buffer[start : start + size])
        del self._buffer[: start + size]
        return first, body

    def receive(self) -> Packet:
        """The next packet; raises `Closed` where the connection ends instead."""
        return self._skipped.popleft() if self._skipped else self._receive()

    def _receive(self) -> Packet:
        first, body = self.receive_bytes()
        return packets.decode(first, body, self.level)

    def expect(self, kind: type[P]) -> P:
        """The next packet, which is to be of this kind."""
        packet = self.receive()
        assert isinstance(packet, kind), f"{kind.__name__} expected, {packet} came"
        return packet

    def expect_closed(self) -> None:
        """The broker closes, and says nothing more."""
        assert not self._skipped, f"{self._skipped[0]} came"
        assert not self._buffer, f"{bytes(self._buffer)!r} came"
        try:
            data = self.socket.recv(4096)
        except CLOSED:
            return
        assert not data, f"{data!r} came"

    def expect_disconnect(self, code: int) -> Disconnect:
        """The broker says why it disconnects, then closes; in 3.1.1, it just closes."""
        said = Disconnect(code)
        if self.level == V5:
            said = self.expect(Disconnect)
            assert said.reason_code == code, f"0x{code:02X} expected, {said} came"
        self.expect_closed()
        return said

    def expect_nothing(self) -> None:
        """Nothing has come up to now: a PINGREQ is answered first."""
        self.send(PingReq())
        self.expect(PingResp)

    def drop(self) -> None:
        """Close without DISCONNECT."""
        self.socket.close()

    def reset(self) -> None:
        """Close with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def _head(self) -> tuple[int, int] | None:
        value = 0
        for at, byte in enumerate(self._buffer[1:5]):
            value |= (byte & 0x7F) << 7 * at
            if byte < 0x80:
                return at + 2, value
        return None

    def _fill(self) -> None:
        try:
            data = self.socket.recv(1 << 16)
        except TimeoutError as error:
            raise AssertionError(f"nothing came within {DEADLINE:g} s") from error
        except CLOSED as error:
            raise Closed(str(error)) from error
        if not data:
            raise Closed(f"closed; {bytes(self._buffer)!r} left")
        self._buffer += data

    # -- packets ---------------------------------------------------------------------------------

    def connect(self, client_id: str = "", **fields: Any) -> ConnAck:
        """Send CONNECT (fields as in `packets.Connect`) and take the CONNACK, whatever it says."""
        self.send(Connect(client_id, self.level, **fields))
        return self.expect(ConnAck)

    def packet_id(self) -> int:
        """A packet identifier for the next packet."""
        self._next_id = self._next_id % 65_535 + 1
        return self._next_id

    def subscribe(
        self, *filters: str | bytes, qos: int = 0, identifier: int = 0, **options: Any
    ) -> SubAck:
        """Subscribe to filters, all with the same options; takes the SUBACK."""
        chosen = SubscriptionOptions(qos, **options)
        found: Properties = {_SUBSCRIPTION_IDENTIFIER: [identifier]} if identifier else {}
        wanted = [(_bytes(one), chosen) for one in filters]
        self.send(Subscribe(self.packet_id(), wanted, found))
        return self.expect(SubAck)

    def unsubscribe(self, *filters: str | bytes) -> UnsubAck:
        """Unsubscribe; takes the UNSUBACK."""
        self.send(Unsubscribe(self.packet_id(), [_bytes(one) for one in filters]))
        return self.expect(UnsubAck)

    def publish(
        self, topic: str | bytes, payload: bytes = b"", qos: int = 0, **fields: Any
    ) -> Publish:
        """Send a PUBLISH (fields as in `packets.Publish`), with a new packet identifier."""
        packet_id = fields.pop("packet_id", self.packet_id() if qos else 0)
        packet = Publish(_bytes(topic), payload, qos, packet_id=packet_id, **fields)
        self.send(packet)
        return packet

    def publish_acknowledged(
        self, topic: str | bytes, payload: bytes = b"", qos: int = 1, **fields: Any
    ) -> int:
        """Publish, go through the whole exchange; returns the first answer's reason code.

        Messages that come meanwhile stay to be received.
        """
        sent = self.publish(topic, payload, qos, **fields)
        if not qos:
            self.expect_nothing()
            return 0
        answer = self._answer(PacketType.PUBACK if qos == 1 else PacketType.PUBREC, sent)
        if qos == 2 and answer.reason_code < 0x80:
            self.ack(PacketType.PUBREL, sent)
            self._answer(PacketType.PUBCOMP, sent)
        return answer.reason_code

    def _answer(self, kind: PacketType, packet: Publish) -> Acknowledgement:
        while not isinstance(answer := self._receive(), Acknowledgement):
            assert isinstance(answer, Publish), answer
            self._skipped.append(answer)
        assert (answer.type, answer.packet_id) == (kind, packet.packet_id), answer
        return answer

    def ack(self, kind: PacketType, packet: Publish, code: int = 0) -> None:
        """Answer a packet."""
        self.send(Acknowledgement(kind, packet.packet_id, code))

    def expect_ack(self, kind: PacketType, packet: Publish) -> Acknowledgement:
        """The next packet is to be this answer to `packet`."""
        answer = self.expect(Acknowledgement)
        assert (answer.type, answer.packet_id) == (kind, packet.packet_id), answer
        return answer

    def take(self, *, acknowledge: bool = True) -> Publish:
        """The next packet, which is to be a PUBLISH; goes through the exchange of its QoS."""
        packet = self.expect(Publish)
        if acknowledge and packet.qos == 1:
            self.ack(PacketType.PUBACK, packet)
        elif acknowledge and packet.qos == 2:
            self.ack(PacketType.PUBREC, packet)
            self._skip_to(Acknowledgement(PacketType.PUBREL, packet.packet_id))
            self.ack(PacketType.PUBCOMP, packet)
        return packet

    def _skip_to(self, wanted: Packet) -> None:
        """Take one packet; those before it stay to be received."""
        while (packet := self._receive()) != wanted:
            self._skipped.append(packet)

    def disconnect(self, code: int = 0, properties: Properties | None = None) -> None:
        """Send DISCONNECT and wait until the broker has closed."""
        self.send(Disconnect(code, properties or {}))
        self.expect_closed()
        self.drop()


_SUBSCRIPTION_IDENTIFIER: Final = Property.SUBSCRIPTION_IDENTIFIER


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
