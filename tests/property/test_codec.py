"""The codec, for packets of every kind and for bytes of no kind."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from isthmus_broker.errors import MalformedPacket, PeerError
from isthmus_broker.mqtt import packets, properties, wire
from isthmus_broker.mqtt.codes import V5, V311, PacketType
from isthmus_broker.mqtt.packets import (
    Acknowledgement,
    Auth,
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
    Will,
)
from isthmus_broker.mqtt.properties import WILL, Properties, Property

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
NAME = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=20
)
TOPIC = NAME.map(str.encode)
FILTER = TEXT.map(str.encode)
DATA = st.binary(max_size=40)
U16 = st.integers(0, 0xFFFF)
U32 = st.integers(0, 0xFFFFFFFF)
PACKET_ID = st.integers(1, 0xFFFF)
FLAG = st.integers(0, 1)
IDENTIFIER = st.integers(1, 268_435_455)

# Written down once more, from table 2-4 of the specification, as a check on the codec's own table.
P = Property
VALUES = {
    P.PAYLOAD_FORMAT_INDICATOR: FLAG,
    P.MESSAGE_EXPIRY_INTERVAL: U32,
    P.CONTENT_TYPE: TEXT,
    P.RESPONSE_TOPIC: NAME,
    P.CORRELATION_DATA: DATA,
    P.SUBSCRIPTION_IDENTIFIER: st.lists(IDENTIFIER, min_size=1, max_size=3),
    P.SESSION_EXPIRY_INTERVAL: U32,
    P.ASSIGNED_CLIENT_IDENTIFIER: TEXT,
    P.SERVER_KEEP_ALIVE: U16,
    P.AUTHENTICATION_METHOD: TEXT,
    P.AUTHENTICATION_DATA: DATA,
    P.REQUEST_PROBLEM_INFORMATION: FLAG,
    P.WILL_DELAY_INTERVAL: U32,
    P.REQUEST_RESPONSE_INFORMATION: FLAG,
    P.RESPONSE_INFORMATION: TEXT,
    P.SERVER_REFERENCE: TEXT,
    P.REASON_STRING: TEXT,
    P.RECEIVE_MAXIMUM: PACKET_ID,
    P.TOPIC_ALIAS_MAXIMUM: U16,
    P.TOPIC_ALIAS: PACKET_ID,
    P.MAXIMUM_QOS: FLAG,
    P.RETAIN_AVAILABLE: FLAG,
    P.USER_PROPERTY: st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3),
    P.MAXIMUM_PACKET_SIZE: st.integers(1, 0xFFFFFFFF),
    P.WILDCARD_SUBSCRIPTION_AVAILABLE: FLAG,
    P.SUBSCRIPTION_IDENTIFIER_AVAILABLE: FLAG,
    P.SHARED_SUBSCRIPTION_AVAILABLE: FLAG,
}
TRAVELLING = [0x01, 0x03, 0x08, 0x09, 0x26]
ANSWER = [0x1F, 0x26]
ALLOWED: dict[int, list[int]] = {
    PacketType.CONNECT: [0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27],
    PacketType.CONNACK: [
        *(0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22),
        *(0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A),
    ],
    PacketType.PUBLISH: [*TRAVELLING, 0x02, 0x0B, 0x23],
    WILL: [*TRAVELLING, 0x02, 0x18],
    PacketType.PUBACK: ANSWER,
    PacketType.PUBREC: ANSWER,
    PacketType.PUBREL: ANSWER,
    PacketType.PUBCOMP: ANSWER,
    PacketType.SUBSCRIBE: [0x0B, 0x26],
    PacketType.SUBACK: ANSWER,
    PacketType.UNSUBSCRIBE: [0x26],
    PacketType.UNSUBACK: ANSWER,
    PacketType.DISCONNECT: [0x11, 0x1C, *ANSWER],
    PacketType.AUTH: [0x15, 0x16, *ANSWER],
}


def props(kind: int, level: int) -> st.SearchStrategy[Properties]:
    if level != V5:
        return st.just({})
    names = st.lists(st.sampled_from(ALLOWED[kind]).map(Property), unique=True, max_size=6)
    return names.flatmap(lambda some: st.tuples(*(_value(kind, name) for name in some))).map(dict)


def _value(kind: int, name: Property) -> st.SearchStrategy[tuple[Property, object]]:
    values: st.SearchStrategy[object] = VALUES[name]
    if name is P.SUBSCRIPTION_IDENTIFIER and kind == PacketType.SUBSCRIBE:
        values = IDENTIFIER.map(lambda one: [one])
    return st.tuples(st.just(name), values)


@st.composite
def connects(draw: st.DrawFn, level: int) -> Connect:
    username = draw(st.none() | TEXT)
    password = None if username is None and level != V5 else draw(st.none() | DATA)
    will = st.builds(Will, FILTER, DATA, st.integers(0, 2), st.booleans(), props(WILL, level))
    asked = draw(props(PacketType.CONNECT, level))
    if P.AUTHENTICATION_METHOD not in asked:
        asked.pop(P.AUTHENTICATION_DATA, None)
    clean, keep_alive = draw(st.booleans()), draw(U16)
    return Connect(
        draw(TEXT), level, clean, keep_alive, draw(st.none() | will), username, password, asked
    )


@st.composite
def publishes(draw: st.DrawFn, level: int) -> Publish:
    qos = draw(st.integers(0, 2))
    found = draw(props(PacketType.PUBLISH, level))
    topic = draw(st.just(b"") | TOPIC if P.TOPIC_ALIAS in found else TOPIC)
    packet_id = draw(PACKET_ID) if qos else 0
    dup = bool(qos) and draw(st.booleans())
    return Publish(topic, draw(DATA), qos, draw(st.booleans()), dup, packet_id, found)


def acknowledgements(level: int) -> st.SearchStrategy[Acknowledgement]:
    def of(kind: PacketType, codes: list[int]) -> st.SearchStrategy[Acknowledgement]:
        code = st.sampled_from(codes if level == V5 else [0])
        return st.builds(Acknowledgement, st.just(kind), PACKET_ID, code, props(kind, level))

    first = [0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]
    return (
        of(PacketType.PUBACK, first)
        | of(PacketType.PUBREC, first)
        | of(PacketType.PUBREL, [0, 0x92])
        | of(PacketType.PUBCOMP, [0, 0x92])
    )


@st.composite
def subscribes(draw: st.DrawFn, level: int) -> Subscribe:
    options = (
        st.builds(
            SubscriptionOptions,
            st.integers(0, 2),
            st.booleans(),
            st.booleans(),
            st.integers(0, 2),
        )
        if level == V5
        else st.builds(SubscriptionOptions, st.integers(0, 2))
    )
    filters = draw(st.lists(st.tuples(FILTER, options), min_size=1, max_size=4))
    return Subscribe(draw(PACKET_ID), filters, draw(props(PacketType.SUBSCRIBE, level)))


def some(*codes: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.sampled_from(codes), min_size=1, max_size=5)


@st.composite
def connacks(draw: st.DrawFn, level: int) -> ConnAck:
    code = draw(st.sampled_from([0, 0x80, 0x87, 0x9F] if level == V5 else [0, 1, 2, 3, 4, 5]))
    present = not code and draw(st.booleans())
    return ConnAck(present, code, draw(props(PacketType.CONNACK, level)))


def every(level: int) -> st.SearchStrategy[Packet]:
    five = level == V5
    suback = some(0, 1, 2, 0x80, 0x87, 0xA2) if five else some(0, 1, 2, 0x80)
    unsuback = some(0, 0x11, 0x87) if five else st.just([])
    filters = st.lists(FILTER, min_size=1, max_size=4)
    kinds: list[st.SearchStrategy[Packet]] = [
        connects(level),
        connacks(level),
        publishes(level),
        acknowledgements(level),
        subscribes(level),
        st.builds(SubAck, PACKET_ID, suback, props(PacketType.SUBACK, level)),
        st.builds(Unsubscribe, PACKET_ID, filters, props(PacketType.UNSUBSCRIBE, level)),
        st.builds(UnsubAck, PACKET_ID, unsuback, props(PacketType.UNSUBACK, level)),
        st.just(PingReq()),
        st.just(PingResp()),
        st.builds(
            Disconnect,
            st.sampled_from([0, 4, 0x82, 0xA2] if five else [0]),
            props(PacketType.DISCONNECT, level),
        ),
    ]
    if five:
        code = st.sampled_from([0, 0x18, 0x19])
        kinds.append(st.builds(Auth, code, props(PacketType.AUTH, level)))
    return st.one_of(kinds)


LEVEL = st.sampled_from([V311, V5])
WITH_LEVEL = LEVEL.flatmap(lambda level: st.tuples(every(level), st.just(level)))


def body_of(data: bytes) -> bytes:
    size, pos = wire.read_varint(data, 1, "Remaining Length")
    assert size == len(data) - pos
    return data[pos:]


@given(WITH_LEVEL)
def test_what_was_encoded_decodes_to_the_same(case: tuple[Packet, int]) -> None:
    packet, level = case
    data = packets.encode(packet, level)
    decoded = packets.decode(data[0], body_of(data), level)
    assert decoded == packet
    assert packets.encode(decoded, level) == data


def outcome(first: int, body: bytes, level: int) -> Packet | PeerError:
    """What decoding gives; anything but a `PeerError` comes through."""
    try:
        return packets.decode(first, body, level)
    except PeerError as error:
        return error


@given(WITH_LEVEL)
def test_every_truncation_is_refused(case: tuple[Packet, int]) -> None:
    """Or is another packet of its kind, where a list, a payload or a reason ends the packet."""
    packet, level = case
    data = packets.encode(packet, level)
    body = body_of(data)
    for size in range(len(body)):
        found = outcome(data[0], body[:size], level)
        if not isinstance(found, PeerError):
            assert type(found) is type(packet)
            assert found != packet
            assert not isinstance(found, Connect | ConnAck)


@given(st.integers(0, 255), st.binary(max_size=80), LEVEL)
@example(0x10, b"\x00\x04MQTT\x05\x02\x00\x00\x05\x26\x00\x01", V5)
def test_bytes_of_no_kind_raise_only_peer_errors(first: int, body: bytes, level: int) -> None:
    found = outcome(first, body, level)
    if isinstance(found, PeerError):
        assert 0x80 <= found.code <= 0xA2


@given(WITH_LEVEL, st.data())
def test_a_damaged_packet_raises_only_peer_errors(
    case: tuple[Packet, int], data: st.DataObject
) -> None:
    packet, level = case
    encoded = packets.encode(packet, level)
    body = bytearray(body_of(encoded))
    if body:
        for at in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=3)):
            body[at] = data.draw(st.integers(0, 255))
    found = outcome(encoded[0], bytes(body), level)
    if isinstance(found, PeerError):
        assert 0x80 <= found.code <= 0xA2
    else:
        again = packets.encode(found, level)
        assert packets.decode(again[0], body_of(again), level) == found


@given(props(PacketType.PUBLISH, V5))
def test_what_travels_decodes_to_what_travelled(found: Properties) -> None:
    encoded = properties.encode(found)
    start = len(encoded) - wire.read_varint(encoded, 0, "")[0]
    travelling, decoded = properties.pass_through(encoded, start, len(encoded), from_server=True)
    assert decoded == found
    own = {name: value for name, value in found.items() if name in TRAVELLING}
    assert travelling == properties.encode_pass_through(found)
    assert properties.decode_pass_through(travelling) == own


@given(st.sampled_from(sorted(ALLOWED)), st.sampled_from(list(Property)), st.data())
def test_a_property_is_taken_only_where_it_belongs(
    kind: int, name: Property, data: st.DataObject
) -> None:
    """Table 2-4 of the specification."""
    value = data.draw(_value(kind, name))[1]
    encoded = properties.encode({name: value})  # type: ignore[dict-item]
    if name in ALLOWED[kind]:
        assert properties.decode(encoded, 0, kind) == ({name: value}, len(encoded))
    else:
        with pytest.raises(MalformedPacket):
            properties.decode(encoded, 0, kind)


@given(st.binary(max_size=20))
def test_text_is_what_python_and_the_specification_call_utf_8(raw: bytes) -> None:
    try:
        well_formed = "\0" not in raw.decode()
    except UnicodeDecodeError:
        well_formed = False
    assert wire.is_text(raw) is well_formed
