"""A whole node without sockets and clocks: for what needs exact times, or a great many steps.

Everything but `net` and `server` is real. `PureClient` is `rawmqtt.RawClient` without the waiting:
what the node has sent is there at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from isthmus_broker.auth.rules import Rules
from isthmus_broker.auth.verify import Outcome, Proof
from isthmus_broker.connection.connection import Connection
from isthmus_broker.connection.node import Node, Peer
from isthmus_broker.mqtt import packets
from isthmus_broker.mqtt.codes import V5, PacketType
from isthmus_broker.mqtt.deadlines import Deadlines
from isthmus_broker.mqtt.packets import Acknowledgement, ConnAck, Connect, Packet, Publish
from isthmus_broker.mqtt.properties import Property
from isthmus_broker.mqtt.session import Delivery, QueueLimits
from isthmus_broker.routing.counters import Counters
from isthmus_broker.routing.registry import Registry
from isthmus_broker.routing.retained import Retained
from isthmus_broker.routing.router import Router
from isthmus_broker.routing.shared import Group
from isthmus_broker.settings import Settings


class PureNode:
    """One node; `now` is its clock, which `advance` moves."""

    def __init__(
        self, *, limits: QueueLimits | None = None, retained: Retained | None = None, **mqtt: Any
    ) -> None:
        settings = Settings.model_validate({"mqtt": mqtt})
        self.now = 1000.0
        self.deadlines = Deadlines()
        self.counters = Counters()
        self.outcome: Outcome | None = None
        """What authentication says; None: it lets everybody in."""
        self.asked: list[Callable[[Outcome], None]] | None = None
        """Where a list is put here, authentication answers when the test says so."""
        self.repeated: list[Callable[[float], float | None]] = []
        rng = random.Random(1)

        def new_group() -> Group[Delivery]:
            return Group(settings.mqtt.shared_subscription_strategy, rng)

        self.router = Router(
            retained or Retained(),
            self.counters,
            new_group,
            max_levels=settings.mqtt.max_topic_levels,
        )
        self.registry = Registry(
            self.router,
            self.deadlines,
            self.router.publish,
            max_sessions=settings.mqtt.max_sessions,
        )
        self.node = Node(
            router=self.router,
            registry=self.registry,
            deadlines=self.deadlines,
            counters=self.counters,
            authenticate=self._authenticate,
            rules=Rules(settings.authorization, ()),
            mqtt=settings.mqtt,
            queue_limits=limits
            or QueueLimits(
                max_inflight=settings.mqtt.max_inflight,
                receive_maximum=settings.mqtt.receive_maximum,
            ),
            repeat=self.repeated.append,
            new_client_id=lambda: f"assigned-{rng.random()}",
        )

    def advance(self, seconds: float) -> None:
        """Let time pass; everything that is due on the way happens in its order."""
        end = self.now + seconds
        while (due := self.deadlines.next) is not None and due <= end:
            self.now = max(self.now, due)
            self.deadlines.run(self.now)
        self.now = end
        self.deadlines.run(end)

    def settle(self) -> None:
        """Do all work that is done in slices."""
        while self.repeated:
            step = self.repeated.pop(0)
            if step(self.now) is not None:
                self.repeated.append(step)

    def client(self, client_id: str = "", level: int = V5, **fields: Any) -> PureClient:
        """A client that is connected (fields as in `packets.Connect`)."""
        client = PureClient(self, level)
        client.send(Connect(client_id, level, **fields))
        answer = client.received.pop(0)
        assert isinstance(answer, ConnAck), answer
        assert answer.reason_code == 0, answer
        client.connack = answer
        return client

    def _authenticate(self, connect: Connect, peer: Peer, done: Callable[[Outcome], None]) -> None:
        if self.asked is not None:
            self.asked.append(done)
        else:
            done(Proof(connect.username) if self.outcome is None else self.outcome)


class PureWire:
    """Takes what a connection sends."""

    def __init__(self) -> None:
        self.name = ""
        self.sent = bytearray()
        self.closed = False
        self.reading = True
        self.full = False
        """Whether QoS 0 is dropped, and work that can wait does."""

    @property
    def crowded(self) -> bool:
        return self.full

    def put(self, data: bytes) -> None:
        if not self.closed:
            self.sent += data

    def offer(self, data: bytes, count: int) -> bool:
        if self.full or self.closed:
            return False
        self.sent += data
        return True

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class PureClient:
    """The client's end of one connection to a `PureNode`."""

    def __init__(self, node: PureNode, level: int = V5) -> None:
        self.node = node
        self.level = level
        self.wire = PureWire()
        self.connack = ConnAck()
        self.received: list[Packet] = []
        """Packets that have come and were not looked at yet."""
        self._next_id = 0
        self.connection = Connection(node.node, self.wire, Peer("127.0.0.1", "tcp:test"), node.now)

    @property
    def closed(self) -> bool:
        """Whether the node has closed the connection."""
        return self.wire.closed

    def send(self, *what: bytes | Packet) -> None:
        """Send bytes as they are, and packets encoded, in one read of the node's."""
        data = b"".join(
            it if isinstance(it, bytes) else packets.encode(it, self.level) for it in what
        )
        self.connection.receive(data, self.node.now)
        self.look()

    def look(self) -> list[Packet]:
        """Take what has come into `received`."""
        data, self.wire.sent = bytes(self.wire.sent), bytearray()
        pos = 0
        while pos < len(data):
            end = pos + packets.length_needed(data[pos:])
            start = pos + 1
            while data[start] & 0x80:
                start += 1
            self.received.append(packets.decode(data[pos], data[start + 1 : end], self.level))
            pos = end
        return self.received

    def take(self) -> list[Packet]:
        """Everything that has come since the last time."""
        found = self.look()
        self.received = []
        return found

    def messages(self, *, acknowledge: bool = True) -> list[Publish]:
        """The PUBLISH packets that have come; answered until nothing more comes."""
        found: list[Publish] = []
        while some := self.take():
            for packet in some:
                if isinstance(packet, Publish):
                    found.append(packet)
                    if acknowledge and packet.qos:
                        kind = PacketType.PUBACK if packet.qos == 1 else PacketType.PUBREC
                        self.send(Acknowledgement(kind, packet.packet_id))
                elif isinstance(packet, Acknowledgement) and packet.type is PacketType.PUBREL:
                    self.send(Acknowledgement(PacketType.PUBCOMP, packet.packet_id))
        return found

    def payloads(self) -> list[bytes]:
        """The payloads of `messages`."""
        return [packet.payload for packet in self.messages()]

    def packet_id(self) -> int:
        """A packet identifier for the next packet."""
        self._next_id = self._next_id % 65_535 + 1
        return self._next_id

    def subscribe(self, *filters: bytes, qos: int = 0, identifier: int = 0, **options: Any) -> None:
        """Subscribe to filters, all with the same options; the SUBACK grants it."""
        chosen = packets.SubscriptionOptions(qos, **options)
        found: Any = {Property.SUBSCRIPTION_IDENTIFIER: [identifier]}
        wanted = [(one, chosen) for one in filters]
        self.send(packets.Subscribe(self.packet_id(), wanted, found if identifier else {}))
        at = next(i for i, it in enumerate(self.received) if isinstance(it, packets.SubAck))
        answer = self.received.pop(at)
        assert isinstance(answer, packets.SubAck)
        assert max(answer.codes) < 0x80, answer

    def publish(self, topic: bytes, payload: bytes = b"", qos: int = 0, **fields: Any) -> Publish:
        """Publish (fields as in `packets.Publish`)."""
        packet_id = fields.pop("packet_id", self.packet_id() if qos else 0)
        packet = Publish(topic, payload, qos, packet_id=packet_id, **fields)
        self.send(packet)
        return packet

    def lose(self) -> None:
        """The network connection breaks."""
        self.connection.lost("lost", self.node.now)
        self.wire.closed = True
