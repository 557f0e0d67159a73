"""Control packets against bytes written by hand from the specification: one table, every test."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from isthmus_broker.errors import MalformedPacket, PeerError, ProtocolError
from isthmus_broker.mqtt import packets, wire
from isthmus_broker.mqtt.codes import V5, V311, PacketType, ReasonCode
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
from isthmus_broker.mqtt.properties import Property
from isthmus_broker.mqtt.scan import scan

ACK = Acknowledgement
T = PacketType
P = Property


class Good(NamedTuple):
    """A packet and its bytes. `exact`: those are also what `encode` writes."""

    name: str
    clause: str
    level: int
    hex: str
    packet: Packet
    exact: bool = True


class Bad(NamedTuple):
    """Bytes that are refused. `hex` has no Remaining Length: first byte, then the body."""

    name: str
    clause: str
    level: int
    hex: str
    error: type[PeerError]
    code: int = 0


GOOD = [
    # CONNECT
    Good("connect", "3.1", V311, "10 0D 0004 4D515454 04 02 003C 0001 61",
         Connect("a", V311, True, 60)),
    Good("connect, empty client id", "3.1.3.1", V5, "10 0D 0004 4D515454 05 02 0000 00 0000",
         Connect("", V5)),
    Good("connect, everything", "3.1", V311,
         "10 1D 0004 4D515454 04 F4 000A 0001 63 0003 772F74 0002 6869 0001 75 0002 7077",
         Connect("c", V311, False, 10, Will(b"w/t", b"hi", 2, True), "u", b"pw")),
    Good("connect, properties and will properties", "3.1.2.11, 3.1.3.2", V5,
         "10 34 0004 4D515454 05 0E 003C 12 11 0000000A 21 0014 27 00001000 22 0005 17 00"
         " 0001 63 0A 18 00000005 02 0000003C 0003 772F74 0002 6869",
         Connect("c", V5, True, 60,
                 Will(b"w/t", b"hi", 1, False,
                      {P.WILL_DELAY_INTERVAL: 5, P.MESSAGE_EXPIRY_INTERVAL: 60}),
                 properties={P.SESSION_EXPIRY_INTERVAL: 10, P.RECEIVE_MAXIMUM: 20,
                             P.MAXIMUM_PACKET_SIZE: 4096, P.TOPIC_ALIAS_MAXIMUM: 5,
                             P.REQUEST_PROBLEM_INFORMATION: 0})),
    Good("connect, password alone", "3.1.2.9", V5,
         "10 11 0004 4D515454 05 42 0000 00 0001 61 0001 70", Connect("a", password=b"p")),
    Good("connect, authentication", "3.1.2.11.9", V5,
         "10 16 0004 4D515454 05 02 0000 08 15 0001 6D 16 0001 FF 0001 61",
         Connect("a", properties={P.AUTHENTICATION_METHOD: "m", P.AUTHENTICATION_DATA: b"\xff"})),
    # CONNACK
    Good("connack", "3.2", V311, "20 02 01 00", ConnAck(True)),
    Good("connack, refused", "3.2.2.3 of 3.1.1", V311, "20 02 00 05", ConnAck(False, 5)),
    Good("connack", "3.2", V5, "20 03 00 00 00", ConnAck()),
    Good("connack, properties", "3.2.2.3", V5,
         "20 13 00 00 10 24 01 25 00 12 0002 6964 13 003C 28 00 2A 01",
         ConnAck(False, 0, {P.MAXIMUM_QOS: 1, P.RETAIN_AVAILABLE: 0,
                            P.ASSIGNED_CLIENT_IDENTIFIER: "id", P.SERVER_KEEP_ALIVE: 60,
                            P.WILDCARD_SUBSCRIPTION_AVAILABLE: 0,
                            P.SHARED_SUBSCRIPTION_AVAILABLE: 1})),
    Good("connack, refused", "3.2.2.2", V5, "20 08 00 87 05 1F 0002 6E6F",
         ConnAck(False, 0x87, {P.REASON_STRING: "no"})),
    # PUBLISH
    Good("publish, QoS 0", "3.3", V311, "30 07 0003 612F62 6869", Publish(b"a/b", b"hi")),
    Good("publish, no payload", "3.3.3", V311, "31 03 0001 61", Publish(b"a", retain=True)),
    Good("publish, QoS 1, DUP", "3.3", V311, "3A 06 0001 61 0007 78",
         Publish(b"a", b"x", 1, False, True, 7)),
    Good("publish, QoS 2", "3.3", V5, "34 07 0001 61 FFFF 00 78",
         Publish(b"a", b"x", 2, packet_id=65535)),
    Good("publish, topic not ASCII", "1.5.4", V311, "30 04 0002 C3A9", Publish("é".encode())),
    Good("publish, byte order mark kept", "MQTT-1.5.4-3", V311, "30 05 0003 EFBBBF",
         Publish("\ufeff".encode())),
    Good("publish, alias without topic", "3.3.2.3.4", V5, "30 07 0000 03 23 0005 78",
         Publish(b"", b"x", properties={P.TOPIC_ALIAS: 5})),
    Good("publish, all properties", "3.3.2.3", V5,
         "30 2E 0001 61 2A 01 01 02 0000000A 23 0001 08 0001 72 09 0002 00FF"
         " 26 0001 6B 0001 76 26 0001 6B 0001 77 0B 01 0B 8001 03 0001 63",
         Publish(b"a", properties={P.PAYLOAD_FORMAT_INDICATOR: 1, P.MESSAGE_EXPIRY_INTERVAL: 10,
                                   P.TOPIC_ALIAS: 1, P.RESPONSE_TOPIC: "r",
                                   P.CORRELATION_DATA: b"\x00\xff",
                                   P.USER_PROPERTY: [("k", "v"), ("k", "w")],
                                   P.SUBSCRIPTION_IDENTIFIER: [1, 128], P.CONTENT_TYPE: "c"})),
    # PUBACK, PUBREC, PUBREL, PUBCOMP
    *(Good(kind.name.lower(), "3.4 to 3.7", level, f"{first} 02 0102", ACK(kind, 0x102))
      for level in (V311, V5)
      for kind, first in ((T.PUBACK, "40"), (T.PUBREC, "50"), (T.PUBREL, "62"), (T.PUBCOMP, "70"))),
    Good("puback, reason", "3.4.2.1", V5, "40 03 0001 10", ACK(T.PUBACK, 1, 0x10)),
    Good("pubrel, reason and property", "3.6.2.2", V5, "62 0A 0001 92 06 1F 0003 676F6E",
         ACK(T.PUBREL, 1, 0x92, {P.REASON_STRING: "gon"})),
    Good("puback, success spelled out", "3.4.2.1", V5, "40 04 0001 00 00", ACK(T.PUBACK, 1), False),
    # SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK
    Good("subscribe", "3.8", V311, "82 0B 000A 0003 612F62 01 0000 02",
         Subscribe(10, [(b"a/b", SubscriptionOptions(1)), (b"", SubscriptionOptions(2))])),
    Good("subscribe, options", "3.8.3.1", V5, "82 0B 000A 02 0B 07 0003 612F23 2E",
         Subscribe(10, [(b"a/#", SubscriptionOptions(2, True, True, 2))],
                   {P.SUBSCRIPTION_IDENTIFIER: [7]})),
    Good("suback", "3.9", V311, "90 06 000A 00 01 02 80", SubAck(10, [0, 1, 2, 0x80])),
    Good("suback", "3.9", V5, "90 05 000A 00 02 8F", SubAck(10, [2, 0x8F])),
    Good("unsubscribe", "3.10", V311, "A2 05 000A 0001 61", Unsubscribe(10, [b"a"])),
    Good("unsubscribe", "3.10", V5, "A2 10 000A 07 26 0001 6B 0001 76 0001 61 0001 62",
         Unsubscribe(10, [b"a", b"b"], {P.USER_PROPERTY: [("k", "v")]})),
    Good("unsuback", "3.11", V311, "B0 02 000A", UnsubAck(10)),
    Good("unsuback", "3.11", V5, "B0 05 000A 00 00 11", UnsubAck(10, [0, 0x11])),
    # the rest
    *(good for level in (V311, V5) for good in (
        Good("pingreq", "3.12", level, "C0 00", PingReq()),
        Good("pingresp", "3.13", level, "D0 00", PingResp()),
        Good("disconnect", "3.14", level, "E0 00", Disconnect()))),
    Good("disconnect, reason", "3.14.2.1", V5, "E0 01 04", Disconnect(4)),
    Good("disconnect, properties", "3.14.2.2", V5, "E0 0C 9C 0A 11 00000000 1C 0002 6E32",
         Disconnect(0x9C, {P.SESSION_EXPIRY_INTERVAL: 0, P.SERVER_REFERENCE: "n2"})),
    Good("disconnect, normal spelled out", "3.14.2.1", V5, "E0 02 00 00", Disconnect(), False),
    Good("auth", "3.15", V5, "F0 06 18 04 15 0001 6D", Auth(0x18, {P.AUTHENTICATION_METHOD: "m"})),
    Good("auth, success", "3.15.2.1", V5, "F0 00", Auth()),
]  # fmt: skip

M, E = MalformedPacket, ProtocolError
_NAME = "0004 4D515454"


def _connect5(properties: str) -> str:
    size = len(bytes.fromhex(properties))
    return f"10 {_NAME} 05 02 0000 {size:02X} {properties} 0001 61"


def _connack(properties: str) -> str:
    return f"20 00 00 {len(bytes.fromhex(properties)):02X} {properties}"


def _publish(properties: str) -> str:
    return f"30 0001 61 {len(bytes.fromhex(properties)):02X} {properties} 78"


BAD = [
    *(Bad(f"no packet {first}", "MQTT-2.1.3-1", V5, first, M) for first in (
        "00", "11", "21", "41 0001", "52 0001", "60 0001", "63 0001", "72 0001",
        "80 0001 00 0001 61 00", "91 0001 00 00", "A0 0001 00 0001 61", "B2 0001 00 00",
        "C1", "D8", "E4", "F1")),
    Bad("AUTH", "3.15", V311, "F0", M),
    # CONNECT
    Bad("protocol name", "MQTT-3.1.2-1", V311, "10 0004 4D515455 04 02 003C 0001 61", E, 0x84),
    Bad("MQTT 3.1", "MQTT-3.1.2-2", V311, "10 0006 4D5149736470 03 02 003C 0001 61", E, 0x84),
    Bad("level 6", "MQTT-3.1.2-2", V311, f"10 {_NAME} 06 02 003C 0001 61", E, 0x84),
    Bad("reserved connect flag", "MQTT-3.1.2-3", V311, f"10 {_NAME} 04 03 003C 0001 61", M),
    Bad("will QoS without will", "MQTT-3.1.2-11", V5, f"10 {_NAME} 05 0A 003C 00 0001 61", M),
    Bad("will retain without will", "MQTT-3.1.2-13", V5, f"10 {_NAME} 05 22 003C 00 0001 61", M),
    Bad("will QoS 3", "MQTT-3.1.2-12", V311,
        f"10 {_NAME} 04 1E 003C 0001 61 0001 74 0001 78", M),
    Bad("password without user name", "MQTT-3.1.2-22 of 3.1.1", V311,
        f"10 {_NAME} 04 42 003C 0001 61 0001 70", M),
    Bad("connect, bytes left over", "3.1.3", V311, f"10 {_NAME} 04 02 003C 0001 61 00", M),
    Bad("client id not UTF-8", "MQTT-1.5.4-1", V311, f"10 {_NAME} 04 02 003C 0001 FF", M),
    Bad("client id with a surrogate", "MQTT-1.5.4-1", V311,
        f"10 {_NAME} 04 02 003C 0003 EDA080", M),
    Bad("client id, overlong UTF-8", "MQTT-1.5.4-1", V311, f"10 {_NAME} 04 02 003C 0002 C0AF", M),
    Bad("client id with U+0000", "MQTT-1.5.4-2", V311, f"10 {_NAME} 04 02 003C 0001 00", M),
    Bad("authentication data alone", "3.1.2.11.10", V5, _connect5("16 0001 FF"), E),
    Bad("will property of a packet", "2.2.2.2", V5, _connect5("18 00000001"), M),
    Bad("packet property of a will", "3.1.3.2", V5,
        f"10 {_NAME} 05 06 0000 00 0001 61 03 21 0001 0001 74 0000", M),
    Bad("Receive Maximum 0", "3.1.2.11.3", V5, _connect5("21 0000"), E),
    Bad("Maximum Packet Size 0", "3.1.2.11.4", V5, _connect5("27 00000000"), E),
    Bad("Request Response Information 2", "3.1.2.11.6", V5, _connect5("19 02"), E),
    Bad("Request Problem Information 2", "3.1.2.11.7", V5, _connect5("17 02"), E),
    Bad("Session Expiry Interval twice", "3.1.2.11.2", V5,
        _connect5("11 00000001 11 00000001"), E),
    # CONNACK
    Bad("connack flags", "MQTT-3.2.2-1", V311, "20 02 00", M),
    Bad("session present, refused", "MQTT-3.2.2-6", V5, "20 01 87 00", E),
    Bad("return code 6", "3.2.2.3 of 3.1.1", V311, "20 00 06", E),
    Bad("connack reason", "MQTT-3.2.2-8", V5, "20 00 04 00", E),
    *(Bad(f"flag {number} is 2", "3.2.2.3", V5, _connack(f"{number} 02"), E)
      for number in ("24", "25", "28", "29", "2A")),
    # PUBLISH
    Bad("QoS 3", "MQTT-3.3.1-4", V311, "36 0001 61 0001", M),
    Bad("DUP at QoS 0", "MQTT-3.3.1-2", V311, "38 0001 61", M),
    Bad("packet id 0", "MQTT-2.2.1-3", V311, "32 0001 61 0000", E),
    Bad("wildcard +", "MQTT-3.3.2-2", V311, "30 0003 612F2B", E, 0x90),
    Bad("wildcard #", "MQTT-3.3.2-2", V5, "30 0001 23 00", E, 0x90),
    Bad("topic not UTF-8", "MQTT-3.3.2-1", V311, "30 0001 FF", M),
    Bad("topic with U+0000", "MQTT-1.5.4-2", V311, "30 0003 610062", M),
    Bad("no topic", "MQTT-4.7.3-1", V311, "30 0000", E),
    Bad("neither topic nor alias", "3.3.2.1", V5, "30 0000 00", E),
    Bad("no Property Length", "3.3.2.3.1", V5, "30 0001 61", M),
    Bad("Property Length too large", "2.2.2.1", V5, "30 0001 61 05 01 00", M),
    Bad("Property Length not minimal", "MQTT-1.5.5-1", V5, "30 0001 61 82 00 01 00", M),
    Bad("Property Length of 5 bytes", "1.5.5", V5, "30 0001 61 80 80 80 80 01", M),
    Bad("unknown property", "2.2.2.2", V5, _publish("04 00"), M),
    Bad("property of another packet", "2.2.2.2", V5, _publish("11 00000001"), M),
    Bad("property cut short", "2.2.2.1", V5, _publish("02 0000"), M),
    Bad("Payload Format Indicator 2", "3.3.2.3.2", V5, _publish("01 02"), E),
    Bad("Topic Alias 0", "MQTT-3.3.2-8", V5, _publish("23 0000"), E, 0x94),
    Bad("Topic Alias twice", "3.3.2.3.4", V5, _publish("23 0001 23 0001"), E),
    Bad("Response Topic with a wildcard", "MQTT-3.3.2-14", V5, _publish("08 0001 23"), E),
    Bad("Response Topic empty", "MQTT-4.7.3-1", V5, _publish("08 0000"), E),
    Bad("Subscription Identifier 0", "3.3.2.3.8", V5, _publish("0B 00"), E),
    Bad("User Property not UTF-8", "MQTT-1.5.4-1", V5, _publish("26 0001 61 0001 FF"), M),
    # acknowledgements
    *(Bad(f"packet id 0 in {first}", "MQTT-2.2.1-3", level, f"{first} 0000", E)
      for first in ("40", "50", "62", "70") for level in (V311, V5)),
    Bad("puback with a reason", "3.4.2 of 3.1.1", V311, "40 0001 00", M),
    Bad("puback reason", "MQTT-3.4.2-1", V5, "40 0001 92", E),
    Bad("pubrel reason", "MQTT-3.6.2-1", V5, "62 0001 10", E),
    Bad("puback, bytes left over", "3.4.2", V5, "40 0001 00 00 00", M),
    Bad("Reason String twice", "3.4.2.2.2", V5, "40 0001 00 06 1F 0000 1F 0000", E),
    # SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK
    Bad("subscribe, packet id 0", "MQTT-2.2.1-3", V311, "82 0000 0001 61 00", E),
    *(Bad(f"{name} without filters", clause, level, f"{first} 0001" + " 00" * (level == V5), E)
      for first, name, clause in (("82", "subscribe", "MQTT-3.8.3-2"),
                                  ("A2", "unsubscribe", "MQTT-3.10.3-2"))
      for level in (V311, V5)),
    Bad("filter not UTF-8", "MQTT-3.8.3-1", V311, "82 0001 0001 FF 00", M),
    Bad("unsubscribe, filter not UTF-8", "MQTT-3.10.3-1", V311, "A2 0001 0001 FF", M),
    Bad("reserved option bits", "MQTT-3.8.3-5", V5, "82 0001 00 0001 61 40", M),
    Bad("reserved option bits", "MQTT-3-8.3-4 of 3.1.1", V311, "82 0001 0001 61 04", M),
    Bad("options QoS 3", "3.8.3.1", V5, "82 0001 00 0001 61 03", E),
    Bad("options QoS 3", "MQTT-3-8.3-4 of 3.1.1", V311, "82 0001 0001 61 03", E),
    Bad("retain handling 3", "3.8.3.1", V5, "82 0001 00 0001 61 30", E),
    Bad("No Local on a shared subscription", "MQTT-3.8.3-4", V5,
        "82 0001 00 000A 2473686172652F672F61 04", E),
    Bad("Subscription Identifier twice", "3.8.2.1.2", V5,
        "82 0001 04 0B 01 0B 02 0001 61 00", E),
    Bad("suback without codes", "3.9.3", V311, "90 0001", M),
    Bad("suback code", "MQTT-3.9.3-2", V5, "90 0001 00 03", E),
    Bad("suback return code", "MQTT-3.9.3-2 of 3.1.1", V311, "90 0001 87", E),
    Bad("unsuback with codes", "3.11.2 of 3.1.1", V311, "B0 0001 00", M),
    Bad("unsuback code", "MQTT-3.11.3-2", V5, "B0 0001 00 01", E),
    # the rest
    Bad("pingreq with a body", "3.12.1", V311, "C0 00", M),
    Bad("pingresp with a body", "3.13.1", V5, "D0 00", M),
    Bad("disconnect with a body", "3.14.1 of 3.1.1", V311, "E0 00", M),
    Bad("disconnect reason", "MQTT-3.14.2-1", V5, "E0 01", E),
    Bad("auth reason", "MQTT-3.15.2-1", V5, "F0 01 00", E),
]  # fmt: skip


def _id(case: Good | Bad) -> str:
    return f"{case.name}-{case.level}-{case.clause}"


good = pytest.mark.parametrize("case", GOOD, ids=_id)
bad = pytest.mark.parametrize("case", BAD, ids=_id)


def body_of(data: bytes) -> bytes:
    return data[wire.read_varint(data, 1, "Remaining Length")[1] :]


@good
def test_decodes(case: Good) -> None:
    data = bytes.fromhex(case.hex)
    assert wire.read_varint(data, 1, "")[0] == len(body_of(data)), "the fixture's own length"
    assert packets.decode(data[0], body_of(data), case.level) == case.packet


@good
def test_encodes(case: Good) -> None:
    if case.exact:
        assert packets.encode(case.packet, case.level) == bytes.fromhex(case.hex)


@good
def test_every_truncation_is_refused_or_another_packet(case: Good) -> None:
    data = bytes.fromhex(case.hex)
    first, body = data[0], body_of(data)
    for size in range(len(body)):
        try:
            found = packets.decode(first, body[:size], case.level)
        except PeerError:
            continue
        # What a packet may leave out, or its list or payload that ends where the packet ends.
        assert found != case.packet or not case.exact
        assert type(found) is type(case.packet)
        assert first >> 4 not in (T.CONNECT, T.CONNACK)


@good
def test_is_framed_with_its_length(case: Good) -> None:
    data = bytes.fromhex(case.hex)
    assert packets.length_needed(data) == len(data)
    assert packets.length_needed(data[:1]) == 2
    items, rest = scan(data, 0, _nothing(), case.level == V5, 1000)
    assert rest == len(data) and len(items) == 1


def _nothing() -> dict[bytes, object]:
    class Nothing(dict[bytes, object]):
        def __missing__(self, topic: bytes) -> None:
            return None

    return Nothing()


@bad
def test_refuses(case: Bad) -> None:
    data = bytes.fromhex(case.hex)
    with pytest.raises(PeerError) as caught:
        packets.decode(data[0], data[1:], case.level)
    assert type(caught.value) is case.error
    expected = case.code or (0x81 if case.error is MalformedPacket else 0x82)
    assert caught.value.code == expected
    assert str(caught.value)


def test_every_packet_type_is_in_the_table_at_each_level() -> None:
    seen = {(bytes.fromhex(case.hex)[0] >> 4, case.level) for case in GOOD}
    kinds = {(int(kind), level) for kind in PacketType for level in (V311, V5)}
    assert seen == kinds - {(PacketType.AUTH, V311)}


def test_an_error_says_which_field_where_and_what_was_expected() -> None:
    with pytest.raises(MalformedPacket, match=r"Keep Alive at byte 8: 2 bytes expected, 1 left"):
        packets.decode(0x10, bytes.fromhex("0004 4D515454 04 02 00"), V311)


def test_a_client_sends_no_subscription_identifier() -> None:
    """[MQTT-3.3.4-6]: a server may, in what it delivers."""
    body = bytes.fromhex(_publish("0B 01"))[1:]
    with pytest.raises(ProtocolError):
        packets.decode_publish(0x30, body, 0, len(body), V5)
    found = packets.decode(0x30, body, V5)
    assert isinstance(found, Publish) and found.properties == {P.SUBSCRIPTION_IDENTIFIER: [1]}


def test_publish_tells_what_travels_as_it_came() -> None:
    """[MQTT-3.3.2-17]: User Properties in their order; alias, expiry and identifiers stay here."""
    travels = ["01 01", "26 0001 6B 0001 76", "03 0001 63", "26 0001 6A 0001 77"]
    body = bytes.fromhex(
        _publish(
            f"02 0000000A {travels[0]} {travels[1]} 23 0001 0B 05 {travels[2]} 0B 06 {travels[3]}"
        )
    )[1:]
    found = packets.decode_publish(0x30, body, 0, len(body), V5, from_server=True)
    assert found.travelling == bytes.fromhex(" ".join(travels))
    assert (found.alias, found.expiry) == (1, 10)


@good
def test_publish_is_read_in_the_middle_of_a_buffer(case: Good) -> None:
    data = bytes.fromhex(case.hex)
    if isinstance(case.packet, Publish):
        body = body_of(data)
        around = b"\x31\x00" + body + b"\x00\xc0\x00\x30"
        found = packets.decode_publish(
            data[0], around, 2, 2 + len(body), case.level, from_server=True
        )
        assert found == case.packet


def test_publish_never_reads_beyond_its_end() -> None:
    whole = bytes.fromhex("0001 61 0007 02 01 01")
    for end in range(len(whole)):
        for after in (b"\x00" * 8, b"\xff" * 8, whole):
            with pytest.raises(PeerError):
                packets.decode_publish(0x32, whole[:end] + after, 0, end, V5)


def test_a_refusal_is_said_in_the_words_of_3_1_1() -> None:
    refusal = ConnAck(False, ReasonCode.BAD_USER_NAME_OR_PASSWORD)
    assert packets.encode(refusal, V311) == b"\x20\x02\x00\x04"


def test_a_password_is_not_shown() -> None:
    assert "hunter2" not in repr(Connect("a", password=b"hunter2"))


@pytest.mark.parametrize("write", [lambda: wire.binary(b"x" * 65_536), lambda: wire.string("\0")])
def test_what_has_no_encoding_is_refused(write) -> None:
    with pytest.raises(ValueError):
        write()


@pytest.mark.parametrize("value", [0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455])
def test_varint(value: int) -> None:
    """1.5.5, table 1-1."""
    encoded = wire.varint(value)
    assert wire.read_varint(encoded, 0, "") == (value, len(encoded))
    for size in range(len(encoded)):
        with pytest.raises(MalformedPacket):
            wire.read_varint(encoded[:size], 0, "")


def test_varint_above_the_largest() -> None:
    with pytest.raises(ValueError):
        wire.varint(268_435_456)
