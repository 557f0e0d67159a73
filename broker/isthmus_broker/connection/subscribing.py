"""SUBSCRIBE and UNSUBSCRIBE, and the retained messages that a subscription brings (3.8 to 3.11)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from isthmus_broker.connection.node import Node
from isthmus_broker.mqtt import packets, topics
from isthmus_broker.mqtt.codes import SUBACK_FAILURE_311, V5, ReasonCode
from isthmus_broker.mqtt.packets import (
    SubAck,
    Subscribe,
    SubscriptionOptions,
    UnsubAck,
    Unsubscribe,
)
from isthmus_broker.mqtt.properties import Property
from isthmus_broker.mqtt.publish import Message
from isthmus_broker.mqtt.session import Delivery, Session, Subscription
from isthmus_broker.routing.ports import ClientInfo

if TYPE_CHECKING:
    from isthmus_broker.connection.connection import Connection

_WAIT: Final = 0.02
"""Seconds between two looks at whether a client has room for more retained messages."""


def subscribe(connection: Connection, session: Session, packet: Subscribe, now: float) -> None:
    """Make the subscriptions of one packet, answer, then send what is retained."""
    client = connection.client
    if client is None:
        return
    node = connection.node
    found = packet.properties.get(Property.SUBSCRIPTION_IDENTIFIER)
    identifier = found[0] if isinstance(found, list) and isinstance(found[0], int) else 0
    codes: list[int] = []
    wanted: list[tuple[bytes, Delivery]] = []
    for full, options in packet.filters:
        code, filter = _verdict(node, client, session, full, options)
        if code < ReasonCode.UNSPECIFIED_ERROR:
            subscription = Subscription(
                code,
                options.no_local,
                options.retain_as_published,
                options.retain_handling,
                identifier,
            )
            new = node.router.subscribe(session, full, subscription)
            if filter == full and (
                options.retain_handling == 0 or (options.retain_handling == 1 and new)
            ):
                wanted.append((filter, Delivery(session, [subscription])))
        elif connection.level != V5:
            code = SUBACK_FAILURE_311
        codes.append(code)
    connection.wire.put(packets.encode(SubAck(packet.packet_id, codes), connection.level))
    for filter, delivery in wanted:
        _send_retained(connection, filter, delivery, now)


def unsubscribe(connection: Connection, session: Session, packet: Unsubscribe) -> None:
    """End subscriptions; a filter that was not subscribed to says so [MQTT-3.11.3-1]."""
    router = connection.node.router
    codes: list[int] = [
        ReasonCode.SUCCESS
        if router.unsubscribe(session, full)
        else ReasonCode.NO_SUBSCRIPTION_EXISTED
        for full in packet.filters
    ]
    connection.wire.put(packets.encode(UnsubAck(packet.packet_id, codes), connection.level))


def _verdict(
    node: Node, client: ClientInfo, session: Session, full: bytes, options: SubscriptionOptions
) -> tuple[int, bytes]:
    """The reason code for one filter, and the filter without its shared group."""
    settings = node.mqtt
    try:
        group, filter = topics.split_shared(full)
        topics.check_filter(filter, settings.max_topic_levels)
    except ValueError:
        return ReasonCode.TOPIC_FILTER_INVALID, full
    held = session.subscriptions or {}
    if len(held) >= settings.max_subscriptions and full not in held:
        code = ReasonCode.QUOTA_EXCEEDED
    elif group is not None and not settings.shared_subscription:
        code = ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
    elif topics.is_wild(filter) and not settings.wildcard_subscription:
        code = ReasonCode.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED
    elif not node.rules.allowed(client, "subscribe", filter):
        code = ReasonCode.NOT_AUTHORIZED
    else:
        return min(options.qos, settings.max_qos_allowed), filter
    return code, filter


def _send_retained(connection: Connection, filter: bytes, delivery: Delivery, now: float) -> None:
    if not topics.is_wild(filter):
        message = connection.node.router.retained.get(filter, now)
        if message is not None:
            _deliver(connection, delivery, message, now)
        return
    if connection.retained is not None:
        connection.retained.waiting[filter] = delivery
        return
    connection.retained = RetainedBacklog(connection)
    connection.retained.waiting[filter] = delivery
    connection.node.repeat(connection.retained.step)


def _deliver(connection: Connection, delivery: Delivery, message: Message, now: float) -> None:
    if delivery.session.deliver(message, delivery, now, retained=True):
        connection.node.counters.messages_sent += 1


class RetainedBacklog:
    """Retained messages on their way to one client, a slice at a time, while it has room.

    At most one a connection, and one entry a filter, however often a client subscribes.
    """

    __slots__ = ("_connection", "_delivery", "_slices", "waiting")

    def __init__(self, connection: Connection) -> None:
        self.waiting: dict[bytes, Delivery] = {}
        self._connection = connection
        self._slices: Iterator[list[Message]] = iter(())
        self._delivery: Delivery | None = None

    def step(self, now: float) -> float | None:
        """Send one slice; returns seconds until the next, or None when all is done."""
        connection = self._connection
        session = connection.session
        if session is None or connection.retained is not self:
            return None
        if connection.wire.crowded or session.queued:
            return _WAIT
        found = next(self._slices, None)
        if found is None:
            return self._begin(connection, now)
        for message in found:
            if self._delivery is not None:
                _deliver(connection, self._delivery, message, now)
        return 0.0

    def _begin(self, connection: Connection, now: float) -> float | None:
        if not self.waiting:
            connection.retained = None
            return None
        filter = next(iter(self.waiting))
        self._delivery = self.waiting.pop(filter)
        self._slices = connection.node.router.retained.match_slices(filter, now)
        return self.step(now)
