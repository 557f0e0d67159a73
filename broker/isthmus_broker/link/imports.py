"""The routes that other clusters have announced to us, and the actors that hold them.

A route {cluster, filter, id} lives as long as some actor holds it. An actor's routes go with it:
when it has not been heard of for its time to live, when a new incarnation of it appears, when its
link goes. Who may announce anything is left to `ingress`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from isthmus_broker.errors import LinkError
from isthmus_broker.link.routes import RouteOp
from isthmus_broker.routing.filters import FilterTable

ACTOR_TTL: Final = 30.0
"""Seconds without a sign of life after which an actor's routes go."""

_STAYS: Final = (b"$LINK/", b"$SYS/")
"""Never forwarded, whatever others ask for."""


class StaleIncarnation(LinkError):
    """An older incarnation of an actor than the one that is known."""


class UnknownActor(LinkError):
    """An actor that has not introduced itself, or that has been forgotten since."""


class Actor:
    """One actor of another cluster."""

    __slots__ = ("incarnation", "last_seen", "name")

    def __init__(self, name: bytes, incarnation: int, now: float) -> None:
        self.name = name
        self.incarnation = incarnation
        self.last_seen = now


_Holding: TypeAlias = tuple[bytes, Actor]
_Holdings: TypeAlias = "_Holding | set[_Holding]"
"""Who holds a filter, by route id. Nearly always it is one: then no set is made."""


class _Cluster:
    """The routes of one other cluster."""

    __slots__ = ("actors", "count", "table")

    def __init__(self) -> None:
        self.actors: dict[bytes, Actor] = {}
        self.table: FilterTable[_Holdings] = FilterTable()
        self.count = 0

    def add(self, op: RouteOp, actor: Actor) -> bool:
        """Hold one route; returns whether its filter is new."""
        holding = op.id, actor
        before = self.table.get(op.filter)
        if before is None:
            self.table.set(op.filter, holding)
        elif before == holding or (isinstance(before, set) and holding in before):
            return False
        elif isinstance(before, set):
            before.add(holding)
        else:
            self.table.set(op.filter, {before, holding})
        self.count += not self._others_hold(op, actor)
        return before is None

    def delete(self, op: RouteOp, actor: Actor) -> bool:
        """Let go of one route; returns whether its filter has gone."""
        holding = op.id, actor
        before = self.table.get(op.filter)
        if before is None:
            return False
        if isinstance(before, set):
            if holding not in before:
                return False
            before.discard(holding)
            gone = not before
        elif before == holding:
            gone = True
        else:
            return False
        if gone:
            self.table.pop(op.filter)
        self.count -= not self._others_hold(op, actor)
        return gone

    def _others_hold(self, op: RouteOp, actor: Actor) -> bool:
        """Whether another actor holds the same route: it is one and the same."""
        holdings = self.table.get(op.filter)
        if holdings is None or len(self.actors) < 2:
            return False
        others = ((op.id, other) for other in self.actors.values() if other is not actor)
        if isinstance(holdings, tuple):
            return holdings in others
        return not holdings.isdisjoint(others)

    def drop(self, actor: Actor) -> list[bytes]:
        """Let go of all that an actor holds; returns the filters that have gone."""
        changed: list[bytes] = []
        kept = 0
        for filter, holdings in list(self.table.items()):
            left = {holdings} if isinstance(holdings, tuple) else holdings
            staying = {holding for holding in left if holding[1] is not actor}
            kept += len({id for id, _ in staying})
            if len(staying) == len(left):
                continue
            if staying:
                self.table.set(filter, staying)
            else:
                self.table.pop(filter)
                changed.append(filter)
        self.count = kept
        return changed


class Imports:
    """The routes of all other clusters; implements `routing.ports.RemoteRoutes`.

    Methods that change routes return the filters that have newly appeared or gone altogether, so
    that the router can renew just what they touch. Times are monotonic seconds.
    """

    def __init__(self, ttl: float = ACTOR_TTL) -> None:
        self.ttl = ttl
        self._clusters: dict[str, _Cluster] = {}

    def match(self, topic: bytes) -> tuple[str, ...]:
        """Names of the clusters where somebody subscribes to `topic`."""
        if topic.startswith(_STAYS):
            return ()
        return tuple(
            [name for name, cluster in self._clusters.items() if cluster.table.matches(topic)]
        )

    def count(self, cluster: str) -> int:
        """How many routes a cluster has announced."""
        found = self._clusters.get(cluster)
        return found.count if found else 0

    def last_seen(self, cluster: str) -> float | None:
        """When an actor of that cluster was last heard of; None where none is known."""
        found = self._clusters.get(cluster)
        if not found or not found.actors:
            return None
        return max(actor.last_seen for actor in found.actors.values())

    def introduce(
        self, cluster: str, name: bytes, incarnation: int, now: float
    ) -> tuple[bool, list[bytes]]:
        """Take an actor's introduction; returns whether it needs to bootstrap, and what changed.

        Raises:
            StaleIncarnation: a newer one has been seen.
        """
        state = self._clusters.setdefault(cluster, _Cluster())
        known = state.actors.get(name)
        if known is not None and incarnation < known.incarnation:
            raise StaleIncarnation(
                f"actor {name.decode(errors='replace')}: incarnation {incarnation},"
                f" {known.incarnation} is known"
            )
        if known is not None and incarnation == known.incarnation:
            known.last_seen = now
            return False, []
        gone = state.drop(known) if known is not None else []
        state.actors[name] = Actor(name, incarnation, now)
        return True, gone

    def apply(
        self, cluster: str, name: bytes, incarnation: int, ops: Iterable[RouteOp], now: float
    ) -> list[bytes]:
        """Take route operations; those that change nothing are passed over.

        Raises:
            UnknownActor: it has to introduce itself first.
            StaleIncarnation: another incarnation has been seen.
        """
        state, actor = self._known(cluster, name)
        if incarnation != actor.incarnation:
            raise StaleIncarnation(
                f"actor {name.decode(errors='replace')}: routes of incarnation {incarnation},"
                f" {actor.incarnation} is known"
            )
        actor.last_seen = now
        return [
            op.filter
            for op in ops
            if (state.delete(op, actor) if op.delete else state.add(op, actor))
        ]

    def heartbeat(self, cluster: str, name: bytes, now: float) -> None:
        """Take a proof of life.

        Raises:
            UnknownActor: it has been forgotten, so its routes have to come again.
        """
        self._known(cluster, name)[1].last_seen = now

    def expire(self, now: float) -> tuple[list[tuple[str, str]], list[bytes]]:
        """Collect actors unseen for their time to live.

        Returns their clusters and names, and what changed.
        """
        late = [
            (cluster, state, actor)
            for cluster, state in self._clusters.items()
            for actor in state.actors.values()
            if now - actor.last_seen >= self.ttl
        ]
        gone: list[bytes] = []
        for _, state, actor in late:
            del state.actors[actor.name]
            gone += state.drop(actor)
        return [(cluster, actor.name.decode(errors="replace")) for cluster, _, actor in late], gone

    def drop_cluster(self, cluster: str) -> list[bytes]:
        """Forget a cluster whose link has gone; returns the filters that went."""
        state = self._clusters.pop(cluster, None)
        return [filter for filter, _ in state.table.items()] if state else []

    def _known(self, cluster: str, name: bytes) -> tuple[_Cluster, Actor]:
        state = self._clusters.get(cluster)
        actor = state.actors.get(name) if state else None
        if state is None or actor is None:
            raise UnknownActor(f"actor {name.decode(errors='replace')} has not introduced itself")
        return state, actor
