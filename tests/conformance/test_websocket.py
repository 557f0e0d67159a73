"""MQTT over WebSocket (6): frames, what a client may send, and what ends its connection."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokers import Broker
from isthmus_broker.mqtt import packets
from isthmus_broker.mqtt.codes import V5
from isthmus_broker.mqtt.packets import (
    ConnAck,
    Connect,
    PingReq,
    PingResp,
    Publish,
    SubAck,
    Subscribe,
    SubscriptionOptions,
)
from rawwebsocket import upgrade
from waiting import DEADLINE

KINDS = ("ws", "tcp")


@pytest.fixture
async def web() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def url(broker: Broker, path: str = "/mqtt") -> str:
    return f"ws://127.0.0.1:{broker.ports['ws']}{path}"


def encoded(*what: Any) -> bytes:
    return b"".join(packets.encode(it, V5) for it in what)


class Client:
    """MQTT over one WebSocket of aiohttp's."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self._buffer = b""

    async def send(self, *what: Any) -> None:
        """Send packets in one frame."""
        await self.ws.send_bytes(encoded(*what))

    async def receive(self) -> Any:
        """The next packet; frames need not end where packets do."""
        while len(self._buffer) < 2 or len(self._buffer) < packets.length_needed(self._buffer):
            frame = await self.ws.receive(DEADLINE)
            assert frame.type is aiohttp.WSMsgType.BINARY, frame
            self._buffer += frame.data
        end = packets.length_needed(self._buffer)
        packet, self._buffer = self._buffer[:end], self._buffer[end:]
        start = 2
        while packet[start - 1] & 0x80:
            start += 1
        return packets.decode(packet[0], packet[start:], V5)

    async def expect_closed(self) -> None:
        """The broker closes the WebSocket."""
        frame = await self.ws.receive(DEADLINE)
        assert frame.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED), frame


Open = Callable[..., Any]


@pytest.fixture
async def opened(broker: Broker, web: aiohttp.ClientSession) -> Open:
    """Call it for a connected client."""

    async def make(client_id: str = "") -> Client:
        ws = await web.ws_connect(url(broker), protocols=["mqtt"], max_msg_size=0)
        client = Client(ws)
        await client.send(Connect(client_id))
        answer = await client.receive()
        assert isinstance(answer, ConnAck)
        assert answer.reason_code == 0
        return client

    return make


async def test_the_subprotocol_is_mqtt(broker: Broker, web: aiohttp.ClientSession) -> None:
    """[MQTT-6.0.0-3] [MQTT-6.0.0-4]"""
    ws = await web.ws_connect(url(broker), protocols=["something", "mqtt"])
    assert ws.protocol == "mqtt"
    await ws.close()


@pytest.mark.parametrize("path", ["/", "/mqtt/more", "/other"])
async def test_another_path_is_not_found(
    broker: Broker, web: aiohttp.ClientSession, path: str
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await web.ws_connect(url(broker, path), protocols=["mqtt"])
    assert refused.value.status == 404


async def test_plain_http_is_refused(broker: Broker, web: aiohttp.ClientSession) -> None:
    async with web.get(url(broker).replace("ws:", "http:")) as answer:
        assert answer.status in (400, 426)
    async with web.post(url(broker).replace("ws:", "http:"), data=b"x") as answer:
        assert answer.status == 405


async def test_frames_need_not_end_where_packets_do(
    broker: Broker, web: aiohttp.ClientSession, name: str
) -> None:
    """[MQTT-6.0.0-2]"""
    ws = await web.ws_connect(url(broker), protocols=["mqtt"])
    client = Client(ws)
    subscribe = Subscribe(1, [(name.encode(), SubscriptionOptions(1))])
    stream = encoded(Connect("cut"), subscribe, Publish(name.encode(), b"x", 0), PingReq())
    for byte in stream:
        await ws.send_bytes(bytes((byte,)))
    kinds = [type(await client.receive()) for _ in range(4)]
    assert kinds == [ConnAck, SubAck, Publish, PingResp]
    await ws.close()


async def test_a_frame_that_is_not_binary_ends_the_connection(opened: Open) -> None:
    """[MQTT-6.0.0-1]"""
    client = await opened()
    await client.ws.send_str("text")
    await client.expect_closed()


async def test_wrong_packets_end_it_with_the_reason(opened: Open) -> None:
    client = await opened()
    await client.ws.send_bytes(b"\x00\x00")
    said = await client.receive()
    assert (said.reason_code, type(said).__name__) == (0x81, "Disconnect")
    await client.expect_closed()


async def test_pings_of_websocket_are_answered(opened: Open) -> None:
    client = await opened()
    await client.ws.ping(b"there?")
    await client.send(PingReq())
    assert isinstance(await client.receive(), PingResp)


async def test_a_large_message_comes_whole(opened: Open, name: str) -> None:
    client = await opened()
    await client.send(Subscribe(1, [(name.encode(), SubscriptionOptions(0))]))
    await client.receive()
    body = os.urandom(1 << 19)
    await client.send(Publish(name.encode(), body))
    assert (await client.receive()).payload == body


async def test_a_packet_above_the_limit_ends_the_connection(opened: Open, name: str) -> None:
    client = await opened()
    await client.ws.send_bytes(encoded(Publish(name.encode(), bytes(2 << 20))))
    said = await client.receive()
    assert said.reason_code == 0x95
    await client.expect_closed()


async def test_a_frame_beyond_all_limits_is_not_read(broker: Broker, opened: Open) -> None:
    client = await opened()
    with contextlib.suppress(ConnectionError):
        await client.ws.send_bytes(bytes(20 << 20))
    await client.expect_closed()


@settings(max_examples=60)
@given(data=st.binary(max_size=200), upgraded=st.booleans())
def test_random_bytes_harm_nobody(module_broker: Broker, data: bytes, upgraded: bool) -> None:
    with socket.create_connection(("127.0.0.1", module_broker.ports["ws"]), DEADLINE) as plain:
        if upgraded:
            upgrade(plain)
        plain.sendall(data)
        plain.shutdown(socket.SHUT_WR)
        plain.settimeout(DEADLINE)
        try:
            while plain.recv(4096):
                pass
        except ConnectionResetError:
            pass
    assert "Traceback" not in module_broker.log()


async def test_everybody_is_told_when_the_broker_stops(start_broker: Any) -> None:
    broker = start_broker(kinds=("ws",))
    async with aiohttp.ClientSession() as web:
        ws = await web.ws_connect(url(broker), protocols=["mqtt"])
        client = Client(ws)
        await client.send(Connect("one"))
        await client.receive()
        await asyncio.to_thread(broker.stop)
        assert (await client.receive()).reason_code == 0x8B
        await client.expect_closed()
