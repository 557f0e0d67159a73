"""One client connection as a state machine: CONNECT, packets in order, keep-alive, the end.

Bytes come in by `receive`, in any portions; what goes out is put into the `Wire`. Time is an
argument. A mistake of the client costs this connection at most: it is told the reason code, and
`ended` says in words what happened, for the log.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Protocol

from isthmus_broker.auth.verify import Outcome
from isthmus_broker.connection import handshake, publishing, subscribing
from isthmus_broker.connection.node import Node, Peer
from isthmus_broker.errors import MalformedPacket, PeerError, ProtocolError
from isthmus_broker.mqtt import packets
from isthmus_broker.mqtt.codes import V5, V311, PacketType, ReasonCode
from isthmus_broker.mqtt.packets import Acknowledgement, Connect, Disconnect, Packet
from isthmus_broker.mqtt.properties import Properties, Property
from isthmus_broker.mqtt.scan import ACKS, FAULT, TOO_LARGE, Item, head, scan
from isthmus_broker.mqtt.session import Session, Sink
from isthmus_broker.routing.fanout import INGRESS, Fanout
from isthmus_broker.routing.ports import ClientInfo
from isthmus_broker.routing.registry import Will

_CONNECT_LIMIT: Final = 256 << 10
"""Bytes that a CONNECT may have: nobody has proved anything yet."""


class Wire(Sink, Protocol):
    """The outgoing half of the connection."""

    name: str

    @property
    def crowded(self) -> bool:
        """Whether work that can wait should."""

    def close(self) -> None:
        """Send what waits, then close."""

    def pause_reading(self) -> None:
        """Take no more bytes from the client for now."""

    def resume_reading(self) -> None:
        """Take bytes from the client again."""


class State(Enum):
    """Where a connection stands."""

    NEW = "waiting for CONNECT"
    AUTHENTICATING = "waiting for who the client is"
    OPEN = "open"
    ENDED = "ended"


class Connection:
    """The server side of one connection."""

    __slots__ = (
        "_have",
        "_heard",
        "_keep_alive",
        "_limit",
        "_need",
        "_parts",
        "_usual",
        "aliases",
        "at_fault",
        "client",
        "ended",
        "level",
        "lookup",
        "messages",
        "node",
        "peer",
        "retained",
        "session",
        "state",
        "will",
        "wire",
    )

    def __init__(self, node: Node, wire: Wire, peer: Peer, now: float) -> None:
        self.node = node
        self.wire = wire
        self.peer = peer
        self.state = State.NEW
        self.level: int = V311
        self.ended = ""
        """Why the connection has ended, in words."""
        self.at_fault = False
        """Whether it has ended because of what the client sent."""
        self.messages = 0
        """PUBLISH packets received."""
        self.session: Session | None = None
        self.client: ClientInfo | None = None
        self.will: Will | None = None
        self.lookup: dict[bytes, Fanout | None] = publishing.NOTHING
        self.aliases: dict[int, bytes] | None = None
        self.retained: subscribing.RetainedBacklog | None = None
        self._keep_alive = 0.0
        self._limit = min(node.mqtt.max_packet_size, _CONNECT_LIMIT)
        self._usual: tuple[bytes, int, Fanout, int] | None = None
        """Of the last PUBLISH that came alone: head, size, fan-out, and `changes` of the router."""
        self._heard = now
        self._parts: list[bytes] | None = None  # what has come of an incomplete packet,
        self._have = self._need = 0  # how much that is, and must be before a look is worth it
        node.deadlines.add(now + node.mqtt.idle_timeout, self._check_connected)

    # -- bytes in --------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> None:
        """Take what has come; never raises for anything that a client can send."""
        if self.ended:
            return
        self._heard = now
        self.node.counters.bytes_received += len(data)
        if self._parts is not None:
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = b"".join(self._parts)
            self._parts = None
        elif self._usual is not None and self.session is not None:
            begins, size, fanout, changes = self._usual
            if (
                size == len(data)
                and data.startswith(begins)
                and changes == self.node.router.changes
            ):
                self._run(fanout, data, 0, size, 1, self.session, now)
                return
        try:
            rest = self._take(data, now)
        except PeerError as error:
            self.at_fault = True
            self.fail(error, now)
            return
        if rest < len(data) and not self.ended:
            self._keep(data[rest:])

    def _take(self, data: bytes, now: float) -> int:
        """Handle every complete packet; returns where the first incomplete one begins."""
        pos = 0
        while True:
            if self.session is None:
                if self.state is not State.NEW:
                    return pos
                if pos < len(data) and data[pos] >> 4 != PacketType.CONNECT:
                    # Known before it is all here: another protocol may never complete it.
                    raise ProtocolError("the first packet is not CONNECT")  # [MQTT-3.1.0-1]
            items, rest = self._scan(data, pos)
            again = self._handle(data, items, now)
            if again is None:
                return rest
            pos = again

    def _scan(self, data: bytes, pos: int) -> tuple[list[Item], int]:
        lookup = self.lookup
        if isinstance(lookup, publishing.Permitted):
            lookup.renew()
        return scan(data, pos, lookup, self.level == V5, self._limit)  # type: ignore[arg-type]

    def _handle(self, data: bytes, items: list[Item], now: float) -> int | None:
        """Handle scanned items; returns from where to scan again, if a packet has made that due."""
        session = self.session
        stale = False
        for target, a, b, c in items:
            if target is not None and session is not None:
                if stale:
                    # Only the run itself: who mixes SUBSCRIBE and PUBLISH must not cost more.
                    self._handle(run := data[a:b], self._scan(run, 0)[0], now)
                    continue
                if c > 0:
                    self._run(target, data, a, b, c, session, now)  # type: ignore[arg-type]
                    if c == 1 and b - a == len(data):
                        self._expect(data, target)  # type: ignore[arg-type]
                else:
                    self.messages -= c
                    publishing.receive_run(self, session, target, data, a, b, now)  # type: ignore[arg-type]
            elif a == ACKS and session is not None:
                session.acknowledge_run(data, b, c, now)
            elif a == FAULT:
                raise _fault(b, self._limit)
            elif a & 0xF0 == _PUBLISH and session is not None:
                self.messages += 1
                publishing.receive(self, session, a, data, b, c, now)
            else:
                self._packet(a, data[b:c], now)
                if session is None or self.state is not State.OPEN:
                    return c
                stale = stale or a in _CHANGES_LOOKUP
        return None

    def _run(
        self,
        fanout: Fanout,
        data: bytes,
        start: int,
        end: int,
        count: int,
        session: Session,
        now: float,
    ) -> None:
        self.messages += count
        self.node.counters.messages_received += count
        if fanout is INGRESS:
            publishing.receive_forwarded(self, data, start, end, now)
            return
        username = self.client.username if self.client else None
        v5 = self.level == V5
        self.node.router.publish_run(fanout, data[start:end], count, v5, session, username, now)

    def _expect(self, data: bytes, fanout: Fanout) -> None:
        """Remember a packet that came alone: most devices send the like of it again and again."""
        if fanout is not INGRESS:
            changes = self.node.router.changes
            self._usual = head(data, self.level == V5), len(data), fanout, changes

    def _keep(self, rest: bytes) -> None:
        self._parts = [rest]
        self._have = len(rest)
        self._need = packets.length_needed(rest)

    # -- packets ---------------------------------------------------------------------------------

    def _packet(self, first: int, body: bytes, now: float) -> None:
        if self.state is State.NEW:
            self.level = handshake.claimed_level(body)  # what is wrong is told at that level
        packet = packets.decode(first, body, self.level)
        session = self.session
        if isinstance(packet, Connect):
            if self.state is not State.NEW:
                raise ProtocolError("a second CONNECT")  # [MQTT-3.1.0-2]
            handshake.begin(self, packet, now)
        elif session is None:
            raise ProtocolError(f"{type(packet).__name__} before CONNACK")
        elif isinstance(packet, Acknowledgement):
            self._acknowledgement(session, packet, now)
        else:
            self._other(session, packet, now)

    def _acknowledgement(self, session: Session, ack: Acknowledgement, now: float) -> None:
        if ack.type is PacketType.PUBREL:
            known = session.release_qos2(ack.packet_id)
            self.answer(PacketType.PUBCOMP, ack.packet_id, _known(known))
            return
        known = session.acknowledge(ack.type, ack.packet_id, ack.reason_code, now)
        if ack.type is PacketType.PUBREC and ack.reason_code < ReasonCode.UNSPECIFIED_ERROR:
            self.answer(PacketType.PUBREL, ack.packet_id, _known(known))

    def _other(self, session: Session, packet: Packet, now: float) -> None:
        match packet:
            case packets.Subscribe():
                subscribing.subscribe(self, session, packet, now)
            case packets.Unsubscribe():
                subscribing.unsubscribe(self, session, packet)
            case packets.PingReq():
                self.wire.put(b"\xd0\x00")
            case Disconnect():
                self._disconnected(session, packet, now)
            case _:
                raise ProtocolError(f"{type(packet).__name__} is not for a client to send")

    def _disconnected(self, session: Session, packet: Disconnect, now: float) -> None:
        expiry = packet.properties.get(Property.SESSION_EXPIRY_INTERVAL)
        if isinstance(expiry, int):
            if expiry and not session.expiry_interval:
                raise ProtocolError("Session Expiry Interval was 0 in CONNECT")  # 3.14.2.2.2
            session.expiry_interval = handshake.session_expiry(expiry, self.node.mqtt)
        if packet.reason_code != ReasonCode.DISCONNECT_WITH_WILL_MESSAGE:
            self.will = None  # [MQTT-3.14.4-3]
        self._finish("client disconnected", now)
        self.wire.close()

    def answer(self, kind: PacketType, packet_id: int, code: int = 0) -> None:
        """Send a PUBACK, PUBREC, PUBREL or PUBCOMP."""
        first = kind << 4 | (2 if kind is PacketType.PUBREL else 0)
        if code and self.level == V5:
            self.wire.put(bytes((first, 3)) + packet_id.to_bytes(2, "big") + bytes((code,)))
        else:
            self.wire.put(bytes((first, 2)) + packet_id.to_bytes(2, "big"))

    # -- the end ---------------------------------------------------------------------------------

    def authenticated(self, connect: Connect, outcome: Outcome, now: float) -> None:
        """Go on with a CONNECT whose outcome is known."""
        if self.state is not State.AUTHENTICATING:
            return  # gone meanwhile
        try:
            handshake.finish(self, connect, outcome, now)
        except PeerError as error:
            self.at_fault = True
            self.fail(error, now)
            return
        self.wire.resume_reading()
        if self._parts is not None:
            self._need = 0
            self.receive(b"", now)

    def opened(self, keep_alive: float, now: float) -> None:
        """Begin to watch the keep-alive (seconds, 0: none) of a connection that is now open."""
        self.state = State.OPEN
        self._limit = self.node.mqtt.max_packet_size  # as CONNACK tells it
        self._keep_alive = keep_alive * self.node.mqtt.keepalive_multiplier
        if self._keep_alive:
            self.node.deadlines.add(now + self._keep_alive, self._check_alive)

    def reauthorise(self) -> None:
        """Take up changed rules."""
        if self.client is not None and self.state is State.OPEN:
            self.lookup = publishing.lookup_for(self.node, self.client)
            self._usual = None

    def displace(self, code: ReasonCode, now: float) -> None:
        """Disconnect with a reason code, from the server's side."""
        self.fail(PeerError(code.name.lower().replace("_", " "), code), now)

    def fail(self, error: PeerError, now: float) -> None:
        """End the connection, telling the client why as far as its protocol level can."""
        if self.state is State.OPEN:
            if self.level == V5:
                reason: Properties = {Property.REASON_STRING: str(error)}
                self.wire.put(packets.encode(Disconnect(error.code, reason), V5))
        elif self.state is not State.ENDED:
            handshake.refuse(self, error)
            self.node.counters.refuse(_name(error.code))
        self._finish(f"{_name(error.code)}: {error}", now)
        self.wire.close()

    def lost(self, reason: str, now: float) -> None:
        """Note that the transport is gone."""
        self._finish(reason, now)

    def _finish(self, why: str, now: float) -> None:
        if self.state is State.ENDED:
            return
        self.state = State.ENDED
        self.ended = why
        session, client, node = self.session, self.client, self.node
        self.session = self._parts = self.aliases = self.retained = None
        self.lookup = publishing.NOTHING
        if session is not None:
            node.registry.close(session, self, self.will, now)
        self.will = None
        if client is not None and node.ingress is not None:
            node.ingress.closed(client)

    # -- deadlines -------------------------------------------------------------------------------

    def _check_connected(self, now: float) -> None:
        if self.state in (State.NEW, State.AUTHENTICATING):
            self._finish("no CONNECT in time", now)
            self.wire.close()

    def _check_alive(self, now: float) -> float | None:
        if self.state is not State.OPEN:
            return None
        due = self._heard + self._keep_alive
        if due > now:
            return due
        self.fail(PeerError("no packet in time", ReasonCode.KEEP_ALIVE_TIMEOUT), now)
        return None  # [MQTT-3.1.2-22]


_PUBLISH: Final = int(PacketType.PUBLISH) << 4
_CHANGES_LOOKUP: Final = frozenset({0x82, 0xA2})
"""First bytes of SUBSCRIBE and UNSUBSCRIBE: after them a topic may have another target."""


def _known(known: bool) -> int:
    return 0 if known else ReasonCode.PACKET_IDENTIFIER_NOT_FOUND


def _name(code: int) -> str:
    return ReasonCode(code).name.lower()


def _fault(code: int, limit: int) -> PeerError:
    if code == TOO_LARGE:
        return ProtocolError(f"a packet of more than {limit} bytes", code)  # [MQTT-3.2.2-15]
    return MalformedPacket("the Remaining Length is not a Variable Byte Integer")
