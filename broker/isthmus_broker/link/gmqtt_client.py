"""One connection to another cluster's listener, carried by gmqtt: all that touches its inner parts.

gmqtt speaks MQTT 5.0: CONNECT, SUBSCRIBE, keep-alive, answers. What it leaves out is done here:

- the socket is opened by us: names are resolved each time, every address is tried within a
  deadline, and TLS expects the name that the configuration says;
- it never connects again by itself: `peer` decides when, so that no link spins;
- PUBLISH packets are written many at once as they are, and PUBACKs come back with their reason
  codes, which gmqtt drops;
- what the other side sends is bounded, and checked before gmqtt gets it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import gmqtt
from gmqtt.mqtt.connection import MQTTConnection
from gmqtt.mqtt.constants import MQTTv50
from gmqtt.mqtt.package import Package
from gmqtt.mqtt.protocol import MQTTProtocol

from isthmus_broker.errors import LinkError, PeerError
from isthmus_broker.link.reasons import GONE, doubt, reason_text, told
from isthmus_broker.mqtt import packets
from isthmus_broker.mqtt.codes import V5, ReasonCode

KEEP_ALIVE: Final = 60
"""Seconds, as EMQX has it."""
MAX_PACKET: Final = 1 << 16
"""Bytes that the other side may send in one packet: it only ever answers."""
HIGH_WATER: Final = 1 << 20
"""Bytes that may wait in the socket's buffer before nothing more is written."""
_USER_TIMEOUT: Final = 20_000
"""Milliseconds for which sent bytes may stay without a TCP acknowledgement."""
_ADDRESS_TIMEOUT: Final = 5.0
_PUBACK: Final = 0x40
_CONNACK: Final = 0x20
_TLS_ALERT: Final = 0x15
_V311_REFUSALS: Final = {
    1: ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    2: ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
    3: ReasonCode.SERVER_UNAVAILABLE,
    4: ReasonCode.BAD_USER_NAME_OR_PASSWORD,
    5: ReasonCode.NOT_AUTHORIZED,
}
_PASSING: Final = frozenset(
    {
        ReasonCode.SERVER_UNAVAILABLE,
        ReasonCode.SERVER_BUSY,
        ReasonCode.QUOTA_EXCEEDED,
        ReasonCode.CONNECTION_RATE_EXCEEDED,
    }
)
"""Refusals that say nothing of the configuration: it is worth trying again soon."""

# gmqtt tells each packet; what matters is said by `peer`, in the link's own terms.
logging.getLogger("gmqtt").setLevel(logging.CRITICAL)


class Unreachable(LinkError):
    """No connection could be made, or none that speaks MQTT."""


class Refused(LinkError):
    """The other side refused the CONNECT."""

    def __init__(self, code: int) -> None:
        super().__init__(f"connection refused: {reason_text(code)}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Dial:
    """Whom to connect to, and as whom."""

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    clean_start: bool = True
    session_expiry: int = 0
    """Seconds that the session outlives the connection."""


class Handler(Protocol):
    """Hears what happens on the connection."""

    def acknowledged(self, packet_id: int, code: int) -> None:
        """A PUBACK has come."""

    def subscribed(self, code: int) -> None:
        """A SUBACK has come."""

    def received(self, payload: bytes, correlation: bytes) -> None:
        """A message has come on a topic that was subscribed to."""

    def writable(self) -> None:
        """The socket takes bytes again."""


class LinkClient:
    """An established connection; `closed` is done, with the reason, once it is gone."""

    def __init__(self, client: _Client) -> None:
        self._client = client
        self._protocol: _Protocol = client.protocol
        self.closed: asyncio.Future[str] = client.lost
        properties: dict[str, Any] = client.server_properties
        self.receive_maximum = int(properties.get("receive_maximum", [65_535])[0])
        self.packet_limit: int | None = properties.get("maximum_packet_size", [None])[0]

    @property
    def room(self) -> int:
        """Bytes that may be written now."""
        return 0 if self.closed.done() else self._protocol.room

    @property
    def last_received(self) -> float:
        """When the other side last sent anything, by the loop's clock."""
        return self._protocol.last_received

    def write(self, packets: bytes) -> None:
        """Send packets as they are."""
        self._protocol.write_data(packets)

    def ping(self) -> None:
        """Ask for a proof of life."""
        self.write(b"\xc0\x00")

    def subscribe(self, topic: bytes) -> None:
        """Subscribe at QoS 1; the handler hears of the SUBACK."""
        self._client.subscribe(topic.decode(), qos=1)

    def close(self) -> None:
        """Say goodbye and close."""
        if not self.closed.done():
            self.write(b"\xe0\x00")
            self._protocol.close("closed here")

    def abort(self, reason: str) -> None:
        """Close at once; nothing that waits is sent."""
        self._protocol.abort(reason)


async def connect(dial: Dial, handler: Handler) -> LinkClient:
    """Try each address of the host in turn.

    Raises:
        Unreachable: no address answered as an MQTT broker does; says what happened at each.
        Refused: one did, and refused.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_ADDRESS_TIMEOUT):  # `wait_for` may swallow a cancellation
            found = await loop.getaddrinfo(dial.host, dial.port, type=socket.SOCK_STREAM)
    except TimeoutError as error:
        raise Unreachable(f"{dial.host}: the name was not resolved in time") from error
    except OSError as error:
        raise Unreachable(f"{dial.host}: {told(error)}") from error
    failures: list[str] = []
    for address in dict.fromkeys(str(entry[4][0]) for entry in found):
        place = f"[{address}]:{dial.port}" if ":" in address else f"{address}:{dial.port}"
        client = _Client(dial, handler)
        try:
            async with asyncio.timeout(_ADDRESS_TIMEOUT):
                await client.open(address)
        except TimeoutError:
            failures.append(f"{place}: no answer within {_ADDRESS_TIMEOUT:.0f} s")
        except (OSError, Unreachable) as error:
            failures.append(f"{place}: {told(error)}{doubt(error) if dial.tls else ''}")
        else:
            return LinkClient(client)
        finally:
            client.abandon_unless_open()
    raise Unreachable("; ".join(failures))


class _Client(gmqtt.Client):  # type: ignore[misc]
    """gmqtt's client for one connection, which it opens in our way and never opens again."""

    def __init__(self, dial: Dial, handler: Handler) -> None:
        properties = {"maximum_packet_size": MAX_PACKET}
        if dial.session_expiry:
            properties["session_expiry_interval"] = dial.session_expiry
        # As bytes: gmqtt counts characters where MQTT counts bytes.
        super().__init__(dial.client_id.encode(), clean_session=dial.clean_start, **properties)
        if dial.username is not None:
            self.set_auth_credentials(dial.username, dial.password)
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.protocol: Any = None
        self.handler = handler
        self.refused = 0
        """Reason code of a CONNACK that refuses."""
        self._dial = dial
        self._opened = False
        self.on_subscribe = self._subscribed
        self.on_message = self._received

    @property
    def server_properties(self) -> dict[str, Any]:
        """The properties of the CONNACK."""
        return dict(self._package_handler._connack_properties)

    async def open(self, address: str) -> None:
        """Connect to one address; back when the CONNACK has come."""
        opening = asyncio.ensure_future(
            self.connect(address, self._dial.port, keepalive=KEEP_ALIVE, version=MQTTv50)
        )
        # Whoever cancels this may do so just as it fails: then nobody else looks at the failure.
        opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            await asyncio.wait({opening, self.lost}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not opening.done():
                opening.cancel()
                await asyncio.wait({opening})
        if self.refused and self.refused not in _PASSING:
            raise Refused(self.refused)
        if opening.done() and not opening.cancelled():
            opening.result()
        if self.lost.done():
            raise Unreachable(self.lost.result())
        if self.server_properties.get("max_qos") == [0]:
            raise Unreachable("the listener takes QoS 0 only, and a link needs QoS 1")
        self._opened = True

    def abandon_unless_open(self) -> None:
        """Close what an attempt has left behind that came to nothing."""
        if self.protocol is not None and not self._opened:
            self.protocol.abort("given up")

    async def reconnect(self, delay: bool = False) -> None:
        """Do nothing: whoever owns the connection decides when to try again."""

    async def _create_connection(
        self,
        host: str,
        port: int,
        ssl: object,  # noqa: ARG002 - the context in `_dial` knows the server's name, too
        clean_session: bool,
        keepalive: int,
    ) -> Any:
        loop = asyncio.get_running_loop()
        dial, handler = self._dial, self._package_handler
        self._connack_received.clear()
        self._connection_lost.clear()
        transport, self.protocol = await loop.create_connection(
            lambda: _Protocol(self, self._connection_state, handler.id_generator),
            host,
            port,
            ssl=dial.tls,
            server_hostname=dial.server_name if dial.tls else None,
        )
        return MQTTConnection(
            transport, self.protocol, clean_session, keepalive, package_handler=handler
        )

    def _subscribed(self, _client: object, _mid: int, codes: tuple[int, ...], _p: object) -> None:
        self.handler.subscribed(codes[0])

    def _received(
        self, _client: object, _topic: str, payload: bytes, _qos: int, properties: dict[str, Any]
    ) -> None:
        correlation = properties.get("correlation_data") or [b""]
        self.handler.received(bytes(payload), bytes(correlation[0]))


class _Protocol(MQTTProtocol):  # type: ignore[misc]
    """gmqtt's protocol without its reading task: bytes are handled as they come."""

    def __init__(self, client: _Client, state: object, ids: object) -> None:
        super().__init__(connection_state=state, id_generator=ids)
        self.last_received = 0.0
        self._client = client
        self._loop_time = asyncio.get_running_loop().time
        self._rest = b""
        self._full = False
        self._greeted = False
        self._reason = ""

    @property
    def room(self) -> int:
        """Bytes that may be written now."""
        if self._full or self._transport is None or self._transport.is_closing():
            return 0
        return int(HIGH_WATER - self._transport.get_write_buffer_size())

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Set the socket up; as gmqtt's own, but nothing is read in a task."""
        super(MQTTProtocol, self).connection_made(transport)
        self.last_received = self._loop_time()
        transport.set_write_buffer_limits(high=HIGH_WATER)
        opened: socket.socket | None = transport.get_extra_info("socket")
        if opened is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT)

    def data_received(self, data: bytes) -> None:
        """Take PUBACKs apart here, and give everything else to gmqtt."""
        self.last_received = self._loop_time()
        data = self._rest + data if self._rest else data
        if not self._greeted and data[0] != _CONNACK:
            hint = "it expects TLS (mqtts://)" if data[0] == _TLS_ALERT else "no MQTT listener"
            self.abort(f"its answer is no CONNACK: {hint}")
            return
        pos, size = 0, len(data)
        while size - pos >= 2 and not self._reason:
            length, body = _length(data, pos + 1)
            if length > MAX_PACKET:
                self.abort(f"a packet of {length} bytes: at most {MAX_PACKET} were asked for")
                return
            if length < 0 or body + length > size:
                break
            self._packet(data[pos], data[body : body + length])
            pos = body + length
        self._rest = data[pos:]

    def eof_received(self) -> bool:
        """Close: nothing more will come."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell why; gmqtt's own would report it to the log and try again."""
        asyncio.StreamReaderProtocol.connection_lost(self, exc)
        self._connected.clear()
        if not self._client.lost.done():
            lost = told(exc) if exc else GONE
            self._client.lost.set_result(self._reason or lost)

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        self._full = True

    def resume_writing(self) -> None:
        """There is room again."""
        self._full = False
        self._client.handler.writable()

    def close(self, reason: str) -> None:
        """Close once what was written has gone."""
        self._reason = self._reason or reason
        self._transport.close()
        self._connection._keep_connection_callback.cancel()

    def abort(self, reason: str) -> None:
        """Close at once."""
        self._reason = self._reason or reason
        if self._transport is not None:
            self._transport.abort()
        if self._connection is not None:
            self._connection._keep_connection_callback.cancel()

    def _packet(self, first: int, body: bytes) -> None:
        kind = first & 0xF0
        if kind == _PUBACK and len(body) >= 2:
            code = body[2] if len(body) > 2 else 0
            self._client.handler.acknowledged(body[0] << 8 | body[1], code)
            return
        if first == _CONNACK and len(body) == 2:
            self._greet(_V311_REFUSALS.get(body[1], body[1]))  # no properties, nor their length
        else:
            try:
                self._checked(packets.decode(first, body, V5))
            except PeerError as error:
                self.abort(f"a packet that breaks the protocol: {error}")
        if not self._reason:
            self._connection.put_package(Package(first, body))

    def _checked(self, packet: packets.Packet) -> None:
        """Take what is handled here; everything that is not to be is an error."""
        match packet:
            case packets.Disconnect(code):
                self.close(f"disconnected: {reason_text(code)}")
            case packets.ConnAck(_, code):
                self._greet(code)
            case packets.SubAck() | packets.PingResp() | packets.Acknowledgement():
                pass
            case packets.Publish(topic) if topic:
                pass
            case _:
                self.abort(f"{type(packet).__name__} is not for a server to send")

    def _greet(self, code: int) -> None:
        """Take a CONNACK. gmqtt takes some codes for a reason to try MQTT 3.1.1; never here."""
        if self._greeted:
            self.abort("a second CONNACK")
        self._greeted = True
        if code:
            self._client.refused = code
            self.close(f"connection refused: {reason_text(code)}")


def _length(data: bytes, pos: int) -> tuple[int, int]:
    """Remaining Length at `pos` and where the body begins; -1: not all there yet."""
    value = shift = 0
    for at in range(pos, min(pos + 4, len(data))):
        value |= (data[at] & 0x7F) << shift
        if data[at] < 0x80:
            return value, at + 1
        shift += 7
    return (-1 if len(data) < pos + 4 else 1 << 28), pos
