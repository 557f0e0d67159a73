"""Topic -> Fanout: who gets its messages, worked out once and looked up by the topic's bytes.

Topics with the same matching filters and clusters share one interned `Fanout`, so that the scanner
can gather their packets into one run. The cache is bounded, and `Router` drops from it what a
changed subscription touches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from isthmus_broker.mqtt.codes import V5
from isthmus_broker.mqtt.session import Delivery, Session, Sink, Subscription
from isthmus_broker.routing.ports import RemoteCluster
from isthmus_broker.routing.shared import Group

MAX_TOPICS: Final = 32_768
MAX_CACHED_TOPIC: Final = 1024
"""Bytes; a longer topic is looked up each time."""


class Subscribers:
    """Who subscribes to one filter: sessions, and shared groups by name."""

    __slots__ = ("direct", "groups")

    def __init__(self) -> None:
        self.direct: dict[Session, Subscription] = {}
        self.groups: dict[bytes, Group[Delivery]] | None = None

    @property
    def empty(self) -> bool:
        """Whether nobody is left."""
        return not self.direct and not self.groups


class Fanout:
    """Where the messages of some topics go.

    `plain_v311` and `plain_v5` take a run of QoS 0 as it came (or in the other layout); `others`
    need each message by itself even then. A message of a higher QoS goes to all `deliveries`.
    """

    __slots__ = (
        "clusters",
        "deliveries",
        "groups",
        "one_by_one",
        "others",
        "plain_v5",
        "plain_v311",
    )

    def __init__(
        self,
        deliveries: Iterable[Delivery],
        groups: Sequence[Group[Delivery]],
        clusters: Sequence[RemoteCluster],
    ) -> None:
        self.deliveries = tuple(deliveries)
        self.groups = tuple(groups)
        self.clusters = tuple(clusters)
        plain_v311: list[Sink] = []
        plain_v5: list[Sink] = []
        others: list[Delivery] = []
        for delivery in self.deliveries:
            session = delivery.session
            if session.sink is None or not session.plain or delivery.own or delivery.no_local:
                others.append(delivery)
            else:
                (plain_v5 if session.level == V5 else plain_v311).append(session.sink)
        self.plain_v311 = tuple(plain_v311)
        self.plain_v5 = tuple(plain_v5)
        self.others = tuple(others)
        self.one_by_one = bool(others or groups or clusters)


class FanoutCache(dict[bytes, "Fanout | None"]):
    """Fan-outs by topic: a dictionary that works out what it lacks.

    None stands for a topic that must be looked at by itself: an invalid one, and every topic that
    begins with `$`, since those need a grant of their own.
    """

    def __init__(self, resolve: Callable[[bytes], Fanout | None]) -> None:
        super().__init__()
        self._resolve = resolve

    def __missing__(self, topic: bytes) -> Fanout | None:
        if topic[:1] == b"$":
            return None
        fanout = self._resolve(topic)
        if fanout is not None and len(topic) <= MAX_CACHED_TOPIC:
            if len(self) >= MAX_TOPICS:
                self.clear()
            self[topic] = fanout
        return fanout


def merge(matched: Iterable[Subscribers]) -> tuple[list[Delivery], list[Group[Delivery]]]:
    """One delivery a session, however many of its subscriptions match; and every shared group."""
    by_session: dict[Session, list[Subscription]] = {}
    groups: list[Group[Delivery]] = []
    for subscribers in matched:
        for session, subscription in subscribers.direct.items():
            by_session.setdefault(session, []).append(subscription)
        if subscribers.groups:
            groups.extend(subscribers.groups.values())
    return [Delivery(session, found) for session, found in by_session.items()], groups


INGRESS: Final = Fanout((), (), ())
"""Stands for `$LINK/cluster/msg/...`: not routed, but handed to the link's ingress."""
