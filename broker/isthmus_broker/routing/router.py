"""The router: subscriptions in, messages to everybody who should get them.

The one place that knows both local subscriptions and the clusters where somebody subscribes.
Sessions decide how a message reaches their client; links, how it reaches another cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from operator import itemgetter

from isthmus_broker.mqtt import topics
from isthmus_broker.mqtt.publish import Message, Origin, OriginKind
from isthmus_broker.mqtt.scan import join, relayout, split
from isthmus_broker.mqtt.session import Delivery, Session, Subscription
from isthmus_broker.mqtt.wire import is_text
from isthmus_broker.routing.counters import Counters
from isthmus_broker.routing.fanout import Fanout, FanoutCache, Subscribers, merge
from isthmus_broker.routing.filters import FilterTable
from isthmus_broker.routing.ports import RemoteCluster, RemoteRoutes, SubscriptionListener
from isthmus_broker.routing.retained import Retained
from isthmus_broker.routing.shared import Group


class Router:
    """Routes messages on one node.

    `changes` grows whenever a fan-out may have become stale: whoever holds one across other work
    compares it.
    """

    def __init__(
        self,
        retained: Retained,
        counters: Counters,
        new_group: Callable[[], Group[Delivery]],
        *,
        max_levels: int = 128,
    ) -> None:
        self.retained = retained
        self.counters = counters
        self.changes = 0
        self.fanouts = FanoutCache(self._resolve)
        self.clusters: dict[str, RemoteCluster] = {}
        """Clusters that messages can be forwarded to; `invalidate` after a change."""
        self.remote_routes: RemoteRoutes | None = None
        self.listener: SubscriptionListener | None = None
        self.max_levels = max_levels
        self._new_group = new_group
        self._table: FilterTable[Subscribers] = FilterTable()
        self._interned: dict[tuple[tuple[int, ...], tuple[str, ...]], Fanout] = {}

    # -- subscriptions ---------------------------------------------------------------------------

    @property
    def filters(self) -> int:
        """How many distinct filters are subscribed to on this node."""
        return len(self._table)

    def subscribe(self, session: Session, full: bytes, subscription: Subscription) -> bool:
        """Add or replace the subscription to `full` (a valid filter, `$share/...` included).

        Returns whether it is new for this session [MQTT-3.8.4-3].
        """
        if session.subscriptions is None:
            session.subscriptions = {}
        new = full not in session.subscriptions
        session.subscriptions[full] = subscription
        group, filter = topics.split_shared(full)
        subscribers = self._table.get(filter)
        if subscribers is None:
            subscribers = Subscribers()
            self._table.set(filter, subscribers)
        if group is None:
            first = not subscribers.direct
            subscribers.direct[session] = subscription
        else:
            if subscribers.groups is None:
                subscribers.groups = {}
            members = subscribers.groups.get(group)
            first = members is None
            if members is None:
                members = subscribers.groups[group] = self._new_group()
            members.add(session.client_id, Delivery(session, [subscription]))
        self._changed(filter)
        if first and self.listener is not None:
            self.listener.subscribed(filter, group)
        return new

    def unsubscribe(self, session: Session, full: bytes) -> bool:
        """Remove a subscription; False where there was none."""
        if not session.subscriptions or session.subscriptions.pop(full, None) is None:
            return False
        self._remove(session, full)
        return True

    def forget(self, session: Session) -> None:
        """Remove every subscription of a session that has ended."""
        gone, session.subscriptions = session.subscriptions, None
        for full in gone or ():
            self._remove(session, full)

    def refresh(self, session: Session) -> None:
        """Note that a session with subscriptions has a new connection."""
        for full in session.subscriptions or ():
            self._changed(topics.split_shared(full)[1])

    def invalidate(self) -> None:
        """Forget every fan-out: remote routes or clusters have changed."""
        self.changes += 1
        self._interned.clear()
        self.fanouts.clear()

    def routes_changed(self, filters: Iterable[bytes]) -> None:
        """Renew the fan-outs that new or vanished routes of other clusters touch."""
        for filter in filters:
            self._changed(filter)

    def subscriptions(self) -> Iterator[tuple[bytes, bytes | None]]:
        """Every filter subscribed to, with each shared group; None: subscribed to directly."""
        for filter, subscribers in self._table.items():
            if subscribers.direct:
                yield filter, None
            for group in subscribers.groups or ():
                yield filter, group

    def _remove(self, session: Session, full: bytes) -> None:
        group, filter = topics.split_shared(full)
        subscribers = self._table.get(filter)
        if subscribers is None:
            return
        if group is None:
            subscribers.direct.pop(session, None)
            last = not subscribers.direct
        else:
            members = (subscribers.groups or {}).get(group)
            last = members is not None and not self._leave(subscribers, group, members, session)
        if subscribers.empty:
            self._table.pop(filter)
        self._changed(filter)
        if last and self.listener is not None:
            self.listener.unsubscribed(filter, group)

    @staticmethod
    def _leave(
        subscribers: Subscribers, group: bytes, members: Group[Delivery], session: Session
    ) -> int:
        """Take a session out of a shared group; returns how many stay."""
        members.remove(session.client_id)
        if not len(members) and subscribers.groups is not None:
            del subscribers.groups[group]
        return len(members)

    def _changed(self, filter: bytes) -> None:
        self.changes += 1
        self._interned.clear()
        if topics.is_wild(filter):
            self.fanouts.clear()
        else:
            self.fanouts.pop(filter, None)

    # -- fan-out ---------------------------------------------------------------------------------

    def fanout(self, topic: bytes) -> Fanout | None:
        """Who gets messages of `topic`; None where it is not a valid topic name."""
        return self._resolve(topic) if topic[:1] == b"$" else self.fanouts[topic]

    def _resolve(self, topic: bytes) -> Fanout | None:
        try:
            topics.check_name(topic, self.max_levels)
        except ValueError:
            return None
        if not is_text(topic):  # nobody has looked at the topics of a run before [MQTT-3.3.2-1]
            return None
        matched = self._table.match(topic)
        names = tuple(self.remote_routes.match(topic)) if self.remote_routes else ()
        key = tuple(map(id, matched)), names
        found = self._interned.get(key)
        if found is None:
            deliveries, groups = merge(matched)
            clusters = [self.clusters[name] for name in names if name in self.clusters]
            found = self._interned[key] = Fanout(deliveries, groups, clusters)
        return found

    # -- messages --------------------------------------------------------------------------------

    def publish(self, message: Message, now: float) -> int:
        """Deliver, forward and, where it says so, retain a message.

        Returns the number of its receivers: local sessions and clusters.
        """
        fanout = self.fanout(message.topic)
        if fanout is None:
            self.counters.drop("invalid_topic")
            return 0
        if message.origin.kind is not OriginKind.LOCAL:
            return self._deliver(fanout, message, fanout.deliveries, now)
        if message.retain and not self.retained.store(message, now):
            self.counters.drop("retained_full")
        return self.publish_to(fanout, message, now)

    def publish_to(self, fanout: Fanout, message: Message, now: float) -> int:
        """As `publish`, of a local client's message whose fan-out is known; nothing is retained."""
        receivers = self._deliver(fanout, message, fanout.deliveries, now)
        for cluster in fanout.clusters:
            cluster.forward(message, now)
        return receivers + len(fanout.clusters)

    def publish_run(
        self,
        fanout: Fanout,
        run: bytes,
        count: int,
        v5: bool,
        publisher: Session,
        username: str | None,
        now: float,
    ) -> None:
        """Deliver and forward `count` packets as `scan` gathered them: plain, of QoS 0."""
        same, other = (
            (fanout.plain_v5, fanout.plain_v311) if v5 else (fanout.plain_v311, fanout.plain_v5)
        )
        sent = 0
        for sink in same:
            if sink.offer(run, count):
                sent += count
        if other:
            changed = relayout(run, 0, len(run), v5)
            for sink in other:
                if sink.offer(changed, count):
                    sent += count
        self.counters.messages_sent += sent
        if fanout.one_by_one:
            self._publish_one_by_one(fanout, run, v5, publisher.client_id, username, now)

    def deliver_run(
        self,
        topic: bytes,
        payloads: list[bytes],
        publisher: str,
        username: str | None,
        origin: Origin,
        now: float,
    ) -> None:
        """Deliver plain messages of QoS 0 that entered elsewhere; they are not forwarded."""
        fanout = self.fanout(topic)
        if fanout is None:
            self.counters.drop("invalid_topic", len(payloads))
            return
        for sinks, v5 in ((fanout.plain_v5, True), (fanout.plain_v311, False)):
            if not sinks:
                continue
            run = join(topic, payloads, v5)
            for sink in sinks:
                if sink.offer(run, len(payloads)):
                    self.counters.messages_sent += len(payloads)
        if fanout.others or fanout.groups:
            for payload in payloads:
                message = Message(
                    topic, payload, origin=origin, publisher=publisher, username=username
                )
                self._deliver(fanout, message, fanout.others, now)

    def _publish_one_by_one(
        self,
        fanout: Fanout,
        run: bytes,
        v5: bool,
        publisher: str,
        username: str | None,
        now: float,
    ) -> None:
        packets = split(run, 0, len(run), v5)
        if fanout.others or fanout.groups:
            for topic, payload in packets:
                message = Message(topic, payload, publisher=publisher, username=username)
                self._deliver(fanout, message, fanout.others, now)
        if fanout.clusters:
            for topic, same in groupby(packets, itemgetter(0)):
                payloads = [payload for _, payload in same]
                for cluster in fanout.clusters:
                    cluster.forward_run(topic, payloads, publisher, username, now)

    def _deliver(
        self, fanout: Fanout, message: Message, deliveries: tuple[Delivery, ...], now: float
    ) -> int:
        receivers = 0
        for delivery in deliveries:
            if delivery.session.deliver(message, delivery, now):
                receivers += 1
        for group in fanout.groups:
            picked = group.pick(message.publisher, message.topic, _connected)
            if picked is not None and picked.session.deliver(message, picked, now):
                receivers += 1
        self.counters.messages_sent += receivers
        return receivers


def _connected(delivery: Delivery) -> bool:
    return delivery.session.sink is not None
