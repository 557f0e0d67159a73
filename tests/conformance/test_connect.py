"""CONNECT and CONNACK: what is refused and how, sessions, take-over, keep-alive (3.1, 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from brokers import Broker, Brokers
from isthmus_broker.mqtt.codes import V5, V311
from isthmus_broker.mqtt.packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    Publish,
    Subscribe,
    SubscriptionOptions,
    Will,
)
from isthmus_broker.mqtt.properties import Properties, Property
from rawmqtt import RawClient

Raw = Callable[..., RawClient]
CONFIG = """
mqtt { max_clientid_len = 40, session_expiry_interval = 10s, max_session_expiry_interval = 100s }
"""


def body(level: int, flags: int, rest: str, *, properties: str = "00", name: str = "MQTT") -> bytes:
    """A CONNECT from its parts, in hexadecimal, with a keep-alive of none."""
    head = len(name).to_bytes(2, "big") + name.encode() + bytes((level, flags, 0, 0))
    tail = bytes.fromhex((properties if level == V5 else "") + rest)
    return bytes((0x10, len(head + tail))) + head + tail


ID = "0001 61"
WILL_FIELDS = "0001 77 0001 78"

MALFORMED = [
    ("[MQTT-3.1.2-3] the reserved flag", 0x03, ID, "00", 0x81),
    ("[MQTT-3.1.2-12] Will QoS 3", 0x1E, ID + "00" + WILL_FIELDS, "00", 0x81),
    ("[MQTT-3.1.2-11] Will QoS without a Will", 0x0A, ID, "00", 0x81),
    ("[MQTT-3.1.2-13] Will Retain without a Will", 0x22, ID, "00", 0x81),
    ("[MQTT-3.1.3-4] a client id that is not UTF-8", 0x02, "0002 c328", "00", 0x81),
    ("[MQTT-1.5.4-1] a surrogate in the client id", 0x02, "0003 eda080", "00", 0x81),
    ("[MQTT-1.5.4-2] U+0000 in the client id", 0x02, "0001 00", "00", 0x81),
    ("[MQTT-3.1.3-11] a Will Topic that is not UTF-8", 0x06, ID + "00 0001ff 0001 78", "00", 0x81),
    ("no client id", 0x02, "", "00", 0x81),
    ("a client id that is too short", 0x02, "0005 61", "00", 0x81),
    ("a user name that is missing", 0x82, ID, "00", 0x81),
    ("a password that is missing", 0x42, ID, "00", 0x81),
    ("bytes after the end", 0x02, ID + "00", "00", 0x81),
    ("a property that is none", 0x02, ID, "02 7f01", 0x81),
    ("a property of another packet", 0x02, ID, "03 23 0001", 0x81),
    ("properties that are too short", 0x02, ID, "05 21", 0x81),
    ("Receive Maximum 0", 0x02, ID, "03 21 0000", 0x82),
    ("Receive Maximum twice", 0x02, ID, "06 21 0001 21 0001", 0x82),
    ("Maximum Packet Size 0", 0x02, ID, "05 27 00000000", 0x82),
    ("Request Problem Information 2", 0x02, ID, "02 17 02", 0x82),
    ("Authentication Data without a method", 0x02, ID, "04 16 0001 61", 0x82),
    ("[MQTT-4.12.0-1] an authentication method", 0x02, ID, "04 15 0001 61", 0x8C),
    ("a Will Topic with a wildcard", 0x06, ID + "00 0001 2b 0001 78", "00", 0x90),
    ("an empty Will Topic", 0x06, ID + "00 0000 0001 78", "00", 0x90),
]


@pytest.mark.parametrize(
    ("flags", "rest", "properties", "code"),
    [row[1:] for row in MALFORMED],
    ids=[row[0] for row in MALFORMED],
)
def test_a_connect_that_is_wrong_is_told_why(
    broker: Broker, raw: Raw, flags: int, rest: str, properties: str, code: int
) -> None:
    client = raw(broker.port, V5)
    client.send(body(V5, flags, rest, properties=properties))
    assert client.expect(ConnAck).reason_code == code
    client.expect_closed()


@pytest.mark.parametrize(
    ("flags", "rest"),
    [
        pytest.param(0x03, ID, id="[MQTT-3.1.2-3] the reserved flag"),
        pytest.param(0x42, ID + "0001 70", id="[MQTT-3.1.2-22] a password without a user name"),
        pytest.param(0x0A, ID, id="[MQTT-3.1.2-13] Will QoS without a Will"),
        pytest.param(0x1E, ID + WILL_FIELDS, id="[MQTT-3.1.2-14] Will QoS 3"),
        pytest.param(0x02, ID + "00", id="bytes after the end"),
        pytest.param(0x02, "", id="no client id"),
    ],
)
def test_a_malformed_connect_of_311_is_closed_without_an_answer(
    broker: Broker, raw: Raw, flags: int, rest: str
) -> None:
    client = raw(broker.port, V311)
    client.send(body(V311, flags, rest))
    client.expect_closed()


@pytest.mark.parametrize(
    ("level", "name"), [(3, "MQIsdp"), (3, "MQTT"), (6, "MQTT"), (0x84, "MQTT"), (4, "MQTX")]
)
def test_other_protocols_are_refused(
    broker: Broker, raw: Raw, level: int, name: str
) -> None:  # [MQTT-3.1.2-1] [MQTT-3.1.2-2]
    client = raw(broker.port, V311)
    client.send(body(level, 0x02, ID, name=name))
    assert client.expect(ConnAck).reason_code == 1
    client.expect_closed()


@pytest.mark.parametrize(
    "first",
    [
        b"\xc0\x00",
        b"\xe0\x00",
        b"\x30\x05\x00\x01a\x00x",
        b"\x82\x06\x00\x01\x00\x01a\x00",
        b"\x40\x02\x00\x01",
        b"\xf0\x00",
        b"\x00\x00",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"\xaa" * 160,
    ],
    ids=["PINGREQ", "DISCONNECT", "PUBLISH", "SUBSCRIBE", "PUBACK", "AUTH", "0", "HTTP", "TLS"],
)
def test_what_does_not_begin_with_connect_is_closed(
    broker: Broker, raw: Raw, first: bytes
) -> None:  # [MQTT-3.1.0-1]
    client = raw(broker.port)
    client.send(first)
    client.expect_closed()


@pytest.mark.parametrize("level", [V311, V5])
def test_a_second_connect_ends_the_connection(
    connect: Raw, name: str, level: int
) -> None:  # [MQTT-3.1.0-2]
    client = connect(name, level)
    client.send(Connect(name, level))
    client.expect_disconnect(0x82)


def test_a_connect_may_come_in_pieces_and_with_what_follows(
    broker: Broker, raw: Raw, name: str
) -> None:
    client = raw(broker.port, V311)
    for byte in body(V311, 0x02, ID):
        client.send(bytes((byte,)))
    assert client.expect(ConnAck).reason_code == 0
    client = raw(broker.port)  # [MQTT-3.1.4-6]: a client need not wait for CONNACK
    wanted = [(name.encode(), SubscriptionOptions(0))]
    client.send(Connect(name), Subscribe(1, wanted), Publish(name.encode(), b"x"), PingReq())
    assert [type(client.receive()).__name__ for _ in range(4)] == [
        "ConnAck",
        "SubAck",
        "Publish",
        "PingResp",
    ]


# -- client identifiers --------------------------------------------------------------------------


@pytest.mark.parametrize("clean", [True, False])
def test_assigned_client_ids_differ_and_can_be_used_again(
    broker: Broker, raw: Raw, clean: bool
) -> None:  # [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]
    keep: Properties = {Property.SESSION_EXPIRY_INTERVAL: 50}
    names = []
    for _ in range(2):
        answer = raw(broker.port).connect("", clean_start=clean, properties=keep)
        assert not answer.session_present
        names.append(str(answer.properties[Property.ASSIGNED_CLIENT_IDENTIFIER]))
    assert len(set(names)) == 2
    again = raw(broker.port).connect(names[0], clean_start=False)
    assert again.session_present
    assert Property.ASSIGNED_CLIENT_IDENTIFIER not in again.properties


def test_311_needs_a_client_id_for_a_session_to_keep(broker: Broker, raw: Raw) -> None:
    """[MQTT-3.1.3-7] [MQTT-3.1.3-8] of 3.1.1."""
    client = raw(broker.port, V311)
    assert client.connect("", clean_start=False).reason_code == 2
    client.expect_closed()
    assert raw(broker.port, V311).connect("", clean_start=True).reason_code == 0


@pytest.mark.parametrize(("level", "code"), [(V5, 0x85), (V311, 2)])
def test_a_client_id_may_be_as_long_as_configured(
    broker: Broker, raw: Raw, level: int, code: int
) -> None:
    assert raw(broker.port, level).connect("ü" * 40).reason_code == 0
    assert raw(broker.port, level).connect("ü" * 41).reason_code == code


# -- sessions ------------------------------------------------------------------------------------

SESSIONS = [
    # level, first CONNECT, second CONNECT, whether the second finds a session
    (V5, {"keep": 50}, {"clean_start": False}, True),
    (V5, {"keep": 50}, {"clean_start": True}, False),
    (V5, {"keep": 0}, {"clean_start": False}, False),
    (V5, {"keep": 50, "clean_start": False}, {"clean_start": False}, True),
    (V5, {"keep": 0xFFFFFFFF}, {"clean_start": False}, True),
    (V311, {"clean_start": False}, {"clean_start": False}, True),
    (V311, {"clean_start": False}, {"clean_start": True}, False),
    (V311, {"clean_start": True}, {"clean_start": False}, False),
]


@pytest.mark.parametrize(("level", "first", "second", "present"), SESSIONS)
@pytest.mark.parametrize("ending", ["disconnect", "drop", "take over"])
def test_session_present(
    broker: Broker,
    raw: Raw,
    name: str,
    level: int,
    first: dict[str, Any],
    second: dict[str, Any],
    present: bool,
    ending: str,
) -> None:  # [MQTT-3.1.2-4] [MQTT-3.1.2-5] [MQTT-3.1.2-6] [MQTT-3.2.2-2] [MQTT-3.2.2-3]
    wanted = dict(first)
    keep: Properties = {Property.SESSION_EXPIRY_INTERVAL: wanted.pop("keep", 0)}
    one = raw(broker.port, level)
    assert not one.connect(name, properties=keep, **wanted).session_present
    one.subscribe(f"{name}/a")
    if ending == "disconnect":
        one.disconnect()
    elif ending == "drop":
        one.drop()
    two = raw(broker.port, level)
    assert two.connect(name, **second).session_present == present
    two.publish(f"{name}/a", b"x")
    if present:
        assert two.take().payload == b"x"
    two.expect_nothing()


@pytest.mark.parametrize("level", [V311, V5])
def test_a_session_goes_from_one_protocol_level_to_the_other(
    connect: Raw, raw: Raw, broker: Broker, name: str, level: int
) -> None:
    keep: Properties = {Property.SESSION_EXPIRY_INTERVAL: 50}
    one = connect(name, level, clean_start=False, properties=keep)
    one.subscribe(name, qos=1)
    one.disconnect()
    connect(f"{name}-other").publish_acknowledged(
        name, b"x", 1, properties={Property.CONTENT_TYPE: "text"}
    )
    two = raw(broker.port, V5 if level == V311 else V311)
    assert two.connect(name, clean_start=False, properties=keep).session_present
    assert two.take().payload == b"x"
    two.expect_nothing()


@pytest.mark.parametrize("level", [V311, V5])
def test_a_session_is_taken_over(connect: Raw, name: str, level: int) -> None:  # [MQTT-3.1.4-3]
    one = connect(name, level)
    two = connect(name, level)
    one.expect_disconnect(0x8E)
    two.expect_nothing()


def test_a_session_that_has_expired_is_gone(
    connect: Raw, raw: Raw, broker: Broker, name: str
) -> None:
    """[MQTT-3.1.2-23]; a delayed Will says when: [MQTT-3.1.3-9] sends it as the session ends."""
    watcher = connect(f"{name}-watcher")
    watcher.subscribe(f"{name}/will")
    will = Will(f"{name}/will".encode(), b"gone", properties={Property.WILL_DELAY_INTERVAL: 60})
    keep: Properties = {Property.SESSION_EXPIRY_INTERVAL: 1}
    one = connect(name, properties=keep, will=will)
    one.subscribe(f"{name}/a", qos=1)
    one.drop()
    assert watcher.take().payload == b"gone"
    assert not raw(broker.port).connect(name, clean_start=False).session_present


@pytest.mark.parametrize(
    ("asked", "granted"), [(50, None), (100, None), (101, 100), (0xFFFFFFFF, 100), (0, None)]
)
def test_session_expiry_is_bounded_and_said(
    broker: Broker, raw: Raw, name: str, asked: int, granted: int | None
) -> None:
    answer = raw(broker.port).connect(name, properties={Property.SESSION_EXPIRY_INTERVAL: asked})
    assert answer.properties.get(Property.SESSION_EXPIRY_INTERVAL) == granted


def test_disconnect_may_shorten_the_session(
    connect: Raw, raw: Raw, broker: Broker, name: str
) -> None:
    one = connect(name, properties={Property.SESSION_EXPIRY_INTERVAL: 50})
    one.disconnect(properties={Property.SESSION_EXPIRY_INTERVAL: 0})
    assert not raw(broker.port).connect(name, clean_start=False).session_present


def test_disconnect_may_not_begin_a_session_to_keep(connect: Raw, name: str) -> None:  # 3.14.2.2.2
    one = connect(name)
    one.send(Disconnect(0, {Property.SESSION_EXPIRY_INTERVAL: 50}))
    one.expect_disconnect(0x82)


# -- what CONNACK grants -------------------------------------------------------------------------


def test_the_defaults_that_connack_tells(broker: Broker, raw: Raw, name: str) -> None:
    answer = raw(broker.port).connect(name)
    assert answer.properties == {
        Property.RECEIVE_MAXIMUM: 1024,
        Property.MAXIMUM_PACKET_SIZE: 1 << 20,
        Property.TOPIC_ALIAS_MAXIMUM: 64,
    }


@pytest.mark.parametrize("level", [V311, V5])
def test_auth_is_never_asked_for(connect: Raw, name: str, level: int) -> None:  # [MQTT-4.12.0-6]
    client = connect(name, level)
    client.send(b"\xf0\x00")
    client.expect_disconnect(0x82)


def test_reauthentication_without_a_method_is_refused(connect: Raw, name: str) -> None:
    client = connect(name)
    client.send(Auth(0x19, {Property.AUTHENTICATION_METHOD: "x"}))
    client.expect_disconnect(0x82)


# -- keep-alive ----------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [V311, V5])
def test_a_silent_client_is_disconnected(
    connect: Raw, name: str, level: int
) -> None:  # [MQTT-3.1.2-22], [MQTT-3.1.2-24] of 3.1.1
    client = connect(name, level, keep_alive=1)
    client.expect_disconnect(0x8D)


def test_the_servers_keep_alive_is_in_force(start_broker: Brokers, raw: Raw) -> None:
    broker = start_broker("mqtt.server_keepalive = 1")
    client = raw(broker.port)
    answer = client.connect("one", keep_alive=3600)
    assert answer.properties[Property.SERVER_KEEP_ALIVE] == 1  # [MQTT-3.2.2-21]
    client.expect_disconnect(0x8D)


def test_whoever_never_connects_is_closed(start_broker: Brokers, raw: Raw) -> None:
    broker = start_broker("mqtt.idle_timeout = 1s")
    silent, slow, good = raw(broker.port), raw(broker.port), raw(broker.port)
    slow.send(b"\x10\x20\x00\x04MQ")
    good.connect("good")
    silent.expect_closed()
    slow.expect_closed()
    good.expect_nothing()
