"""The control packets (3.1 to 3.15), decoded and encoded for both protocol levels.

`decode` takes what either side may send, since links are clients; whether a packet may come here
and now is left to the connection, and what a topic filter means to `topics`. What has no place in
MQTT 3.1.1 (properties, most reason codes) is empty after decoding and left out by encoding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from isthmus_broker.errors import MalformedPacket, ProtocolError
from isthmus_broker.mqtt import properties as props
from isthmus_broker.mqtt import wire
from isthmus_broker.mqtt.codes import V5, V311, PacketType, ReasonCode, connack_return_code
from isthmus_broker.mqtt.properties import WILL, Properties, Property

_TOPIC_ALIAS: Final = Property.TOPIC_ALIAS
_EXPIRY: Final = Property.MESSAGE_EXPIRY_INTERVAL


@dataclass(slots=True)
class Will:
    """The Will Message of a CONNECT (3.1.2.5); whether its topic is valid is not checked."""

    topic: bytes
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties = field(default_factory=dict)


@dataclass(slots=True)
class Connect:
    """CONNECT (3.1). `keep_alive` in seconds, 0 for none; `clean_start`: 3.1.1's clean session."""

    client_id: str
    level: int = V5
    clean_start: bool = True
    keep_alive: int = 0
    will: Will | None = None
    username: str | None = None
    password: bytes | None = field(default=None, repr=False)
    properties: Properties = field(default_factory=dict)


@dataclass(slots=True)
class ConnAck:
    """CONNACK (3.2). Decoded from 3.1.1, `reason_code` is its return code, 0 to 5.

    Encoding for 3.1.1 says the return code of a reason code from 0x80.
    """

    session_present: bool = False
    reason_code: int = 0
    properties: Properties = field(default_factory=dict)


@dataclass(slots=True)
class Publish:
    """PUBLISH (3.3). `packet_id` is 0 at QoS 0; `topic` is empty where an alias stands for it."""

    topic: bytes
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0
    properties: Properties = field(default_factory=dict)
    """All properties; these are what `encode` writes."""
    travelling: bytes = field(default=b"", compare=False)
    """What `Message.properties` is to be: set by decoding (`properties.pass_through`)."""

    @property
    def alias(self) -> int:
        """The Topic Alias, 0 where there is none."""
        found = self.properties
        return found.get(_TOPIC_ALIAS, 0) if found else 0  # type: ignore[return-value]

    @property
    def expiry(self) -> int | None:
        """The Message Expiry Interval in seconds."""
        found = self.properties
        return found.get(_EXPIRY) if found else None  # type: ignore[return-value]


@dataclass(slots=True)
class Acknowledgement:
    """PUBACK, PUBREC, PUBREL or PUBCOMP (3.4 to 3.7)."""

    type: PacketType
    packet_id: int
    reason_code: int = 0
    properties: Properties = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SubscriptionOptions:
    """Subscription options (3.8.3.1); 3.1.1 has only the QoS."""

    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


@dataclass(slots=True)
class Subscribe:
    """SUBSCRIBE (3.8). Filters are UTF-8 and may be invalid otherwise: SUBACK says so for each."""

    packet_id: int
    filters: list[tuple[bytes, SubscriptionOptions]]
    properties: Properties = field(default_factory=dict)


@dataclass(slots=True)
class SubAck:
    """SUBACK (3.9): a reason code for each filter, in order."""

    packet_id: int
    codes: list[int]
    properties: Properties = field(default_factory=dict)


@dataclass(slots=True)
class Unsubscribe:
    """UNSUBSCRIBE (3.10)."""

    packet_id: int
    filters: list[bytes]
    properties: Properties = field(default_factory=dict)


@dataclass(slots=True)
class UnsubAck:
    """UNSUBACK (3.11); 3.1.1 has no codes."""

    packet_id: int
    codes: list[int] = field(default_factory=list)
    properties: Properties = field(default_factory=dict)


@dataclass(slots=True)
class PingReq:
    """PINGREQ (3.12)."""


@dataclass(slots=True)
class PingResp:
    """PINGRESP (3.13)."""


@dataclass(slots=True)
class Disconnect:
    """DISCONNECT (3.14)."""

    reason_code: int = 0
    properties: Properties = field(default_factory=dict)


@dataclass(slots=True)
class Auth:
    """AUTH (3.15), MQTT 5.0 only."""

    reason_code: int = 0
    properties: Properties = field(default_factory=dict)


Packet: TypeAlias = (
    Connect
    | ConnAck
    | Publish
    | Acknowledgement
    | Subscribe
    | SubAck
    | Unsubscribe
    | UnsubAck
    | PingReq
    | PingResp
    | Disconnect
    | Auth
)


def length_needed(data: bytes) -> int:
    """Bytes that the packet at the start of `data` has, or, not yet known, one more than are here.

    For a packet that `scan` found incomplete, so whose Remaining Length is not malformed.
    """
    value = 0
    for pos, byte in enumerate(data[1:5]):
        value |= (byte & 0x7F) << 7 * pos
        if byte < 0x80:
            return pos + 2 + value
    return len(data) + 1


# -- decoding ------------------------------------------------------------------------------------


def decode(first: int, body: bytes, level: int) -> Packet:
    """The packet with the first byte `first` and what follows the Remaining Length, `body`.

    `level` is the connection's; a CONNECT brings its own.

    Raises:
        MalformedPacket: the bytes are no such packet; says which field, at which byte of `body`.
        ProtocolError: they are, but one that the specification forbids; with its reason code.

    """
    kind = _ACKNOWLEDGEMENTS.get(first)
    if kind is not None:
        return _acknowledgement(kind, body, level)
    if first >> 4 == 3:
        return decode_publish(first, body, 0, len(body), level, from_server=True)
    decoder = _DECODERS.get(first)
    if decoder is None:
        raise _no_packet(first)
    return decoder(body, level)


def decode_publish(
    first: int, data: bytes, start: int, end: int, level: int, *, from_server: bool = False
) -> Publish:
    """The PUBLISH with the first byte `first` whose body is `data[start:end]`.

    Raises as `decode` does. `from_server` allows what only a server may send.
    """
    flags = _PUBLISH_FLAGS[first & 0x0F]
    if flags is None:
        raise _wrong_flags(first)
    qos, retain, dup = flags
    name = start + 2
    pos = name + (data[start] << 8 | data[start + 1]) if name <= end else name
    if (pos + 2 if qos else pos) > end:
        raise _short_publish(start, end, pos)
    topic = data[name:pos]
    if not topic.isascii() or b"\0" in topic:
        _check_text(topic)
    if b"+" in topic or b"#" in topic:  # [MQTT-3.3.2-2]
        raise ProtocolError("the Topic Name has a wildcard", ReasonCode.TOPIC_NAME_INVALID)
    packet_id = 0
    if qos:
        packet_id = data[pos] << 8 | data[pos + 1]
        pos += 2
        if not packet_id:
            raise _no_packet_id()
    found: Properties = {}
    travelling = b""
    if level == V5:
        if pos < end and not data[pos]:
            pos += 1
        else:
            size, block = wire.read_varint(data, pos, "Property Length")
            pos = block + size
            if pos > end:
                raise MalformedPacket(
                    f"{size} bytes of properties expected, {max(end - block, 0)} left"
                )
            travelling, found = props.pass_through(data, block, pos, from_server=from_server)
    if not topic and _TOPIC_ALIAS not in found:
        raise ProtocolError("PUBLISH with neither Topic Name nor Topic Alias")  # 3.3.2.1
    return Publish(topic, data[pos:end], qos, retain, dup, packet_id, found, travelling)


def _publish_flags(flags: int) -> tuple[int, bool, bool] | None:
    """QoS, RETAIN and DUP; None for QoS 3 [MQTT-3.3.1-4] and DUP at QoS 0 [MQTT-3.3.1-2]."""
    qos = flags >> 1 & 3
    dup = flags >= 8
    return None if qos == 3 or (dup and not qos) else (qos, bool(flags & 1), dup)


_PUBLISH_FLAGS: Final = tuple(map(_publish_flags, range(16)))


def _wrong_flags(first: int) -> MalformedPacket:
    return MalformedPacket("PUBLISH with QoS 3" if first & 6 == 6 else "PUBLISH with DUP at QoS 0")


def _short_publish(start: int, end: int, pos: int) -> MalformedPacket:
    what = "Topic Name" if pos > end or end - start < 2 else "Packet Identifier"
    need = max(pos - start, 2)
    return MalformedPacket(
        f"PUBLISH ends within {what}: {need} bytes or more expected, {end - start} came"
    )


def _check_text(topic: bytes) -> None:
    if not wire.is_text(topic):  # [MQTT-3.3.2-1]
        raise wire.not_text("Topic Name", 0)


def _acknowledgement(kind: PacketType, body: bytes, level: int) -> Acknowledgement:
    size = len(body)
    if size == 2:
        packet_id = body[0] << 8 | body[1]
        if packet_id:
            return Acknowledgement(kind, packet_id, 0, {})
    packet_id, pos = _packet_id(body)
    code = 0
    found: Properties = {}
    if level == V5 and pos < size:
        code, found, pos = _reason(kind, body, pos)
    _check_end(body, pos)
    return Acknowledgement(kind, packet_id, code, found)


def _connect(body: bytes, _level: int) -> Connect:
    name, pos = wire.read_binary(body, 0, "Protocol Name")
    level, pos = wire.read_u8(body, pos, "Protocol Version")
    if name != b"MQTT" or level not in (V311, V5):  # [MQTT-3.1.2-1] [MQTT-3.1.2-2]
        raise ProtocolError(
            f"protocol {name[:16]!r} of level {level} is not supported",
            ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
        )
    flags, pos = wire.read_u8(body, pos, "Connect Flags")
    _check_connect_flags(flags, level)
    keep_alive, pos = wire.read_u16(body, pos, "Keep Alive")
    found: Properties = {}
    if level == V5:
        found, pos = props.decode(body, pos, PacketType.CONNECT)
        if Property.AUTHENTICATION_DATA in found and Property.AUTHENTICATION_METHOD not in found:
            raise ProtocolError("Authentication Data without a method")  # 3.1.2.11.10
    client_id, pos = wire.read_string(body, pos, "Client Identifier")
    will = username = password = None
    if flags & 0x04:
        will, pos = _will(body, pos, flags, level)
    if flags & 0x80:
        username, pos = wire.read_string(body, pos, "User Name")
    if flags & 0x40:
        password, pos = wire.read_binary(body, pos, "Password")
    _check_end(body, pos)
    clean = bool(flags & 0x02)
    return Connect(client_id, level, clean, keep_alive, will, username, password, found)


def _check_connect_flags(flags: int, level: int) -> None:
    qos = flags >> 3 & 3
    if flags & 0x01:
        wrong = "the reserved flag is set"  # [MQTT-3.1.2-3]
    elif qos == 3:
        wrong = "the Will QoS is 3"  # [MQTT-3.1.2-12]
    elif not flags & 0x04 and flags & 0x38:
        wrong = "Will QoS or Will Retain without a Will"  # [MQTT-3.1.2-11] [MQTT-3.1.2-13]
    elif level == V311 and flags & 0xC0 == 0x40:
        wrong = "a password without a user name"  # [MQTT-3.1.2-22] of 3.1.1
    else:
        return
    raise MalformedPacket(f"Connect Flags 0x{flags:02X}: {wrong}")


def _will(body: bytes, pos: int, flags: int, level: int) -> tuple[Will, int]:
    found: Properties = {}
    if level == V5:
        found, pos = props.decode(body, pos, WILL)
    topic, pos = wire.read_text(body, pos, "Will Topic")
    payload, pos = wire.read_binary(body, pos, "Will Payload")
    return Will(topic, payload, flags >> 3 & 3, bool(flags & 0x20), found), pos


def _connack(body: bytes, level: int) -> ConnAck:
    flags, pos = wire.read_u8(body, 0, "Connect Acknowledge Flags")
    if flags > 1:  # [MQTT-3.2.2-1]
        raise MalformedPacket(f"Connect Acknowledge Flags 0x{flags:02X}: reserved ones are set")
    found: Properties = {}
    if level == V5:
        code, pos = wire.read_u8(body, pos, "Reason Code")
        _check_code(PacketType.CONNACK, code)
        found, pos = props.decode(body, pos, PacketType.CONNACK)
    else:
        code, pos = wire.read_u8(body, pos, "Return Code")
        if code > 5:
            raise ProtocolError(f"CONNACK with the return code {code}")
    _check_end(body, pos)
    if flags and code:
        raise ProtocolError("CONNACK refuses, with Session Present")  # [MQTT-3.2.2-6]
    return ConnAck(bool(flags), code, found)


def _subscribe(body: bytes, level: int) -> Subscribe:
    packet_id, found, pos = _packet_id_and_properties(body, level, PacketType.SUBSCRIBE)
    filters: list[tuple[bytes, SubscriptionOptions]] = []
    while pos < len(body):
        filter, pos = wire.read_text(body, pos, "Topic Filter")
        bits, pos = wire.read_u8(body, pos, "Subscription Options")
        filters.append((filter, _options(filter, bits, level)))
    if not filters:
        raise ProtocolError("SUBSCRIBE without a Topic Filter")  # [MQTT-3.8.3-2]
    return Subscribe(packet_id, filters, found)


def _options(filter: bytes, bits: int, level: int) -> SubscriptionOptions:
    if bits & (0xC0 if level == V5 else 0xFC):  # [MQTT-3.8.3-5], [MQTT-3-8.3-4] of 3.1.1
        raise MalformedPacket(f"Subscription Options 0x{bits:02X}: reserved bits are set")
    known = _OPTIONS[bits]
    if known.qos == 3:
        raise ProtocolError("a subscription with QoS 3")
    if known.retain_handling == 3:
        raise ProtocolError("a subscription with Retain Handling 3")
    if known.no_local and filter.startswith(b"$share/"):
        raise ProtocolError("a shared subscription with No Local")  # [MQTT-3.8.3-4]
    return known


_OPTIONS: Final = tuple(
    SubscriptionOptions(bits & 3, bool(bits & 4), bool(bits & 8), bits >> 4) for bits in range(64)
)


def _suback(body: bytes, level: int) -> SubAck:
    packet_id, found, pos = _packet_id_and_properties(body, level, PacketType.SUBACK)
    codes = _codes(PacketType.SUBACK, body, pos)
    if level != V5 and not _SUBACK_311.issuperset(codes):
        raise ProtocolError("SUBACK with a reserved return code")  # [MQTT-3.9.3-2] of 3.1.1
    return SubAck(packet_id, codes, found)


def _unsubscribe(body: bytes, level: int) -> Unsubscribe:
    packet_id, found, pos = _packet_id_and_properties(body, level, PacketType.UNSUBSCRIBE)
    filters: list[bytes] = []
    while pos < len(body):
        filter, pos = wire.read_text(body, pos, "Topic Filter")
        filters.append(filter)
    if not filters:
        raise ProtocolError("UNSUBSCRIBE without a Topic Filter")  # [MQTT-3.10.3-2]
    return Unsubscribe(packet_id, filters, found)


def _unsuback(body: bytes, level: int) -> UnsubAck:
    packet_id, found, pos = _packet_id_and_properties(body, level, PacketType.UNSUBACK)
    if level == V5:
        return UnsubAck(packet_id, _codes(PacketType.UNSUBACK, body, pos), found)
    _check_end(body, pos)
    return UnsubAck(packet_id, [], found)


def _pingreq(body: bytes, _level: int) -> PingReq:
    _check_end(body, 0)
    return PingReq()


def _pingresp(body: bytes, _level: int) -> PingResp:
    _check_end(body, 0)
    return PingResp()


def _disconnect(body: bytes, level: int) -> Disconnect:
    if level == V5 and body:
        code, found, pos = _reason(PacketType.DISCONNECT, body, 0)
        _check_end(body, pos)
        return Disconnect(code, found)
    _check_end(body, 0)
    return Disconnect()


def _auth(body: bytes, level: int) -> Auth:
    if level != V5:
        raise _no_packet(PacketType.AUTH << 4)
    if not body:
        return Auth()
    code, found, pos = _reason(PacketType.AUTH, body, 0)
    _check_end(body, pos)
    return Auth(code, found)


def _packet_id(body: bytes) -> tuple[int, int]:
    packet_id, pos = wire.read_u16(body, 0, "Packet Identifier")
    if not packet_id:
        raise _no_packet_id()
    return packet_id, pos


def _packet_id_and_properties(
    body: bytes, level: int, kind: PacketType
) -> tuple[int, Properties, int]:
    packet_id, pos = _packet_id(body)
    if level != V5:
        return packet_id, {}, pos
    found, pos = props.decode(body, pos, kind)
    return packet_id, found, pos


def _reason(kind: PacketType, body: bytes, pos: int) -> tuple[int, Properties, int]:
    """A Reason Code, and the properties unless they are left out (3.4.2.2.1, 3.14.2.2.1)."""
    code, pos = wire.read_u8(body, pos, "Reason Code")
    _check_code(kind, code)
    if pos == len(body):
        return code, {}, pos
    found, pos = props.decode(body, pos, kind)
    return code, found, pos


def _codes(kind: PacketType, body: bytes, pos: int) -> list[int]:
    codes = list(body[pos:])
    if not codes:
        raise MalformedPacket(f"byte {pos}: at least one reason code expected")
    for code in codes:
        _check_code(kind, code)
    return codes


def _check_code(kind: PacketType, code: int) -> None:
    """[MQTT-3.2.2-8] [MQTT-3.4.2-1] [MQTT-3.9.3-2] [MQTT-3.14.2-1] [MQTT-3.15.2-1] and so on."""
    if code not in _CODES[kind]:
        raise ProtocolError(f"{kind.name} with the reason code 0x{code:02X}")


def _check_end(body: bytes, pos: int) -> None:
    if pos != len(body):
        raise MalformedPacket(f"{len(body) - pos} bytes after the end of the packet, at byte {pos}")


def _no_packet_id() -> ProtocolError:
    return ProtocolError("the Packet Identifier is 0")  # [MQTT-2.2.1-3], [MQTT-2.3.1-1] of 3.1.1


def _no_packet(first: int) -> MalformedPacket:
    """[MQTT-2.1.3-1]: reserved flags; type 0, and AUTH in 3.1.1, are no packets."""
    return MalformedPacket(f"0x{first:02X} begins no packet of this protocol level")


_Decoder: TypeAlias = Callable[[bytes, int], Packet]
_DECODERS: Final[dict[int, _Decoder]] = {
    0x10: _connect,
    0x20: _connack,
    0x82: _subscribe,
    0x90: _suback,
    0xA2: _unsubscribe,
    0xB0: _unsuback,
    0xC0: _pingreq,
    0xD0: _pingresp,
    0xE0: _disconnect,
    0xF0: _auth,
}
_ACKNOWLEDGEMENTS: Final = {
    0x40: PacketType.PUBACK,
    0x50: PacketType.PUBREC,
    0x62: PacketType.PUBREL,
    0x70: PacketType.PUBCOMP,
}


def _hex(codes: str) -> frozenset[int]:
    return frozenset(bytes.fromhex(codes))


_RECEIVED: Final = _hex("00 10 80 83 87 90 91 97 99")
_RELEASED: Final = _hex("00 92")
_CODES: Final = {
    PacketType.CONNACK: _hex("00 80 81 82 83 84 85 86 87 88 89 8A 8C 90 95 97 99 9A 9B 9C 9D 9F"),
    PacketType.PUBACK: _RECEIVED,
    PacketType.PUBREC: _RECEIVED,
    PacketType.PUBREL: _RELEASED,
    PacketType.PUBCOMP: _RELEASED,
    PacketType.SUBACK: _hex("00 01 02 80 83 87 8F 91 97 9E A1 A2"),
    PacketType.UNSUBACK: _hex("00 11 80 83 87 8F 91"),
    PacketType.DISCONNECT: _hex(
        "00 04 80 81 82 83 87 89 8B 8C 8D 8E 8F 90 93 94 95 96 97 98 99 9A 9B 9C 9D 9E 9F A0 A1 A2"
    ),
    PacketType.AUTH: _hex("00 18 19"),
}
"""The reason codes of each packet (2.4)."""
_SUBACK_311: Final = _hex("00 01 02 80")


# -- encoding ------------------------------------------------------------------------------------


def encode(packet: Packet, level: int) -> bytes:
    """The bytes of `packet` at a protocol level (a CONNECT: its own).

    Raises `ValueError` where a string or binary data has more than 65,535 bytes.
    """
    first, body = _ENCODERS[type(packet)](packet, level)
    return bytes((first,)) + wire.varint(len(body)) + body


def _encode_connect(packet: Connect, _level: int) -> tuple[int, bytes]:
    will, level = packet.will, packet.level
    flags = packet.clean_start << 1
    tail = wire.string(packet.client_id)
    if will is not None:
        flags |= 0x04 | will.qos << 3 | will.retain << 5
        tail += _encode_properties(will.properties, level)
        tail += wire.binary(will.topic) + wire.binary(will.payload)
    if packet.username is not None:
        flags |= 0x80
        tail += wire.string(packet.username)
    if packet.password is not None:
        flags |= 0x40
        tail += wire.binary(packet.password)
    head = b"\x00\x04MQTT" + bytes((level, flags)) + wire.u16(packet.keep_alive)
    return 0x10, head + _encode_properties(packet.properties, level) + tail


def _encode_connack(packet: ConnAck, level: int) -> tuple[int, bytes]:
    code = packet.reason_code
    if level != V5 and code >= ReasonCode.UNSPECIFIED_ERROR:
        code = connack_return_code(ReasonCode(code))
    head = bytes((packet.session_present, code))
    return 0x20, head + _encode_properties(packet.properties, level)


def _encode_publish(packet: Publish, level: int) -> tuple[int, bytes]:
    head = wire.binary(packet.topic) + (wire.u16(packet.packet_id) if packet.qos else b"")
    first = 0x30 | packet.dup << 3 | packet.qos << 1 | packet.retain
    return first, head + _encode_properties(packet.properties, level) + packet.payload


def _encode_acknowledgement(packet: Acknowledgement, level: int) -> tuple[int, bytes]:
    first = packet.type << 4 | (2 if packet.type is PacketType.PUBREL else 0)
    return first, wire.u16(packet.packet_id) + _encode_reason(packet, level)


def _encode_subscribe(packet: Subscribe, level: int) -> tuple[int, bytes]:
    head = wire.u16(packet.packet_id) + _encode_properties(packet.properties, level)
    return 0x82, head + b"".join(
        [wire.binary(name) + wire.u8(_option_bits(of, level)) for name, of in packet.filters]
    )


def _option_bits(of: SubscriptionOptions, level: int) -> int:
    if level != V5:
        return of.qos
    return of.qos | of.no_local << 2 | of.retain_as_published << 3 | of.retain_handling << 4


def _encode_suback(packet: SubAck, level: int) -> tuple[int, bytes]:
    head = wire.u16(packet.packet_id) + _encode_properties(packet.properties, level)
    return 0x90, head + bytes(packet.codes)


def _encode_unsubscribe(packet: Unsubscribe, level: int) -> tuple[int, bytes]:
    head = wire.u16(packet.packet_id) + _encode_properties(packet.properties, level)
    return 0xA2, head + b"".join([wire.binary(name) for name in packet.filters])


def _encode_unsuback(packet: UnsubAck, level: int) -> tuple[int, bytes]:
    head = wire.u16(packet.packet_id) + _encode_properties(packet.properties, level)
    return 0xB0, head + (bytes(packet.codes) if level == V5 else b"")


def _encode_disconnect(packet: Disconnect, level: int) -> tuple[int, bytes]:
    return 0xE0, _encode_reason(packet, level)


def _encode_auth(packet: Auth, level: int) -> tuple[int, bytes]:
    return 0xF0, _encode_reason(packet, level)


def _encode_properties(found: Properties, level: int) -> bytes:
    return props.encode(found) if level == V5 else b""


def _encode_reason(packet: Acknowledgement | Disconnect | Auth, level: int) -> bytes:
    """The Reason Code and the properties, as far as they say anything."""
    if level != V5:
        return b""
    if packet.properties:
        return bytes((packet.reason_code,)) + props.encode(packet.properties)
    return bytes((packet.reason_code,)) if packet.reason_code else b""


_ENCODERS: Final[dict[type, Callable[[Any, int], tuple[int, bytes]]]] = {
    Connect: _encode_connect,
    ConnAck: _encode_connack,
    Publish: _encode_publish,
    Acknowledgement: _encode_acknowledgement,
    Subscribe: _encode_subscribe,
    SubAck: _encode_suback,
    Unsubscribe: _encode_unsubscribe,
    UnsubAck: _encode_unsuback,
    PingReq: lambda _packet, _level: (0xC0, b""),
    PingResp: lambda _packet, _level: (0xD0, b""),
    Disconnect: _encode_disconnect,
    Auth: _encode_auth,
}
