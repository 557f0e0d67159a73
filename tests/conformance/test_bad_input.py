"""Bytes that no client should send: its own connection closes, with the reason; nobody else's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from brokers import Broker, Brokers
from isthmus_broker.mqtt import packets
from isthmus_broker.mqtt.codes import V5, V311, PacketType
from isthmus_broker.mqtt.packets import (
    ConnAck,
    Connect,
    Publish,
    Subscribe,
    SubscriptionOptions,
    Unsubscribe,
    Will,
)
from isthmus_broker.mqtt.properties import Property
from rawmqtt import CLOSED, Closed, RawClient

Raw = Callable[..., RawClient]
LEVELS = pytest.mark.parametrize("level", [V311, V5])

BOTH = [
    # what, bytes in hexadecimal for 3.1.1 and for 5.0 (empty: not for that level), reason code
    ("[MQTT-2.2.1] packet type 0", "00 00", "00 00", 0x81),
    ("[MQTT-2.1.3-1] PUBACK with flags", "42 02 0001", "42 02 0001", 0x81),
    ("[MQTT-3.6.1-1] PUBREL without flags", "60 02 0001", "60 02 0001", 0x81),
    ("PINGREQ with flags", "c1 00", "c1 00", 0x81),
    ("DISCONNECT with flags", "e1 00", "e1 00", 0x81),
    ("PINGREQ with a body", "c0 01 00", "c0 01 00", 0x81),
    ("[MQTT-1.5.5-1] five bytes of length", "30 80808080 01", "30 80808080 01", 0x81),
    ("a length in too many bytes", "c0 80 00", "c0 80 00", 0x81),
    ("CONNACK from a client", "20 02 0000", "20 03 000000", 0x82),
    ("PINGRESP from a client", "d0 00", "d0 00", 0x82),
    ("SUBACK from a client", "90 03 0001 00", "90 04 0001 00 00", 0x82),
    ("UNSUBACK from a client", "b0 02 0001", "b0 04 0001 00 00", 0x82),
    ("[MQTT-3.3.1-4] QoS 3", "36 06 0001 61 0001 78", "36 07 0001 61 0001 00 78", 0x81),
    ("[MQTT-3.3.1-2] DUP at QoS 0", "38 03 0001 61", "38 04 0001 61 00", 0x81),
    ("[MQTT-2.2.1-2] packet identifier 0", "32 05 0001 61 0000", "32 06 0001 61 0000 00", 0x82),
    ("no topic", "30 02 0000", "30 03 0000 00", 0x82),
    ("[MQTT-3.3.2-2] a wildcard in the topic", "30 03 0001 23", "30 04 0001 23 00", 0x90),
    ("a wildcard in the topic, at QoS 1", "32 05 0001 2b 0001", "32 06 0001 2b 0001 00", 0x90),
    ("[MQTT-3.3.2-1] a topic that is not UTF-8", "30 03 0001 ff", "30 04 0001 ff 00", 0x81),
    ("[MQTT-1.5.4-1] a surrogate", "30 05 0003 eda080", "30 06 0003 eda080 00", 0x81),
    ("an overlong character", "30 04 0002 c0af", "30 05 0002 c0af 00", 0x81),
    ("[MQTT-1.5.4-2] U+0000", "30 04 0002 6100", "30 05 0002 6100 00", 0x81),
    ("U+0000, at QoS 1", "32 06 0002 6100 0001", "32 07 0002 6100 0001 00", 0x81),
    ("a topic longer than the packet", "30 03 0009 61", "30 03 0009 61", 0x81),
    ("no room for the packet identifier", "32 04 0001 61 00", "32 04 0001 61 00", 0x81),
    ("an empty PUBLISH", "30 00", "30 00", 0x81),
    ("PUBACK of one byte", "40 01 00", "40 01 00", 0x81),
    ("PUBREC with identifier 0", "50 02 0000", "50 02 0000", 0x82),
    ("an empty SUBSCRIBE", "82 00", "82 00", 0x81),
    ("DISCONNECT with a reason", "e0 01 00", "", 0x81),
    ("DISCONNECT with an unknown reason", "", "e0 01 42", 0x82),
    ("PUBACK with an unknown reason", "", "40 03 0001 42", 0x82),
    ("a property that is none", "", "30 06 0001 61 02 7f 01", 0x81),
    ("a property of another packet", "", "30 07 0001 61 03 21 0001", 0x81),
    ("properties longer than the packet", "", "30 04 0001 61 05", 0x81),
    ("a property cut short", "", "30 06 0001 61 02 02 00", 0x81),
    ("no properties at all", "", "30 03 0001 61", 0x81),
    ("Content Type twice", "", "30 0a 0001 61 06 03 0000 03 0000", 0x82),
    ("Payload Format Indicator 2", "", "30 06 0001 61 02 01 02", 0x82),
    ("[MQTT-3.3.2-14] Response Topic with +", "", "30 08 0001 61 04 08 0001 2b", 0x82),
    ("[MQTT-3.3.4-6] Subscription Identifier", "", "30 06 0001 61 02 0b 01", 0x82),
    ("User Property that is not UTF-8", "", "30 0a 0001 61 06 26 0001 ff 0000", 0x81),
]


@pytest.mark.parametrize(
    ("v311", "v5", "code"), [row[1:] for row in BOTH], ids=[row[0] for row in BOTH]
)
def test_a_wrong_packet_ends_its_connection_alone(
    connect: Raw, name: str, v311: str, v5: str, code: int
) -> None:
    witness = connect(f"{name}-witness")
    witness.subscribe("#")
    for level, packet in ((V311, v311), (V5, v5)):
        if packet:
            one = connect(name, level)
            one.send(Publish(name.encode(), b"before"))
            assert witness.take().payload == b"before"
            one.send(bytes.fromhex(packet) + packets.encode(Publish(b"never", b"x"), level))
            one.expect_disconnect(code)
            witness.expect_nothing()


@pytest.mark.parametrize(
    "wrong", [bytes.fromhex("30 03 0001 ff"), bytes.fromhex("30 04 0002 6100")]
)
def test_what_comes_with_a_wrong_topic_is_handled_up_to_there(
    connect: Raw, name: str, wrong: bytes
) -> None:
    witness = connect(f"{name}-witness")
    witness.subscribe(name)
    one = connect(name, V311)
    good = packets.encode(Publish(name.encode(), b"x"), V311)
    one.send(good * 3 + wrong + good)
    for _ in range(3):
        witness.take()
    witness.expect_nothing()
    one.expect_closed()


# -- fuzz ----------------------------------------------------------------------------------------

SAMPLES: list[packets.Packet] = [
    Connect("fuzz", will=Will(b"w", b"x", 1, True), username="u", password=b"p"),
    Publish(b"fuzz/a", b"payload", properties={Property.CONTENT_TYPE: "c"}),
    Publish(b"fuzz/b", b"payload", 1, packet_id=1),
    Publish(b"fuzz/c", b"payload", 2, packet_id=2, properties={Property.TOPIC_ALIAS: 1}),
    Subscribe(3, [(b"fuzz/+", SubscriptionOptions(2))], {Property.SUBSCRIPTION_IDENTIFIER: [1]}),
    Unsubscribe(4, [b"fuzz/+"]),
    packets.Acknowledgement(PacketType.PUBREL, 2),
    packets.Acknowledgement(PacketType.PUBACK, 1),
    packets.PingReq(),
    packets.Disconnect(4, {Property.REASON_STRING: "r"}),
    packets.Auth(0x18, {Property.AUTHENTICATION_METHOD: "m"}),
]


@st.composite
def mutated(draw: st.DrawFn, level: int) -> bytes:
    """Valid packets, some of their bytes changed, left out or added."""
    chosen = draw(st.lists(st.sampled_from(SAMPLES), min_size=1, max_size=6))
    data = bytearray(b"".join(packets.encode(packet, level) for packet in chosen))
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(("change", "insert", "delete"))):
            case "change" if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=4))
            case _:
                del data[at : at + draw(st.integers(1, 4))]
    return bytes(data)


@pytest.fixture(scope="module")
def witness(module_broker: Broker) -> Iterator[RawClient]:
    with RawClient(module_broker.port) as client:
        assert client.connect("witness").reason_code == 0
        yield client


def talk(port: int, level: int, *data: bytes, connected: bool) -> None:
    """Say it, then wait for an answer or the end."""
    with RawClient(port, level) as client, contextlib.suppress(*CLOSED, Closed):
        if connected:
            client.connect("fuzzer", properties={Property.SESSION_EXPIRY_INTERVAL: 5})
        client.send(*data)
        client.send(b"\xe0\x00")
        while True:
            client.socket.settimeout(0.01)
            with contextlib.suppress(TimeoutError):
                if not client.socket.recv(1 << 16):
                    break
                continue
            break


FUZZ = settings(
    max_examples=200,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FUZZ
@given(data=st.data(), level=st.sampled_from([V311, V5]), connected=st.booleans())
def test_damaged_packets_harm_nobody_else(
    module_broker: Broker, witness: RawClient, data: st.DataObject, level: int, connected: bool
) -> None:
    talk(module_broker.port, level, data.draw(mutated(level)), connected=connected)
    witness.expect_nothing()
    assert "Traceback" not in module_broker.log()


@FUZZ
@given(data=st.binary(min_size=1, max_size=200), level=st.sampled_from([V311, V5]))
def test_random_bytes_harm_nobody_else(
    module_broker: Broker, witness: RawClient, data: bytes, level: int
) -> None:
    talk(module_broker.port, level, data, connected=True)
    talk(module_broker.port, level, data, connected=False)
    witness.expect_nothing()
    assert "Traceback" not in module_broker.log()


# -- the log -------------------------------------------------------------------------------------


def test_the_log_keeps_secrets_and_keeps_short(start_broker: Brokers, raw: Raw) -> None:
    """A thousand wrong clients are not a thousand lines; what they have sent is nowhere."""
    broker = start_broker('log.level = "info"')
    for number in range(300):
        one = raw(broker.port)
        secret = b"hunter2-%d" % number
        one.send(
            Connect("one", username="u", password=secret),
            Publish(b"secret-topic\xff", b"secret-payload"),
        )
        one.expect(ConnAck)
        one.expect_disconnect(0x81)
    log = broker.log()
    assert "hunter2" not in log
    assert "secret-" not in log
    assert len(log.splitlines()) < 60
