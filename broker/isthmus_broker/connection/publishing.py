"""What a client publishes: rights, aliases, QoS, the acknowledgement (3.3, 4.3).

Runs of plain QoS 0 packets bypass this module; they come here only by their lookup, which says
which topics a client may publish to at all. Runs of QoS 1 are handled at once, as far as nothing
about them is out of the ordinary.
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from isthmus_broker.connection.node import Node
from isthmus_broker.errors import PeerError, ProtocolError
from isthmus_broker.mqtt.codes import V5, PacketType, ReasonCode
from isthmus_broker.mqtt.packets import Publish, decode_publish
from isthmus_broker.mqtt.publish import Message
from isthmus_broker.mqtt.scan import PLAIN_QOS1, alike, split
from isthmus_broker.mqtt.session import Session
from isthmus_broker.routing.fanout import INGRESS, Fanout
from isthmus_broker.routing.ports import ClientInfo

if TYPE_CHECKING:
    from isthmus_broker.connection.connection import Connection

LINK: Final = b"$LINK/"
_FORWARDED: Final = b"$LINK/cluster/msg/"
_REMEMBERED: Final = 1024
"""Topics for which a restricted client's rights are remembered."""


class _Nothing(dict[bytes, "Fanout | None"]):
    """The lookup of a client that may not publish yet, or any more."""

    def __missing__(self, topic: bytes) -> None:
        return None


NOTHING: Final[dict[bytes, Fanout | None]] = _Nothing()


class Permitted(dict[bytes, "Fanout | None"]):
    """The lookup of a client whose rights depend on the topic."""

    def __init__(self, node: Node, client: ClientInfo) -> None:
        super().__init__()
        self._node = node
        self._client = client
        self._changes = node.router.changes
        self._rights: dict[bytes, bool] = {}

    def renew(self) -> None:
        """Forget fan-outs that may have become stale; the rights stay."""
        if self._changes != self._node.router.changes:
            self._changes = self._node.router.changes
            self.clear()

    def allows(self, topic: bytes) -> bool:
        """Whether the client may publish to `topic`."""
        right = self._rights.get(topic)
        if right is None:
            if len(self._rights) >= _REMEMBERED:
                self._rights.clear()
            right = self._node.rules.allowed(self._client, "publish", topic)
            self._rights[topic] = right
        return right

    def __missing__(self, topic: bytes) -> Fanout | None:
        found = None
        if self.allows(topic):
            if topic.startswith(LINK):
                forwarded = topic.startswith(_FORWARDED) and self._node.ingress is not None
                found = INGRESS if forwarded else None
            else:
                found = self._node.router.fanouts[topic]
        if len(self) >= _REMEMBERED:
            self.clear()
        self[topic] = found
        return found


def lookup_for(node: Node, client: ClientInfo) -> dict[bytes, Fanout | None]:
    """The topics that a client may publish to, with their fan-outs."""
    if node.rules.unrestricted_publish(client) and client.link is None:
        return node.router.fanouts
    return Permitted(node, client)


def receive(
    connection: Connection,
    session: Session,
    first: int,
    data: bytes,
    start: int,
    end: int,
    now: float,
) -> None:
    """Handle one PUBLISH: `data[start:end]` is its body."""
    packet = decode_publish(first, data, start, end, connection.level)
    node = connection.node
    node.counters.messages_received += 1
    _check(connection, packet)
    topic = packet.topic
    if packet.alias:
        topic = _resolve(connection, packet)
    if packet.qos == 2 and not session.receive_qos2(packet.packet_id, now):
        connection.answer(PacketType.PUBREC, packet.packet_id)
        return
    code = _publish(connection, packet, topic, now)
    if packet.qos == 1:
        connection.answer(PacketType.PUBACK, packet.packet_id, code)
    elif packet.qos == 2:
        if code >= ReasonCode.UNSPECIFIED_ERROR:
            session.release_qos2(packet.packet_id)
        connection.answer(PacketType.PUBREC, packet.packet_id, code)


def receive_run(
    connection: Connection,
    session: Session,
    fanout: Fanout,
    data: bytes,
    start: int,
    end: int,
    now: float,
) -> None:
    """Handle a run of QoS 1, as `scan` gathered it."""
    node, client = connection.node, connection.client
    v5 = connection.level == V5
    topic, size, at, payload = alike(data, start, v5)
    acks = _acknowledgements(data[start + at : end : size], data[start + at + 1 : end : size])
    if fanout is INGRESS or client is None or not acks or node.mqtt.max_qos_allowed < 1:
        body = at - len(topic) - 2
        for pos in range(start, end, size):
            receive(connection, session, PLAIN_QOS1, data, pos + body, pos + size, now)
        return
    publisher, username, publish = client.client_id, client.username, node.router.publish_to
    receivers = [
        publish(
            fanout,
            Message(topic, data[pos + payload : pos + size], 1, False, publisher, username),
            now,
        )
        for pos in range(start, end, size)
    ]
    node.counters.messages_received += len(receivers)
    if not v5 or all(receivers):
        connection.wire.put(acks)
        return
    for number, count in enumerate(receivers):
        identifier = int.from_bytes(acks[4 * number + 2 : 4 * number + 4], "big")
        code = ReasonCode.SUCCESS if count else ReasonCode.NO_MATCHING_SUBSCRIBERS
        connection.answer(PacketType.PUBACK, identifier, code)


def _acknowledgements(high: bytes, low: bytes) -> bytes:
    """A PUBACK for each packet identifier, given as high and low bytes; empty where one is 0."""
    if 0 in low and any(not (a or b) for a, b in zip(high, low, strict=True)):
        return b""
    acks = bytearray(b"\x40\x02\x00\x00" * len(high))
    acks[2::4] = high
    acks[3::4] = low
    return bytes(acks)


def receive_forwarded(
    connection: Connection, data: bytes, start: int, end: int, now: float
) -> None:
    """Handle a run of messages that another cluster forwards at QoS 0."""
    ingress, client = connection.node.ingress, connection.client
    if ingress is None or client is None:
        return
    for topic, packets in groupby(split(data, start, end, connection.level == V5), itemgetter(0)):
        ingress.receive_messages(client, topic, [payload for _, payload in packets], now)


def _check(connection: Connection, packet: Publish) -> None:
    settings = connection.node.mqtt
    if packet.qos > settings.max_qos_allowed:  # [MQTT-3.2.2-11]
        raise ProtocolError(f"QoS {packet.qos} is not supported", ReasonCode.QOS_NOT_SUPPORTED)
    if packet.retain and not settings.retain_available:  # [MQTT-3.2.2-14]
        raise ProtocolError("retained messages are not kept", ReasonCode.RETAIN_NOT_SUPPORTED)


def _resolve(connection: Connection, packet: Publish) -> bytes:
    """The topic that a Topic Alias stands for, or is to stand for (3.3.2.3.4)."""
    if packet.alias > connection.node.mqtt.max_topic_alias:  # [MQTT-3.3.2-9]
        raise ProtocolError(
            f"Topic Alias {packet.alias} is above {connection.node.mqtt.max_topic_alias}",
            ReasonCode.TOPIC_ALIAS_INVALID,
        )
    if connection.aliases is None:
        connection.aliases = {}
    if packet.topic:
        connection.aliases[packet.alias] = packet.topic
        return packet.topic
    topic = connection.aliases.get(packet.alias)
    if topic is None:
        raise ProtocolError(f"Topic Alias {packet.alias} has not been set")
    return topic


def _publish(connection: Connection, packet: Publish, topic: bytes, now: float) -> ReasonCode:
    node, client = connection.node, connection.client
    if client is None:
        return ReasonCode.NOT_AUTHORIZED
    if topic.startswith(b"$") or isinstance(connection.lookup, Permitted):
        allowed = (
            connection.lookup.allows(topic)
            if isinstance(connection.lookup, Permitted)
            else node.rules.allowed(client, "publish", topic)
        )
        if not allowed:
            return ReasonCode.NOT_AUTHORIZED
        if topic.startswith(LINK):
            if node.ingress is None:
                return ReasonCode.NOT_AUTHORIZED
            if not isinstance(connection.lookup, Permitted):
                connection.lookup = Permitted(node, client)  # which knows the way of runs, too
            found = packet.properties
            return node.ingress.receive(client, topic, packet.payload, found, now)
    if node.router.fanout(topic) is None:
        raise PeerError("the topic name is not valid here", ReasonCode.TOPIC_NAME_INVALID)
    message = Message(
        topic,
        packet.payload,
        packet.qos,
        packet.retain,
        properties=packet.travelling,
        expires_at=None if packet.expiry is None else now + packet.expiry,
        publisher=client.client_id,
        username=client.username,
    )
    if node.router.publish(message, now):
        return ReasonCode.SUCCESS
    return ReasonCode.NO_MATCHING_SUBSCRIBERS
