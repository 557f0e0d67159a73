"""Hand-made peers that behave on the wire as EMQX 5.8.9 was seen to, in both roles of a link.

`EmqxServer` takes the connections of a link of ours; `EmqxClient` is one connection of a link of
EMQX's to us. Both say just what a test has them say.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
import zlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from isthmus_broker.link import etf, payload
from isthmus_broker.link.etf import Atom, Term
from isthmus_broker.link.message import decode_message
from isthmus_broker.link.payload import ActorInit, ActorInitAck, Heartbeat, Routes
from isthmus_broker.link.routes import RouteOp
from isthmus_broker.mqtt.codes import V5, PacketType
from isthmus_broker.mqtt.packets import (
    Acknowledgement,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    Publish,
    SubAck,
    Subscribe,
)
from isthmus_broker.mqtt.properties import Properties, Property
from proxy import Doorstep
from rawmqtt import CLOSED, Closed, RawClient
from waiting import wait_for

CONNACK: Final[Properties] = {
    Property.SHARED_SUBSCRIPTION_AVAILABLE: 1,
    Property.SUBSCRIPTION_IDENTIFIER_AVAILABLE: 1,
    Property.WILDCARD_SUBSCRIPTION_AVAILABLE: 1,
    Property.MAXIMUM_PACKET_SIZE: 1 << 20,
    Property.RETAIN_AVAILABLE: 1,
    Property.TOPIC_ALIAS_MAXIMUM: 65_535,
    Property.RECEIVE_MAXIMUM: 32,
}
"""As EMQX 5.8.9 says it."""
NO_SUBSCRIBERS: Final = 0x10
ACTOR: Final = "emqx@10.0.0.1"
_ids = itertools.count(0x000660F37D6921B3AA75000002D50002)


class Accepted(RawClient):
    """The server's end of one connection."""

    def __init__(self, accepted: socket.socket) -> None:
        # Not the base's: that connects.
        self.level = V5
        self.socket = accepted
        self._buffer = bytearray()
        self._skipped = deque()
        self._next_id = 0


@dataclass
class Manners:
    """How a server answers a link."""

    error: str = ""
    """Refuse with this."""
    need_bootstrap: bool = True
    puback_first: bool = True
    """PUBACK before the answer, or after it."""
    answer_qos: int = 1
    ack_code: int = NO_SUBSCRIBERS
    """Reason code of PUBACKs of control packets."""
    message_code: int = 0
    """Reason code of PUBACKs of messages."""
    answers: bool = True
    extra: dict[Any, Any] = field(default_factory=dict)
    """More keys in the answer."""
    connack: Properties = field(default_factory=lambda: dict(CONNACK))
    say: Term = None
    """Answer with just this term instead."""
    refuse: int = 0
    """Refuse the CONNECT with this reason code."""
    suback_code: int = 1


@dataclass
class Heard:
    """One connection as the server has it."""

    connect: Connect
    one: Accepted
    publishes: list[Publish] = field(default_factory=list)
    filters: list[bytes] = field(default_factory=list)
    acks: list[Acknowledgement] = field(default_factory=list)
    pings: int = 0
    closed: bool = False
    disconnect: Disconnect | None = None

    def break_off(self) -> None:
        """Close the connection without a word, as EMQX does."""
        with contextlib.suppress(OSError):
            self.one.socket.shutdown(socket.SHUT_RDWR)


class EmqxServer:
    """Takes connections of a link; `acknowledging` lets messages be acknowledged."""

    def __init__(self, port: int = 0, manners: Manners | None = None) -> None:
        self.manners = manners or Manners()
        self.connections: list[Heard] = []
        self.inits: list[ActorInit] = []
        self.routes: list[Routes] = []
        self.heartbeats: list[Heartbeat] = []
        self.unacknowledged: list[tuple[Heard, Publish]] = []
        self.most_unacknowledged = 0
        self.acknowledging = threading.Event()
        self.acknowledging.set()
        self._reading = threading.Event()
        self._reading.set()
        self._lock = threading.Lock()
        self._door = Doorstep(self._serve, port)
        self.port = self._door.port

    @property
    def attempts(self) -> int:
        """Connections that have been tried."""
        return self._door.count

    def hold(self) -> None:
        """Read nothing any more."""
        self._reading.clear()

    def release(self) -> None:
        """Read again."""
        self._reading.set()

    def close(self) -> None:
        """Close everything."""
        self.release()
        self._door.close()

    @property
    def ops(self) -> list[RouteOp]:
        """Every route operation so far."""
        return [op for routes in list(self.routes) for op in routes.ops]

    @property
    def messages(self) -> list[tuple[bytes, bytes]]:
        """Topics and payloads of the messages that were forwarded, in the order they came."""
        with self._lock:
            packets = [it for heard in self.connections for it in heard.publishes]
        return [
            decode_message(it.payload)[:2]
            for it in packets
            if it.topic.startswith(payload.MESSAGE_TOPIC)
        ]

    def wait_inits(self, count: int = 1) -> ActorInit:
        """Wait until an actor has introduced itself so many times; returns the last time."""
        wait_for(lambda: len(self.inits) >= count, what=f"{count} introductions")
        return self.inits[-1]

    def wait_ops(self, *wanted: RouteOp) -> None:
        """Wait until just these operations have come, in any order."""
        wait_for(
            lambda: sorted(self.ops) == sorted(wanted),
            what=f"operations {wanted}; there are {self.ops}",
        )

    def wait_messages(self, *payloads: bytes) -> None:
        """Wait until just these messages have come, in this order."""
        wait_for(
            lambda: [it for _, it in self.messages] == list(payloads),
            what=f"messages {payloads}",
        )

    def live(self, kind: str) -> list[Heard]:
        """Connections that are open, of `routesync` or `msg`."""
        return [
            it for it in self.connections if not it.closed and f":{kind}:" in it.connect.client_id
        ]

    def wait_live(self, kind: str, count: int = 1) -> list[Heard]:
        """Wait until so many connections of one kind are open."""
        wait_for(lambda: len(self.live(kind)) == count, what=f"{count} connections: {kind}")
        return self.live(kind)

    def acknowledge(self, code: int | None = None) -> None:
        """Acknowledge every message that waits for it."""
        with self._lock:
            waiting, self.unacknowledged = self.unacknowledged, []
        for heard, packet in waiting:
            self._ack(heard, packet, self.manners.message_code if code is None else code)

    # -- one connection --------------------------------------------------------------------------

    def _serve(self, accepted: socket.socket) -> None:
        one = Accepted(accepted)
        heard: Heard | None = None
        try:
            connect = one.expect(Connect)
            heard = Heard(connect, one)
            with self._lock:
                self.connections.append(heard)
            code = self.manners.refuse
            one.send(ConnAck(reason_code=code, properties={} if code else self.manners.connack))
            if code:
                raise Closed("refused")  # noqa: TRY301 - as when the other side closes
            while True:
                packet = one.receive()
                self._reading.wait()
                self._take(heard, packet)
        except (Closed, OSError):
            pass
        finally:
            one.drop()
            if heard is not None:
                heard.closed = True

    def _take(self, heard: Heard, packet: Packet) -> None:
        match packet:
            case PingReq():
                heard.pings += 1
                heard.one.send(PingResp())
            case Subscribe():
                heard.filters += [filter for filter, _ in packet.filters]
                codes = [self.manners.suback_code for _ in packet.filters]
                heard.one.send(SubAck(packet.packet_id, codes))
            case Acknowledgement():
                heard.acks.append(packet)
            case Publish() if packet.topic.startswith(payload.ROUTE_TOPIC):
                heard.publishes.append(packet)
                self._control(heard, packet)
            case Publish():
                self._message(heard, packet)
            case Disconnect():
                heard.disconnect = packet

    def _control(self, heard: Heard, packet: Publish) -> None:
        manners = self.manners
        control = payload.decode_control(packet.payload)
        answer = isinstance(control, ActorInit)
        if packet.qos and (manners.puback_first or not answer):
            self._ack(heard, packet, manners.ack_code)
        match control:
            case ActorInit():
                self.inits.append(control)
                if manners.answers:
                    self._answer(heard, control, packet)
            case Routes():
                self.routes.append(control)
            case Heartbeat():
                self.heartbeats.append(control)
        if packet.qos and answer and not manners.puback_first:
            self._ack(heard, packet, manners.ack_code)

    def _answer(self, heard: Heard, init: ActorInit, packet: Publish) -> None:
        manners = self.manners
        topic = packet.properties[Property.RESPONSE_TOPIC]
        assert isinstance(topic, str)
        ack = ActorInitAck(init.actor, manners.error, manners.need_bootstrap)
        term = manners.say or {**etf.decode(payload.encode_control(ack)), **manners.extra}
        correlation = packet.properties[Property.CORRELATION_DATA]
        properties: Properties = {Property.CORRELATION_DATA: correlation}
        qos = manners.answer_qos
        heard.one.publish(topic, etf.encode(term), qos, properties=properties)

    def _message(self, heard: Heard, packet: Publish) -> None:
        with self._lock:
            heard.publishes.append(packet)
            if not packet.qos:
                return
            self.unacknowledged.append((heard, packet))
            waiting = sum(it is heard for it, _ in self.unacknowledged)
            self.most_unacknowledged = max(self.most_unacknowledged, waiting)
        if self.acknowledging.is_set():
            self.acknowledge()

    @staticmethod
    def _ack(heard: Heard, packet: Publish, code: int) -> None:
        with contextlib.suppress(*CLOSED, OSError):
            heard.one.ack(PacketType.PUBACK, packet, code)


class EmqxClient(RawClient):
    """One connection of a link that EMQX has to us."""

    def __init__(self, port: int, name: str, client_id: str = "", **options: Any) -> None:
        super().__init__(port, V5, **options)
        self.name = name
        self.client_id = client_id or f"clink-{name}:routesync:93901918"
        self.response_topic = f"$LINK/cluster/resp/{name}/{ACTOR}"

    def hello(self, **fields: Any) -> ConnAck:
        """Connect as the route connection does."""
        fields.setdefault("clean_start", False)
        fields.setdefault("properties", {Property.SESSION_EXPIRY_INTERVAL: 60})
        return self.connect(self.client_id, keep_alive=60, **fields)

    def control(self, term: Term, **fields: Any) -> Publish:
        """Publish a control packet at QoS 1."""
        return self.publish(f"$LINK/cluster/route/{self.name}", etf.encode(term), 1, **fields)

    def introduce(
        self, target: str, incarnation: int = 1_795_448_752_212, *, take: bool = True, **more: Any
    ) -> dict[Term, Term]:
        """Subscribe and introduce ourselves; returns the answer, and takes the PUBACK."""
        assert self.subscribe(self.response_topic, qos=1).codes == [1]
        sent = self.control(
            {
                10: ACTOR.encode(),
                11: incarnation,
                13: target.encode(),
                14: more.pop("version", 1),
                Atom("$op"): b"actor_init",
            },
            properties={
                Property.RESPONSE_TOPIC: self.response_topic,
                Property.CORRELATION_DATA: b"4fa7e459b0ad5342",
            },
            **more,
        )
        return self.answered(sent) if take else {}

    def answered(self, sent: Publish) -> dict[Term, Term]:
        """Take the PUBACK and the answer, in either order."""
        answer: dict[Term, Term] = {}
        acknowledged = False
        while not answer or not acknowledged:
            packet = self.receive()
            if isinstance(packet, Acknowledgement):
                assert packet.packet_id == sent.packet_id
                assert packet.reason_code in (0, NO_SUBSCRIBERS)
                acknowledged = True
            else:
                assert isinstance(packet, Publish), packet
                assert packet.topic == self.response_topic.encode()
                assert packet.properties[Property.CORRELATION_DATA] == b"4fa7e459b0ad5342"
                answer = etf.decode(packet.payload)
                if packet.qos:
                    self.ack(PacketType.PUBACK, packet)
        return answer

    def routes(self, *ops: tuple[Any, ...], incarnation: int = 1_795_448_752_212) -> None:
        """Announce routes; the PUBACK says that they are known."""
        sent = self.control(
            {10: ACTOR.encode(), 11: incarnation, 12: list(ops), Atom("$op"): b"route"}
        )
        assert self.expect_ack(PacketType.PUBACK, sent).reason_code in (0, NO_SUBSCRIBERS)

    def heartbeat(self, incarnation: int = 1_795_448_752_212) -> None:
        """A proof of life, at QoS 0."""
        term = {10: ACTOR.encode(), 11: incarnation, Atom("$op"): b"heartbeat"}
        self.publish(f"$LINK/cluster/route/{self.name}", etf.encode(term))

    def forward(self, term: Term | bytes, qos: int = 1) -> Publish:
        """Forward a message, encoded or not."""
        data = term if isinstance(term, bytes) else etf.encode(term)
        return self.publish(f"$LINK/cluster/msg/{self.name}", data, qos)

    def forwarded(self, term: Term | bytes) -> int:
        """Forward a message at QoS 1; returns the reason code of its PUBACK."""
        sent = self.forward(term)
        return self.expect_ack(PacketType.PUBACK, sent).reason_code


def message(
    topic: str,
    body: bytes | list[Term] = b"",
    qos: int = 1,
    *,
    flags: dict[Atom, Term] | None = None,
    headers: dict[Atom, Term] | None = None,
    publisher: Term = b"pub_on_emqx",
    timestamp: int | None = None,
    id: bytes = b"",
) -> tuple[Term, ...]:
    """A message as EMQX forwards it, with headers as it has them; each with an id of its own."""
    own: dict[Atom, Term] = {
        Atom("peername"): ((127, 0, 0, 1), 45977),
        Atom("protocol"): Atom("mqtt"),
        Atom("username"): Atom("undefined"),
        Atom("client_attrs"): {},
        Atom("peerhost"): (127, 0, 0, 1),
        Atom("properties"): {},
        Atom("proto_ver"): 5,
    }
    false = Atom("false")
    return (
        Atom("message"),
        id or next(_ids).to_bytes(16, "big"),
        qos,
        publisher,
        {Atom("dup"): false, Atom("retain"): false} if flags is None else flags,
        own if headers is None else headers,
        topic.encode(),
        body,
        time.time_ns() // 1_000_000 if timestamp is None else timestamp,
        {},
    )


def compressed(term: Term) -> bytes:
    """A term as `term_to_binary(Term, [compressed])` gives it."""
    plain = etf.encode(term)[1:]
    return b"\x83P" + len(plain).to_bytes(4, "big") + zlib.compress(plain)


def op_terms(*filters: str) -> Sequence[tuple[bytes, bytes]]:
    """Operations that add routes of plain subscriptions."""
    return [(one.encode(), one.encode()) for one in filters]
