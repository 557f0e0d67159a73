"""One connection of a link: addresses, what is read and refused, and gmqtt's inner parts.

`link/gmqtt_client.py` touches parts of gmqtt that are not its public interface. The first tests
here fail when a new gmqtt changes one of them, and say which.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import gmqtt
import pytest
from gmqtt.mqtt.connection import MQTTConnection
from gmqtt.mqtt.handler import MqttPackageHandler
from gmqtt.mqtt.package import Package
from gmqtt.mqtt.property import Property as GmqttProperty
from gmqtt.mqtt.protocol import BaseMQTTProtocol, MQTTProtocol

from emqx import EmqxServer, Manners
from isthmus_broker.link import gmqtt_client
from isthmus_broker.link.gmqtt_client import Dial, LinkClient, Refused, Unreachable, connect
from isthmus_broker.mqtt import packets
from isthmus_broker.mqtt.codes import V5
from isthmus_broker.mqtt.properties import Property
from proxy import doorstep
from waiting import wait_for, wait_for_async

# -- what we count on in gmqtt -------------------------------------------------------------------


def parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (gmqtt.Client.connect, "self host port ssl keepalive version raise_exc"),
        (
            gmqtt.Client._create_connection,
            "self host port ssl clean_session keepalive",
        ),
        (gmqtt.Client.reconnect, "self delay"),
        (
            MQTTConnection.__init__,
            "self transport protocol clean_session keepalive package_handler logger",
        ),
        (MQTTConnection.put_package, "self pkg"),
        (MQTTProtocol.__init__, "self args connection_state id_generator kwargs"),
        (BaseMQTTProtocol.connection_made, "self transport"),
        (BaseMQTTProtocol.write_data, "self data"),
        (MqttPackageHandler.set_connection, "self connection"),
    ],
    ids=lambda it: getattr(it, "__qualname__", ""),
)
def test_what_is_overridden_or_called_is_as_it_was(
    function: Callable[..., Any], expected: str
) -> None:
    assert parameters(function) == expected.split()


def test_the_inner_parts_are_there() -> None:
    async def look() -> None:
        client = gmqtt.Client(b"x")
        handler = client._package_handler
        assert handler._connack_properties == {}
        assert callable(handler.id_generator.next_id)
        for event in (client._connack_received, client._connection_lost):
            assert isinstance(event, asyncio.Event)
        assert client._connection_state.protocol_version == 5
        protocol = MQTTProtocol(
            connection_state=client._connection_state, id_generator=handler.id_generator
        )
        assert protocol._transport is None
        assert protocol._connection is None
        assert isinstance(protocol._connected, asyncio.Event)
        pair = socket.socketpair()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=pair[0])
        connection = MQTTConnection(transport, protocol, True, 60, package_handler=handler)
        assert isinstance(connection._keep_connection_callback, asyncio.TimerHandle)
        assert protocol._connection is connection
        connection._keep_connection_callback.cancel()
        transport.close()
        pair[1].close()
        await asyncio.sleep(0)

    asyncio.run(look())


def test_packages_and_properties_have_their_names() -> None:
    package = Package(0x20, b"body")
    assert (package.cmd, package.data) == (0x20, b"body")
    names = {
        0x11: "session_expiry_interval",
        0x21: "receive_maximum",
        0x24: "max_qos",
        0x27: "maximum_packet_size",
        0x09: "correlation_data",
    }
    assert {id: GmqttProperty.factory(id_=id).name for id in names} == names


def test_the_client_id_may_be_bytes() -> None:
    """As it counts characters where MQTT counts bytes."""
    assert gmqtt.Client("ü".encode())._client_id == "ü".encode()


# -- one connection ------------------------------------------------------------------------------


class Heard:
    """A handler that keeps what it hears."""

    def __init__(self) -> None:
        self.acks: list[tuple[int, int]] = []
        self.subacks: list[int] = []
        self.messages: list[tuple[bytes, bytes]] = []
        self.writables = 0

    def acknowledged(self, packet_id: int, code: int) -> None:
        self.acks.append((packet_id, code))

    def subscribed(self, code: int) -> None:
        self.subacks.append(code)

    def received(self, payload: bytes, correlation: bytes) -> None:
        self.messages.append((payload, correlation))

    def writable(self) -> None:
        self.writables += 1


@pytest.fixture
async def heard() -> Heard:
    return Heard()


Connected = Callable[..., Any]


@pytest.fixture
async def connected(
    emqx_server: Callable[..., EmqxServer], heard: Heard
) -> AsyncIterator[Connected]:
    """Call it (with a server's manners) for a server and an open connection to it."""
    made: list[LinkClient] = []

    async def make(manners: Manners | None = None, **dial: Any) -> tuple[EmqxServer, LinkClient]:
        server = emqx_server(manners)
        made.append(await connect(Dial("127.0.0.1", server.port, "client", **dial), heard))
        return server, made[-1]

    yield make
    for client in made:
        client.abort("the test is over")
        await client.closed


async def test_the_connack_tells_limits(connected: Connected) -> None:
    _, client = await connected()
    assert (client.receive_maximum, client.packet_limit) == (32, 1 << 20)
    _, client = await connected(Manners(connack={}))
    assert (client.receive_maximum, client.packet_limit) == (65_535, None)


async def test_credentials_and_ids_are_sent_as_utf_8(connected: Connected) -> None:
    server, _ = await connected(username="grüße", password="schlüssel ✔")
    said = server.connections[0].connect
    assert (said.username, said.password) == ("grüße", "schlüssel ✔".encode())
    assert said.properties[Property.MAXIMUM_PACKET_SIZE] == gmqtt_client.MAX_PACKET


async def test_pubacks_come_with_their_reason_codes(connected: Connected, heard: Heard) -> None:
    """However the bytes of the stream are cut."""
    server, _ = await connected()
    stream = b"\x40\x02\x00\x01" + b"\x40\x03\x01\x02\x10" + b"\x40\x04\x00\x03\x97\x00"
    one = server.connections[0].one
    for cut in range(len(stream) + 1):
        one.send(stream[:cut])
        one.send(stream[cut:])
    await wait_for_async(lambda: len(heard.acks) == 3 * (len(stream) + 1))
    assert heard.acks[:3] == [(1, 0), (0x102, 0x10), (3, 0x97)]
    assert heard.acks == heard.acks[:3] * (len(stream) + 1)


async def test_answers_come_with_their_correlation(connected: Connected, heard: Heard) -> None:
    server, client = await connected()
    client.subscribe(b"$LINK/cluster/resp/us/node")
    await wait_for_async(lambda: heard.subacks == [1])
    properties: Any = {Property.CORRELATION_DATA: b"\x00\xff"}
    server.connections[0].one.publish("$LINK/cluster/resp/us/node", b"a", properties=properties)
    server.connections[0].one.publish("$LINK/cluster/resp/us/node", b"b", 1)
    await wait_for_async(lambda: len(heard.messages) == 2)
    assert heard.messages == [(b"a", b"\x00\xff"), (b"b", b"")]


async def test_a_ping_is_a_sign_of_life(connected: Connected) -> None:
    server, client = await connected()
    before = client.last_received
    client.ping()
    await wait_for_async(lambda: client.last_received > before)
    assert server.connections[0].pings == 1


async def test_room_is_bounded_and_comes_back(connected: Connected, heard: Heard) -> None:
    """A server that reads nothing fills the buffer, and nothing more is to be written."""
    server, client = await connected()
    frame = packets.encode(packets.Publish(b"t", bytes(100_000)), V5)
    server.hold()
    for _ in range(1000):
        if client.room <= 0:
            break
        client.write(frame)
        await asyncio.sleep(0)
    assert client.room <= 0
    server.release()
    await wait_for_async(lambda: heard.writables > 0)
    assert client.room > 0


async def test_goodbye_is_said(connected: Connected) -> None:
    server, client = await connected()
    client.close()
    assert await client.closed == "closed here"
    await asyncio.to_thread(wait_for, lambda: server.connections[0].disconnect)


async def test_it_never_connects_again_by_itself(connected: Connected) -> None:
    server, client = await connected()
    server.connections[0].break_off()
    assert await client.closed == "the other side closed the connection"
    await asyncio.sleep(0)
    assert (server.attempts, len(asyncio.all_tasks())) == (1, 1)


# -- addresses -----------------------------------------------------------------------------------


def resolve(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let every name have these addresses."""

    async def getaddrinfo(_host: str, port: int, **_: Any) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


async def test_addresses_are_tried_in_turn(
    monkeypatch: pytest.MonkeyPatch, emqx_server: Callable[..., EmqxServer], heard: Heard
) -> None:
    server = emqx_server()
    resolve(monkeypatch, "127.0.0.2", "127.0.0.3", "127.0.0.1")
    client = await connect(Dial("eu.example.net", server.port, "client"), heard)
    client.abort("enough")
    await client.closed


async def test_one_that_says_nothing_does_not_keep_from_the_next(
    monkeypatch: pytest.MonkeyPatch, emqx_server: Callable[..., EmqxServer], heard: Heard
) -> None:
    monkeypatch.setattr(gmqtt_client, "_ADDRESS_TIMEOUT", 0.2)
    server = emqx_server()
    with doorstep(port=server.port, host="127.0.0.2") as silent:
        resolve(monkeypatch, "127.0.0.2", "127.0.0.1")
        client = await connect(Dial("eu.example.net", server.port, "client"), heard)
        assert silent.count == 1
        client.abort("enough")
        await client.closed


async def test_what_happened_at_each_address_is_told(
    monkeypatch: pytest.MonkeyPatch, heard: Heard
) -> None:
    monkeypatch.setattr(gmqtt_client, "_ADDRESS_TIMEOUT", 0.2)
    with doorstep() as silent:
        resolve(monkeypatch, "127.0.0.1", "127.0.0.2", "127.0.0.2")
        with pytest.raises(Unreachable) as failed:
            await connect(Dial("eu.example.net", silent.port, "client"), heard)
    first, second = str(failed.value).split("; ")
    assert first == f"127.0.0.1:{silent.port}: no answer within 0 s"
    assert second.startswith(f"127.0.0.2:{silent.port}: Connect")


async def test_the_name_is_resolved_at_every_connect(
    monkeypatch: pytest.MonkeyPatch, emqx_server: Callable[..., EmqxServer], heard: Heard
) -> None:
    server = emqx_server()
    dial = Dial("eu.example.net", server.port, "client")
    resolve(monkeypatch, "127.0.0.2")
    with pytest.raises(Unreachable):
        await connect(dial, heard)
    resolve(monkeypatch, "127.0.0.1")
    client = await connect(dial, heard)
    client.abort("enough")
    await client.closed


async def test_a_name_that_is_none_is_told(heard: Heard) -> None:
    with pytest.raises(Unreachable, match=r"^no-such-host\.invalid: .*(known|resolution)"):
        await connect(Dial("no-such-host.invalid", 1, "client"), heard)


async def test_a_resolver_that_hangs_is_given_up(
    monkeypatch: pytest.MonkeyPatch, heard: Heard
) -> None:
    async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(gmqtt_client, "_ADDRESS_TIMEOUT", 0.05)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(Unreachable, match=r"^eu\.example\.net: the name was not resolved in time"):
        await connect(Dial("eu.example.net", 1, "client"), heard)


@pytest.mark.parametrize("code", [0x88, 0x89, 0x97, 0x9F])
async def test_a_refusal_that_passes_is_no_contradiction(
    emqx_server: Callable[..., EmqxServer], heard: Heard, code: int
) -> None:
    server = emqx_server(Manners(refuse=code))
    with pytest.raises(Unreachable, match="connection refused: "):
        await connect(Dial("127.0.0.1", server.port, "client"), heard)


async def test_a_refusal_for_good_is_one(
    emqx_server: Callable[..., EmqxServer], heard: Heard
) -> None:
    server = emqx_server(Manners(refuse=0x87))
    with pytest.raises(Refused) as refused:
        await connect(Dial("127.0.0.1", server.port, "client"), heard)
    assert refused.value.code == 0x87


async def test_a_cancelled_attempt_leaves_nothing_behind(heard: Heard) -> None:
    with doorstep() as silent:
        task = asyncio.ensure_future(connect(Dial("127.0.0.1", silent.port, "client"), heard))
        await wait_for_async(lambda: silent.count == 1)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        one = silent.take()
        one.settimeout(5)
        await wait_for_async(lambda: not one.recv(4096))
        assert len(asyncio.all_tasks()) == 1
