"""What we ask another cluster for: local subscriptions, as far as the link's topics want them.

A subscription's routes are what its filter has in common with each of the link's `topics`, less
what another of them covers. The route's id tells whose it is: the filter itself, or
`$s/GROUP/FILTER` for a shared group. Sending them is the actor's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from isthmus_broker.link.routes import RouteOp
from isthmus_broker.mqtt import topics

_NOT_EXPORTED = (b"$LINK/", b"$SYS/")


class Exports:
    """The routes of one link that follow from this node's subscriptions."""

    __slots__ = ("_routes", "topics")

    def __init__(self, wanted: Sequence[bytes]) -> None:
        self.topics = tuple(wanted)
        self._routes: dict[bytes, tuple[bytes, ...]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._routes.values()))

    def __iter__(self) -> Iterator[RouteOp]:
        """Every route, as an operation that adds it."""
        for id, filters in self._routes.items():
            for filter in filters:
                yield RouteOp(filter, id)

    def subscribed(self, filter: bytes, group: bytes | None) -> list[RouteOp]:
        """The first local subscription of `filter` has come: what to tell the other side."""
        id = route_id(filter, group)
        if id in self._routes:
            return []
        found = self._common(filter)
        if found:
            self._routes[id] = found
        return [RouteOp(route, id) for route in found]

    def unsubscribed(self, filter: bytes, group: bytes | None) -> list[RouteOp]:
        """The last local subscription of `filter` has gone: what to tell the other side."""
        id = route_id(filter, group)
        return [RouteOp(route, id, delete=True) for route in self._routes.pop(id, ())]

    def _common(self, filter: bytes) -> tuple[bytes, ...]:
        if filter.startswith(_NOT_EXPORTED):
            return ()
        if any(topic == b"#" or topic == filter for topic in self.topics) and filter[:1] != b"$":
            return (filter,)
        common = (topics.intersect(filter, topic) for topic in self.topics)
        found = topics.reduce(route for route in common if route is not None)
        return tuple(route for route in found if not route.startswith(_NOT_EXPORTED))


def route_id(filter: bytes, group: bytes | None) -> bytes:
    """The id of the routes that come from one subscription."""
    return filter if group is None else b"$s/" + group + b"/" + filter


class PendingOps:
    """Operations that the other side has not confirmed; for each route the latest counts.

    At most one batch is in flight: what `take` hands out comes back by `retry`, or is settled by
    `confirm`.
    """

    __slots__ = ("_flight", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[tuple[bytes, bytes], RouteOp] = {}
        self._flight: list[RouteOp] = []

    def __len__(self) -> int:
        return len(self._waiting) + len(self._flight)

    @property
    def waiting(self) -> int:
        """How many are not in flight."""
        return len(self._waiting)

    def add(self, ops: Iterable[RouteOp]) -> None:
        """Put operations after those that wait; a later one for the same route replaces it."""
        for op in ops:
            key = op.filter, op.id
            self._waiting.pop(key, None)
            self._waiting[key] = op

    def take(self, most: int) -> list[RouteOp]:
        """Return the next batch; it is in flight now."""
        keys = [key for key, _ in zip(self._waiting, range(most), strict=False)]
        self._flight = [self._waiting.pop(key) for key in keys]
        return self._flight

    def confirm(self) -> None:
        """Settle the batch: the other side has it."""
        self._flight = []

    def retry(self) -> None:
        """Put the batch back to the front, but for routes that have changed since."""
        again = {(op.filter, op.id): op for op in self._flight}
        self._waiting = again | self._waiting
        self._flight = []

    def clear(self) -> None:
        """Forget everything, as a bootstrap says it all again."""
        self._waiting.clear()
        self._flight = []
