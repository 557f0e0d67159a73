"""What outlives a connection: subscriptions, QoS 1 and 2 in flight, the queue, what is awaited.

One `Session` a client id (4.1). It turns a message into the bytes that its client gets, within the
client's Receive Maximum and Maximum Packet Size, and keeps what is not acknowledged. Who is handed
which message is routing's business; when a session ends, the registry's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol

from isthmus_broker.errors import ProtocolError
from isthmus_broker.mqtt.codes import V5, PacketType, ReasonCode
from isthmus_broker.mqtt.publish import Message, OriginKind
from isthmus_broker.mqtt.wire import varint

_SUBSCRIPTION_ID: Final = b"\x0b"
_TOPIC_ALIAS: Final = b"\x23"
_QUEUED_OVERHEAD: Final = 200  # bytes that a queued message costs beside its topic and payload


class Sink(Protocol):
    """Where the bytes for a connected client go."""

    def put(self, data: bytes) -> None:
        """Send: bounded by the session's window, so never refused."""

    def offer(self, data: bytes, count: int) -> bool:
        """Send `count` packets of QoS 0, or drop and count them where the buffer is full."""


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """What one session may hold, from the configuration's `mqtt` section."""

    max_inflight: int = 128
    """QoS 1 and 2 messages sent and not acknowledged; the client's Receive Maximum also counts."""
    receive_maximum: int = 1024
    """QoS 2 messages that the client may have unreleased: our Receive Maximum."""
    await_release: float = 300.0
    """Seconds after which an unreleased one may be forgotten, where there is no room for more."""
    max_queue: int = 10_000
    """Messages of QoS 1 and 2 that wait."""
    max_queue_bytes: int = 8 << 20
    queue_qos0: bool = False
    """Whether QoS 0 waits, too, while the client is away."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """One subscription and its options (3.8.3.1)."""

    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0
    identifier: int = 0
    """Subscription Identifier; 0 where the client gave none."""


class Delivery:
    """How one session gets the messages of a topic: its matching subscriptions, merged.

    Overlapping subscriptions deliver once, at the highest QoS, with every identifier (3.3.4).
    """

    __slots__ = ("no_local", "own", "qos", "retain_as_published", "session")

    def __init__(self, session: Session, subscriptions: list[Subscription]) -> None:
        self.session = session
        self.qos = max(s.qos for s in subscriptions)
        self.no_local = all(s.no_local for s in subscriptions)
        self.retain_as_published = any(s.retain_as_published for s in subscriptions)
        ids = [s.identifier for s in subscriptions if s.identifier]
        self.own = b"".join([_SUBSCRIPTION_ID + varint(i) for i in ids])


_Outgoing = tuple[Message, int, bool, bytes]  # message, QoS, retain flag, own properties


class Session:
    """The state of one client id; `sink` is None while the client is away.

    Times are monotonic seconds. `dropped` counts, by reason, the messages that the client should
    have had.
    """

    __slots__ = (
        "_aliases",
        "_inflight",
        "_next_id",
        "_queue",
        "_resend",
        "alias_maximum",
        "awaiting_release",
        "client_id",
        "dropped",
        "expiry_interval",
        "level",
        "limits",
        "packet_limit",
        "plain",
        "queue_bytes",
        "sink",
        "subscriptions",
        "window",
    )

    def __init__(self, client_id: str, limits: QueueLimits) -> None:
        self.client_id = client_id
        self.limits = limits
        self.level: int = V5
        self.sink: Sink | None = None
        self.plain = False
        """Whether packets need not be adapted to the client: they may be handed on as they came."""
        self.expiry_interval: float = 0.0
        self.subscriptions: dict[bytes, Subscription] | None = None
        self.window = limits.max_inflight
        self.packet_limit = 0
        self.alias_maximum = 0
        self.queue_bytes = 0
        self.dropped: dict[str, int] | None = None
        self.awaiting_release: dict[int, float] | None = None
        self._next_id = 0
        # Made when first needed: most clients are idle, and there are many of them.
        self._inflight: dict[int, _Outgoing | None] | None = None
        self._queue: deque[_Outgoing] | None = None
        self._resend: deque[int] | None = None
        self._aliases: dict[bytes, int] | None = None

    @property
    def inflight(self) -> int:
        """Messages sent and not acknowledged."""
        return len(self._inflight) if self._inflight else 0

    @property
    def queued(self) -> int:
        """Messages that wait for the client, or for room in the window."""
        return len(self._queue) if self._queue else 0

    def attach(
        self,
        sink: Sink,
        level: int,
        *,
        receive_maximum: int = 65_535,
        packet_limit: int = 0,
        alias_maximum: int = 0,
    ) -> None:
        """Bind to a new connection; call `resume` once its CONNACK has been sent."""
        self.sink = sink
        self.level = level
        self.window = min(receive_maximum, self.limits.max_inflight)
        self.packet_limit = packet_limit
        self.alias_maximum = alias_maximum
        self.plain = not packet_limit and not alias_maximum
        self._aliases = None  # aliases end with their connection [MQTT-3.3.2-7]

    def detach(self) -> None:
        """Note that the client has gone."""
        self.sink = None
        self.plain = False
        self._resend = None

    def resume(self, now: float) -> None:
        """Send again what was not acknowledged, in order [MQTT-4.4.0-1, 4.6.0-1]; then go on."""
        if self._inflight:
            self._resend = deque(self._inflight)
            for _ in range(min(self.window, len(self._resend))):
                self._send_again(now)
        self._pump(now)

    def deliver(
        self, message: Message, delivery: Delivery, now: float, *, retained: bool = False
    ) -> bool:
        """Send, or keep, one message; False where this client does not get it.

        `retained`: it comes from the retained messages, at the time of a subscription.
        """
        if (
            delivery.no_local
            and message.publisher == self.client_id
            and not retained
            and message.origin.kind is not OriginKind.LINK  # another client of the same name
        ):
            return False  # [MQTT-3.8.3-3]
        # A call of min() would cost three times as much.
        qos = message.qos if message.qos < delivery.qos else delivery.qos  # noqa: FURB136
        retain = retained or (message.retain and delivery.retain_as_published)
        sink = self.sink
        if qos:
            inflight = self._inflight
            if (
                sink is not None
                and not self._queue
                and (inflight is None or len(inflight) < self.window)
            ):
                self._send(sink, (message, qos, retain, delivery.own), now)
                return True
            return self._enqueue((message, qos, retain, delivery.own))
        if sink is None:
            if self.limits.queue_qos0 and self.expiry_interval:
                return self._enqueue((message, 0, retain, delivery.own))
            return False
        return self._offer(sink, message, retain, delivery.own, now)

    def acknowledge(self, kind: PacketType, packet_id: int, code: int, now: float) -> bool:
        """Take a PUBACK, PUBREC or PUBCOMP; False where its packet identifier is not in use."""
        inflight = self._inflight
        if not inflight or packet_id not in inflight:
            return False
        entry = inflight[packet_id]
        if kind is PacketType.PUBREC and code < ReasonCode.UNSPECIFIED_ERROR:
            inflight[packet_id] = None  # the message is the client's now: [MQTT-4.3.3-4]
            return True
        expected = PacketType.PUBCOMP if entry is None else _FIRST_ANSWER[entry[1]]
        if kind is not expected:
            return False
        del inflight[packet_id]
        self._go_on(now)
        return True

    def acknowledge_run(self, data: bytes, start: int, end: int, now: float) -> None:
        """Take consecutive PUBACK packets of four bytes (`scan.ACKS`): the common case of QoS 1."""
        inflight = self._inflight
        if not inflight:
            return
        before = len(inflight)
        for pos in range(start + 2, end, 4):
            packet_id = data[pos] << 8 | data[pos + 1]
            entry = inflight.get(packet_id)
            if entry is not None and entry[1] == 1:
                del inflight[packet_id]
        if self._resend:
            for _ in range(before - len(inflight)):
                self._send_again(now)
        if self._queue:
            self._pump(now)

    def receive_qos2(self, packet_id: int, now: float) -> bool:
        """Note an incoming QoS 2 message; False where it was already published [MQTT-4.3.3-10].

        Raises:
            ProtocolError: the client has more unreleased than our Receive Maximum [MQTT-3.3.4-9].
        """
        awaiting = self.awaiting_release
        if awaiting is None:
            awaiting = self.awaiting_release = {}
        if packet_id in awaiting:
            return False
        limits = self.limits
        while len(awaiting) >= limits.receive_maximum:
            oldest = next(iter(awaiting))
            if awaiting[oldest] + limits.await_release > now:
                raise ProtocolError(
                    f"more than {limits.receive_maximum} unreleased QoS 2 messages",
                    ReasonCode.RECEIVE_MAXIMUM_EXCEEDED,
                )
            del awaiting[oldest]
        awaiting[packet_id] = now
        return True

    def release_qos2(self, packet_id: int) -> bool:
        """Take a PUBREL; False where its packet identifier is not known."""
        if not self.awaiting_release or packet_id not in self.awaiting_release:
            return False
        del self.awaiting_release[packet_id]
        return True

    def drop(self, reason: str, count: int = 1) -> None:
        """Count messages that this client will not get."""
        if self.dropped is None:
            self.dropped = {}
        self.dropped[reason] = self.dropped.get(reason, 0) + count

    def _go_on(self, now: float) -> None:
        if self._resend:
            self._send_again(now)
        self._pump(now)

    def _pump(self, now: float) -> None:
        queue, sink, window = self._queue, self.sink, self.window
        if sink is None or not queue:
            return
        while queue and (not self._inflight or len(self._inflight) < window):
            entry = queue.popleft()
            message = entry[0]
            self.queue_bytes -= _cost(message)
            if message.expires_at is not None and message.expired(now):
                self.drop("expired")  # [MQTT-3.3.2-5]
            elif entry[1]:
                self._send(sink, entry, now)
            else:
                self._offer(sink, message, entry[2], entry[3], now)
        if not queue:
            self._queue = None

    def _enqueue(self, entry: _Outgoing) -> bool:
        limits, queue = self.limits, self._queue
        if queue is None:
            queue = self._queue = deque()
        size = self.queue_bytes + _cost(entry[0])
        if len(queue) >= limits.max_queue or size > limits.max_queue_bytes:
            self.drop("queue_full")
            return False
        queue.append(entry)
        self.queue_bytes = size
        return True

    def _send(self, sink: Sink, entry: _Outgoing, now: float) -> None:
        inflight = self._inflight
        if inflight is None:
            inflight = self._inflight = {}
        packet_id = self._next_id = self._next_id % 65_535 + 1
        while packet_id in inflight:  # [MQTT-2.2.1-3]
            packet_id = self._next_id = self._next_id % 65_535 + 1
        message, qos, retain, own = entry
        if not own and message.expires_at is None and self.plain:
            head, tail = message.parts(self.level, qos, retain)
            inflight[packet_id] = entry
            sink.put(head + packet_id.to_bytes(2, "big") + tail)
            return
        frame, alias = self._frame(entry, packet_id, now, dup=False)
        if self.packet_limit and len(frame) > self.packet_limit:
            self.drop("too_large")  # as if it had been sent [MQTT-3.1.2-25]
            return
        inflight[packet_id] = entry
        sink.put(frame)
        if alias:
            self._learn(message.topic, alias)

    def _send_again(self, now: float) -> None:
        resend, inflight, sink = self._resend, self._inflight, self.sink
        while resend and inflight and sink is not None:
            packet_id = resend.popleft()
            if packet_id not in inflight:
                continue
            entry = inflight[packet_id]
            if entry is None:
                sink.put(b"\x62\x02" + packet_id.to_bytes(2, "big"))  # PUBREL
                return
            frame, alias = self._frame(entry, packet_id, now, dup=True)
            if self.packet_limit and len(frame) > self.packet_limit:
                del inflight[packet_id]
                self.drop("too_large")
                continue
            sink.put(frame)
            if alias:
                self._learn(entry[0].topic, alias)
            return

    def _offer(self, sink: Sink, message: Message, retain: bool, own: bytes, now: float) -> bool:
        if not own and message.expires_at is None and self.plain:
            head, tail = message.parts(self.level, 0, retain)
            return sink.offer(head + tail, 1)
        frame, alias = self._frame((message, 0, retain, own), 0, now, dup=False)
        if self.packet_limit and len(frame) > self.packet_limit:
            self.drop("too_large")
            return False
        if not sink.offer(frame, 1):
            return False
        if alias:
            # Only now: had the packet been dropped, the client would not know the alias.
            self._learn(message.topic, alias)
        return True

    def _frame(
        self, entry: _Outgoing, packet_id: int, now: float, *, dup: bool
    ) -> tuple[bytes, int]:
        """The packet, and the alias that it teaches the client (0: none)."""
        message, qos, retain, own = entry
        if self.level != V5:
            return message.frame(self.level, qos, retain, packet_id, now, dup=dup), 0
        alias, topic, new = 0, None, 0
        if self.alias_maximum:
            known = self._aliases or {}
            alias = known.get(message.topic, 0)
            if alias:
                topic = b""
            elif len(known) < self.alias_maximum:
                alias = new = len(known) + 1
        if alias:
            own = _TOPIC_ALIAS + alias.to_bytes(2, "big") + own
        frame = message.frame(V5, qos, retain, packet_id, now, dup=dup, topic=topic, own=own)
        return frame, new

    def _learn(self, topic: bytes, alias: int) -> None:
        if self._aliases is None:
            self._aliases = {}
        self._aliases[topic] = alias


_FIRST_ANSWER: Final = {1: PacketType.PUBACK, 2: PacketType.PUBREC}


def _cost(message: Message) -> int:
    return len(message.payload) + len(message.topic) + len(message.properties) + _QUEUED_OVERHEAD
