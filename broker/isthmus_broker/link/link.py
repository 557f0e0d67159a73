"""One link: its actor, its lanes, what it takes in, and what is told of it.

`links` makes it and tells it of new settings; it knows nothing of other links.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from isthmus_broker.link.actor import Actor, Names, State
from isthmus_broker.link.exports import Exports
from isthmus_broker.link.forward import Forwarder
from isthmus_broker.link.gmqtt_client import Dial
from isthmus_broker.link.ingress import Source
from isthmus_broker.link.lane import Entry, Lane, Stats
from isthmus_broker.link.message import MessageIds
from isthmus_broker.link.payload import MESSAGE_TOPIC
from isthmus_broker.link.peer import LanePeer, Peer, Phase, Replication
from isthmus_broker.link.rates import Rates
from isthmus_broker.link.routes import RouteOp
from isthmus_broker.link.status import Direction, Forwarding, LinkStatus
from isthmus_broker.link.status import State as Told
from isthmus_broker.net import tls
from isthmus_broker.net.ticker import Ticker
from isthmus_broker.settings import LinkSettings

_SESSION_EXPIRY: Final = 60
"""Seconds that the session of the actor's connection outlives it, as EMQX has it."""
_DIALLED: Final = ("server", "ssl", "clientid", "username", "password")
_CARRIED: Final = (
    *("pool_size", "max_inflight", "retry_interval", "ordering", "buffer"),
    *_DIALLED,
)
Subscribed = Iterable[tuple[bytes, bytes | None]]
"""Local subscriptions: filters with their shared group, if any."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a link runs: what all links of a node share."""

    cluster: str
    node: str
    tail: str
    """Eight hexadecimal digits in our client ids that tell our nodes apart."""
    ticker: Ticker
    ids: MessageIds
    wall: Callable[[], int]
    """Milliseconds since the epoch."""


class Link:
    """A link that is enabled."""

    def __init__(self, settings: LinkSettings, place: Place, subscribed: Subscribed) -> None:
        self.settings = settings
        self.stats = Stats()
        self.source = Source(settings.name, _encoded(settings.topics), guarded=settings.is_guarded)
        self._place = place
        self._incarnation = 0
        self._sent, self._came = Rates(), Rates()
        self.replication = self._new_replication(settings, subscribed)
        self.lanes: list[LanePeer] = []
        self.forwarder = Forwarder(
            place.cluster,
            (),
            self.stats,
            place.ids,
            place.wall,
            self._mark,
            in_turn=settings.ordering == "random",
        )
        self._set_lanes(settings)

    @property
    def exports(self) -> Exports:
        """What we ask the other cluster for."""
        return self.replication.actor.exports

    @property
    def is_sending(self) -> bool:
        """Whether messages wait that an open connection can carry."""
        return any(peer.is_sending for peer in self.lanes)

    @property
    def _peers(self) -> list[Peer]:
        return [self.replication, *self.lanes]

    def start(self) -> None:
        """Open the connections."""
        for peer in self._peers:
            peer.start()

    async def stop(self) -> None:
        """Close the connections."""
        await asyncio.gather(*(peer.stop() for peer in self._peers))

    async def change(self, settings: LinkSettings, subscribed: Subscribed) -> None:
        """Take up new settings; what they leave as it is goes on undisturbed."""
        before, self.settings = self.settings, settings
        self.source.guarded = settings.is_guarded
        self.source.want(_encoded(settings.topics))
        if _differ(before, settings, ("topics", *_DIALLED)):
            old, self.replication = self.replication, self._new_replication(settings, subscribed)
            await old.stop()
            self.replication.start()
        if _differ(before, settings, _CARRIED):
            await self._renew_lanes(settings)

    async def renew(self) -> None:
        """Connect anew, one connection after another: certificates have been renewed."""
        for peer in self._peers:
            await peer.renew()

    def announce(self, ops: Sequence[RouteOp]) -> None:
        """Tell the other cluster of changes."""
        if ops:
            self.replication.actor.changed(ops)
            self.replication.kick()

    def wake(self) -> None:
        """Try again now: the other side has been heard of."""
        for peer in self._peers:
            if peer.client is None:
                peer.wake()

    def check(self, now: float) -> None:
        """Look at what is overdue; called about once a second."""
        for peer in self._peers:
            peer.check(now)
        self._sent.sample(self.stats.matched, now)
        self._came.sample(self.source.received, now)

    def reset(self) -> None:
        """Set the counters back to zero."""
        self.stats.reset()
        self.source.received = 0
        self.source.dropped.clear()
        self._sent, self._came = Rates(), Rates()

    # -- status ------------------------------------------------------------------------------------

    def status(self, routes: int, seen: float | None, now: float) -> LinkStatus:
        """What is told of it; `routes` of the other cluster, last `seen` by us."""
        incoming = self._incoming(now)
        outgoing = self._outgoing(routes, seen, now)
        wanted = [incoming, outgoing] if self.settings.topics else [outgoing, incoming]
        worst = max(wanted, key=lambda direction: _GRAVITY[direction.state])
        return LinkStatus(worst.state, worst.reason, incoming, outgoing, self._forwarding(now))

    def _incoming(self, now: float) -> Direction:
        peer, actor = self.replication, self.replication.actor
        state, reason = _state(peer, actor.state)
        return Direction(
            state=state,
            reason=reason,
            since=self._epoch(peer.since, now),
            last_seen=self._epoch(actor.last_answer, now),
            routes=len(actor.exports),
            messages=self.source.received,
            rate=self._came.now,
            dropped_by=dict(self.source.dropped),
        )

    def _outgoing(self, routes: int, seen: float | None, now: float) -> Direction:
        lanes = self.lanes
        open_lanes = [lane for lane in lanes if lane.client is not None]
        state: Told = "running"
        reason = ""
        worst: Peer = lanes[0]
        if self.replication.refusal:
            state, reason, worst = "inconsistent", self.replication.refusal, self.replication
        elif len(open_lanes) < len(lanes):
            worst = next(lane for lane in lanes if lane.client is None)
            state, reason = _state(worst, State.DISCONNECTED)
        elif seen is None:
            state = "connecting"
            reason = (
                f'"{self.settings.name}" has not introduced itself: does it have a link to'
                f' "{self._place.cluster}", and reach this cluster?'
            )
        oldest = min(lane.lane.waiting_since() for lane in lanes)
        waiting = now - oldest if oldest < math.inf else None
        return Direction(
            state=state,
            reason=reason,
            since=self._epoch(worst.since, now),
            last_seen=self._epoch(seen, now),
            routes=routes,
            messages=self.stats.matched,
            rate=self._sent.now,
            dropped_by=dict(self.stats.dropped),
            lag=self.stats.lag if waiting is None else max(waiting, self.stats.lag or 0.0),
        )

    def _forwarding(self, now: float) -> Forwarding:
        stats = self.stats
        return Forwarding(
            matched=stats.matched,
            success=stats.acknowledged,
            failed=stats.failed,
            dropped=sum(stats.dropped.values()),
            retried=stats.retried,
            received=self.source.received,
            queuing=stats.buffered - stats.in_flight,
            inflight=stats.in_flight,
            rate=self._sent.now,
            rate_last5m=self._sent.last_5m(now),
            rate_max=self._sent.highest,
            queuing_bytes=stats.buffered_bytes,
            dropped_by=dict(stats.dropped),
        )

    def _epoch(self, when: float | None, now: float) -> float | None:
        """A monotonic time as seconds since the epoch."""
        return None if when is None else self._place.wall() / 1000 - (now - when)

    # -- parts -------------------------------------------------------------------------------------

    def _new_replication(self, settings: LinkSettings, subscribed: Subscribed) -> Replication:
        place = self._place
        self._incarnation = max(self._incarnation + 1, place.wall())
        exports = Exports(_encoded(settings.topics))
        for filter, group in subscribed:
            exports.subscribed(filter, group)
        names = Names(place.cluster, settings.name, settings.server.address, place.node.encode())
        actor = Actor(names, self._incarnation, exports, _new_correlation)
        client_id = f"{self._prefix(settings)}:routesync:{place.tail}"

        def dial() -> Dial:
            return _dial(settings, client_id, clean_start=False, session_expiry=_SESSION_EXPIRY)

        return Replication(f"{settings.name}:routes", dial, place.ticker, actor)

    def _set_lanes(self, settings: LinkSettings) -> None:
        place = self._place
        topic = MESSAGE_TOPIC + place.cluster.encode()
        self.lanes = []
        for number in range(1, settings.pool_size + 1):
            client_id = f"{self._prefix(settings)}:msg:{place.tail}:{number}"
            lane = Lane(topic, settings.max_inflight, settings.buffer.max_bytes, self.stats)

            def dial(client_id: str = client_id) -> Dial:
                return _dial(settings, client_id)

            self.lanes.append(
                LanePeer(
                    f"{settings.name}:messages:{number}",
                    dial,
                    place.ticker,
                    lane,
                    settings.retry_interval,
                    self._held,
                )
            )
        self.forwarder.lanes = [peer.lane for peer in self.lanes]
        self.forwarder.in_turn = settings.ordering == "random"

    async def _renew_lanes(self, settings: LinkSettings) -> None:
        """Open the lanes anew; what waits goes over to them, before anything that comes now."""
        old = self.lanes
        entries: list[Entry] = []
        for peer in old:
            entries += peer.lane.drain()
        self._set_lanes(settings)
        self.forwarder.take_over(entries, self._place.ticker.now())
        await asyncio.gather(*(peer.stop() for peer in old))
        for peer in self.lanes:
            peer.start()

    def _prefix(self, settings: LinkSettings) -> str:
        return settings.clientid or self._place.cluster

    def _held(self) -> bool:
        return bool(self.replication.refusal)

    def _mark(self, number: int) -> None:
        self.lanes[number].mark()


_GRAVITY: Final[dict[Told, int]] = {
    "running": 0,
    "stopped": 1,
    "connecting": 2,
    "disconnected": 3,
    "inconsistent": 4,
}


def _state(peer: Peer, actor: State) -> tuple[Told, str]:
    """State and reason of a direction, from its connection and, where it has one, its actor."""
    if peer.refusal or peer.phase is Phase.REFUSED:
        return "inconsistent", peer.refusal or peer.reason
    if peer.phase is Phase.DISCONNECTED:
        return "disconnected", peer.reason
    if peer.phase is Phase.CONNECTED and actor is State.ONLINE:
        return "running", ""
    return "connecting", peer.reason


def _dial(
    settings: LinkSettings, client_id: str, *, clean_start: bool = True, session_expiry: int = 0
) -> Dial:
    """How to connect now: certificates are read each time, so that renewed ones are used.

    Raises:
        ConfigurationError: a certificate or key can't be used.
    """
    server, password = settings.server, settings.password
    return Dial(
        host=server.host,
        port=server.port,
        client_id=client_id,
        username=settings.username,
        password=None if password is None else password.get_secret_value(),
        tls=tls.client_context(settings.ssl) if settings.tls else None,
        server_name=tls.server_name(settings.ssl, server.host) if settings.tls else None,
        clean_start=clean_start,
        session_expiry=session_expiry,
    )


def _differ(before: LinkSettings, after: LinkSettings, names: Iterable[str]) -> bool:
    return any(getattr(before, name) != getattr(after, name) for name in names)


def _encoded(topics: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(topic.encode() for topic in topics)


def _new_correlation() -> bytes:
    return secrets.token_hex(8).encode()
