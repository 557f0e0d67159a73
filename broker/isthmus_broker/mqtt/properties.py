"""MQTT 5.0 properties (2.2.2): one table, from which everything here follows.

Values are `int`, `str` and `bytes` as the table says; User Property is a list of pairs and
Subscription Identifier a list of numbers, since both may occur more than once. Flags are 0 or 1.
Which direction a property may go is left to who receives the packet, but for PUBLISH.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final, NamedTuple, TypeAlias

from isthmus_broker.errors import MalformedPacket, ProtocolError
from isthmus_broker.mqtt import wire
from isthmus_broker.mqtt.codes import PacketType, ReasonCode


class Property(IntEnum):
    """Property identifiers (2.2.2.2)."""

    PAYLOAD_FORMAT_INDICATOR = 0x01
    MESSAGE_EXPIRY_INTERVAL = 0x02
    CONTENT_TYPE = 0x03
    RESPONSE_TOPIC = 0x08
    CORRELATION_DATA = 0x09
    SUBSCRIPTION_IDENTIFIER = 0x0B
    SESSION_EXPIRY_INTERVAL = 0x11
    ASSIGNED_CLIENT_IDENTIFIER = 0x12
    SERVER_KEEP_ALIVE = 0x13
    AUTHENTICATION_METHOD = 0x15
    AUTHENTICATION_DATA = 0x16
    REQUEST_PROBLEM_INFORMATION = 0x17
    WILL_DELAY_INTERVAL = 0x18
    REQUEST_RESPONSE_INFORMATION = 0x19
    RESPONSE_INFORMATION = 0x1A
    SERVER_REFERENCE = 0x1C
    REASON_STRING = 0x1F
    RECEIVE_MAXIMUM = 0x21
    TOPIC_ALIAS_MAXIMUM = 0x22
    TOPIC_ALIAS = 0x23
    MAXIMUM_QOS = 0x24
    RETAIN_AVAILABLE = 0x25
    USER_PROPERTY = 0x26
    MAXIMUM_PACKET_SIZE = 0x27
    WILDCARD_SUBSCRIPTION_AVAILABLE = 0x28
    SUBSCRIPTION_IDENTIFIER_AVAILABLE = 0x29
    SHARED_SUBSCRIPTION_AVAILABLE = 0x2A


PropertyValue: TypeAlias = int | str | bytes | list[int] | list[tuple[str, str]]
Properties: TypeAlias = dict[Property, PropertyValue]

WILL: Final = 0
"""Stands for the Will Properties where a packet type is expected (3.1.3.2)."""

_TRAVELLING: Final = frozenset(
    {
        Property.PAYLOAD_FORMAT_INDICATOR,
        Property.CONTENT_TYPE,
        Property.RESPONSE_TOPIC,
        Property.CORRELATION_DATA,
        Property.USER_PROPERTY,
    }
)
"""What a server hands on unchanged and in order [MQTT-3.3.2-4] [-15] [-16] [-17] [-18] [-20]."""


class _Type(NamedTuple):
    """A data type (1.5): how it is read and written."""

    read: Callable[[bytes, int, str], tuple[Any, int]]
    write: Callable[[Any], bytes]


_U8: Final = _Type(wire.read_u8, wire.u8)
_U16: Final = _Type(wire.read_u16, wire.u16)
_U32: Final = _Type(wire.read_u32, wire.u32)
_VARINT: Final = _Type(wire.read_varint, wire.varint)
_STRING: Final = _Type(wire.read_string, wire.string)
_BINARY: Final = _Type(wire.read_binary, wire.binary)
_PAIR: Final = _Type(wire.read_pair, wire.pair)


class _Row:
    """What is known of one property; `refusal` answers a number below `least` or above `most`."""

    __slots__ = ("least", "most", "name", "packets", "read", "refusal", "text", "travels", "write")

    def __init__(
        self,
        name: Property,
        type: _Type,  # noqa: A002
        packets: tuple[int, ...],
        least: int = 0,
        most: int = 0xFFFFFFFF,
        refusal: int = ReasonCode.PROTOCOL_ERROR,
    ) -> None:
        self.name = name
        self.text = name.name.replace("_", " ").title().replace("Qos", "QoS")
        self.read, self.write = type
        self.packets = packets
        self.least = least
        self.most = most
        self.refusal = refusal
        self.travels = name in _TRAVELLING


_P: Final = PacketType
_MESSAGE: Final = (_P.PUBLISH, WILL)
_OPENING: Final = (_P.CONNECT, _P.CONNACK)
_ANSWERS: Final = (
    *(_P.CONNACK, _P.PUBACK, _P.PUBREC, _P.PUBREL, _P.PUBCOMP),
    *(_P.SUBACK, _P.UNSUBACK, _P.DISCONNECT, _P.AUTH),
)
_ALL: Final = (*_MESSAGE, *_ANSWERS, _P.CONNECT, _P.SUBSCRIBE, _P.UNSUBSCRIBE)

_TABLE: Final = (
    _Row(Property.PAYLOAD_FORMAT_INDICATOR, _U8, _MESSAGE, most=1),
    _Row(Property.MESSAGE_EXPIRY_INTERVAL, _U32, _MESSAGE),
    _Row(Property.CONTENT_TYPE, _STRING, _MESSAGE),
    _Row(Property.RESPONSE_TOPIC, _STRING, _MESSAGE),
    _Row(Property.CORRELATION_DATA, _BINARY, _MESSAGE),
    _Row(Property.SUBSCRIPTION_IDENTIFIER, _VARINT, (_P.PUBLISH, _P.SUBSCRIBE), least=1),
    _Row(Property.SESSION_EXPIRY_INTERVAL, _U32, (*_OPENING, _P.DISCONNECT)),
    _Row(Property.ASSIGNED_CLIENT_IDENTIFIER, _STRING, (_P.CONNACK,)),
    _Row(Property.SERVER_KEEP_ALIVE, _U16, (_P.CONNACK,)),
    _Row(Property.AUTHENTICATION_METHOD, _STRING, (*_OPENING, _P.AUTH)),
    _Row(Property.AUTHENTICATION_DATA, _BINARY, (*_OPENING, _P.AUTH)),
    _Row(Property.REQUEST_PROBLEM_INFORMATION, _U8, (_P.CONNECT,), most=1),
    _Row(Property.WILL_DELAY_INTERVAL, _U32, (WILL,)),
    _Row(Property.REQUEST_RESPONSE_INFORMATION, _U8, (_P.CONNECT,), most=1),
    _Row(Property.RESPONSE_INFORMATION, _STRING, (_P.CONNACK,)),
    _Row(Property.SERVER_REFERENCE, _STRING, (_P.CONNACK, _P.DISCONNECT)),
    _Row(Property.REASON_STRING, _STRING, _ANSWERS),
    _Row(Property.RECEIVE_MAXIMUM, _U16, _OPENING, least=1),
    _Row(Property.TOPIC_ALIAS_MAXIMUM, _U16, _OPENING),
    _Row(  # [MQTT-3.3.2-8]
        Property.TOPIC_ALIAS, _U16, (_P.PUBLISH,), 1, refusal=ReasonCode.TOPIC_ALIAS_INVALID
    ),
    _Row(Property.MAXIMUM_QOS, _U8, (_P.CONNACK,), most=1),
    _Row(Property.RETAIN_AVAILABLE, _U8, (_P.CONNACK,), most=1),
    _Row(Property.USER_PROPERTY, _PAIR, _ALL),
    _Row(Property.MAXIMUM_PACKET_SIZE, _U32, _OPENING, least=1),
    _Row(Property.WILDCARD_SUBSCRIPTION_AVAILABLE, _U8, (_P.CONNACK,), most=1),
    _Row(Property.SUBSCRIPTION_IDENTIFIER_AVAILABLE, _U8, (_P.CONNACK,), most=1),
    _Row(Property.SHARED_SUBSCRIPTION_AVAILABLE, _U8, (_P.CONNACK,), most=1),
)

_ROWS: Final = {int(row.name): row for row in _TABLE}
_ALLOWED: Final = {
    kind: {int(row.name): row for row in _TABLE if kind in row.packets} for kind in (WILL, *_P)
}
_PASSING: Final = {int(name): _ROWS[name] for name in _TRAVELLING}
_MANY: Final = wire.MAX_VARINT
_SUBSCRIPTION_IDENTIFIER: Final = Property.SUBSCRIPTION_IDENTIFIER
_USER_PROPERTY: Final = Property.USER_PROPERTY
_RESPONSE_TOPIC: Final = Property.RESPONSE_TOPIC


def decode(data: bytes, pos: int, packet_type: int) -> tuple[Properties, int]:
    """The properties at `pos`, their length first, and the position after them.

    `packet_type` may be `WILL`. Positions in errors count from the first property. Raises
    `MalformedPacket` for an identifier that is none or not for this packet and for a wrong type
    (2.2.2.2), `ProtocolError` for one that comes twice and for a value that it can't have.
    """
    size, pos = wire.read_varint(data, pos, "Property Length")
    if not size:
        return {}, pos
    end = pos + size
    if end > len(data):
        raise wire.truncated("the properties", pos, size, len(data) - pos)
    identifiers = _MANY if packet_type == _P.PUBLISH else 1
    return _parse(data[pos:end], _ALLOWED[packet_type], identifiers)[0], end


def encode(properties: Properties) -> bytes:
    """`properties` in their order, behind their length."""
    if not properties:
        return b"\x00"
    encoded = b"".join([_encode(name, value) for name, value in properties.items()])
    return wire.varint(len(encoded)) + encoded


def pass_through(
    data: bytes, start: int, end: int, *, from_server: bool = False
) -> tuple[bytes, Properties]:
    """The properties of a PUBLISH in `data[start:end]` (without their length), and what travels.

    Returns the bytes of those that go to each receiver unchanged and in order (Payload Format
    Indicator, Content Type, Response Topic, Correlation Data, User Property), and all of them
    decoded. Only a server may send Subscription Identifiers [MQTT-3.3.4-6]. Raises as `decode`.
    """
    raw = data[start:end]
    found, travelling = _parse(raw, _ALLOWED[_P.PUBLISH], _MANY if from_server else 0)
    return travelling, found


def decode_pass_through(raw: bytes) -> Properties:
    """The properties in `Message.properties`; raises as `decode` does."""
    return _parse(raw, _PASSING, 0)[0] if raw else {}


def encode_pass_through(properties: Properties) -> bytes:
    """Those of `properties` that travel, for `Message.properties`: without their length."""
    return b"".join([_encode(k, v) for k, v in properties.items() if k in _TRAVELLING])


def _parse(raw: bytes, rows: dict[int, _Row], identifiers: int) -> tuple[Properties, bytes]:
    """All properties in `raw`, and the bytes of those that travel.

    `identifiers`: how many Subscription Identifiers may come.
    """
    found: Properties = {}
    travelling: list[bytes] = []
    size = len(raw)
    pos = mark = 0
    while pos < size:
        at = pos
        row = rows.get(raw[pos])
        if row is None:
            raise _unexpected(raw[pos], at)
        value, pos = row.read(raw, pos + 1, row.text)
        _add(found, row, value, identifiers)
        if not row.travels:
            if at > mark:
                travelling.append(raw[mark:at])
            mark = pos
    if not mark:
        return found, raw
    travelling.append(raw[mark:])
    return found, b"".join(travelling)


def _add(found: Properties, row: _Row, value: Any, identifiers: int) -> None:
    name = row.name
    if isinstance(value, int):
        if not row.least <= value <= row.most:
            raise ProtocolError(f"{row.text} can't be {value}", row.refusal)
    elif name is _RESPONSE_TOPIC and (not value or "+" in value or "#" in value):
        raise ProtocolError("Response Topic is not a topic name")  # [MQTT-3.3.2-14]
    if name is _USER_PROPERTY or name is _SUBSCRIPTION_IDENTIFIER:
        values: Any = found.setdefault(name, [])
        values.append(value)
        if name is _SUBSCRIPTION_IDENTIFIER and len(values) > identifiers:
            wrong = "comes twice" if identifiers else "is not for a client to send"
            raise ProtocolError(f"{row.text} {wrong}")
    elif name in found:
        raise ProtocolError(f"{row.text} comes twice")
    else:
        found[name] = value


def _encode(name: Property, value: PropertyValue) -> bytes:
    head, write = bytes((name,)), _ROWS[name].write
    if isinstance(value, list):
        return b"".join([head + write(one) for one in value])
    return head + write(value)


def _unexpected(identifier: int, pos: int) -> MalformedPacket:
    row = _ROWS.get(identifier)
    what = f"{row.text} is not for this packet" if row else f"0x{identifier:02X} is no property"
    return MalformedPacket(f"{what}, at byte {pos} of the properties")
