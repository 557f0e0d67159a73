"""All links of this node: started, changed and stopped as the settings say, and their status.

It plugs the link into the router: as the listener for subscriptions, as the routes of other
clusters and as the clusters that messages are forwarded to. A change of settings touches only the
links that it changes; messages that wait are kept where the link stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final
from zlib import crc32

import structlog

from isthmus_broker.link.imports import Imports
from isthmus_broker.link.ingress import Ingress
from isthmus_broker.link.link import Link, Place
from isthmus_broker.link.message import MessageIds
from isthmus_broker.link.status import LinkStatus
from isthmus_broker.net.ticker import Ticker
from isthmus_broker.routing.router import Router
from isthmus_broker.settings import ClusterSettings, LinkSettings

log = structlog.get_logger("isthmus.link")

_DRAIN_LOOK: Final = 0.02
_LOOK: Final = 1.0
"""Seconds between two looks at what is overdue."""


class Links:
    """The links of one node; implements `routing.ports.SubscriptionListener`."""

    def __init__(self, cluster: str, node: str, router: Router, ticker: Ticker) -> None:
        self.imports = Imports()
        self.ingress = Ingress(cluster, router, self.imports, _wall, self._met)
        self.links: dict[str, Link] = {}
        self._settings: dict[str, LinkSettings] = {}
        self._told: dict[str, tuple[str, str]] = {}
        self._router = router
        self._ticker = ticker
        self._changing = asyncio.Lock()
        self._renewing: set[asyncio.Task[None]] = set()
        self._place = Place(
            cluster=cluster,
            node=node,
            tail=f"{crc32(node.encode()):08x}",
            ticker=ticker,
            ids=MessageIds(secrets.token_bytes(8)),
            wall=_wall,
        )
        router.listener = self
        router.remote_routes = self.imports
        ticker.deadlines.add(ticker.now() + _LOOK, self._look)

    async def apply(self, settings: ClusterSettings, files: Collection[Path] = frozenset()) -> None:
        """Make the links what `settings` say; `files` have changed, certificates perhaps."""
        async with self._changing:
            if settings.name != self._place.cluster:
                await self._rename(settings.name)
            wanted = {link.name: link for link in settings.links}
            for name in [name for name in self._settings if name not in wanted]:
                await self._remove(name)
                log.info("link removed", link=name)
            for name, link in wanted.items():
                if link != self._settings.get(name):
                    await self._change(link)
                elif link.tls and not set(files).isdisjoint(link.ssl.files):
                    self._renew(name)
            self._settings = wanted
            self.ingress.disabled = frozenset(
                name for name, link in wanted.items() if not link.enable
            )

    def _renew(self, name: str) -> None:
        """Connect anew in the background: it waits for what is in flight."""
        if name in self.links:
            log.info("certificates of a link renewed", link=name)
            task = asyncio.get_running_loop().create_task(self.links[name].renew())
            self._renewing.add(task)
            task.add_done_callback(self._renewing.discard)

    async def drain(self, patience: float) -> None:
        """Let connections carry what waits for them, for at most `patience` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while any(link.is_sending for link in self.links.values()):  # noqa: ASYNC110
                    await asyncio.sleep(_DRAIN_LOOK)  # once, at the end: an event is not worth it

    async def stop(self) -> None:
        """Close every connection."""
        for task in self._renewing:
            task.cancel()
        async with self._changing:
            await asyncio.gather(*(link.stop() for link in self.links.values()))
            self.links.clear()

    def subscribed(self, filter: bytes, group: bytes | None) -> None:
        """The first local subscription of `filter` (within the shared group) has appeared."""
        for link in self.links.values():
            link.announce(link.exports.subscribed(filter, group))

    def unsubscribed(self, filter: bytes, group: bytes | None) -> None:
        """The last local subscription of `filter` (within the shared group) has gone."""
        for link in self.links.values():
            link.announce(link.exports.unsubscribed(filter, group))

    def status(self, name: str) -> LinkStatus | None:
        """The status of a link that runs; None where there is none, or it is disabled."""
        link = self.links.get(name)
        if link is None:
            return None
        routes, seen = self.imports.count(name), self.imports.last_seen(name)
        return link.status(routes, seen, self._ticker.now())

    def statuses(self) -> Mapping[str, LinkStatus]:
        """The status of every link that runs, by name."""
        found = {name: self.status(name) for name in self.links}
        return {name: status for name, status in found.items() if status is not None}

    def reset(self, name: str) -> None:
        """Set the counters of a link back to zero."""
        link = self.links.get(name)
        if link is not None:
            link.reset()

    async def _rename(self, cluster: str) -> None:
        """Take up another name for our own cluster: every link begins anew."""
        for name in list(self._settings):
            await self._remove(name)
        self._settings = {}
        self._place = replace(self._place, cluster=cluster)
        self.ingress.local = cluster

    async def _change(self, settings: LinkSettings) -> None:
        name = settings.name
        link = self.links.get(name)
        if not settings.enable:
            if link is not None:
                await self._remove(name)
            log.info("link disabled", link=name)
        elif link is None:
            link = self.links[name] = Link(settings, self._place, self._subscriptions())
            self.ingress.sources[name] = link.source
            self._router.clusters[name] = link.forwarder
            self._router.invalidate()
            link.start()
            log.info("link started", link=name, server=settings.server.address)
        else:
            await link.change(settings, self._subscriptions())
            log.info("link changed", link=name, server=settings.server.address)

    async def _remove(self, name: str) -> None:
        link = self.links.pop(name, None)
        self._told.pop(name, None)
        self.ingress.sources.pop(name, None)
        self._router.clusters.pop(name, None)
        self.imports.drop_cluster(name)
        self._router.invalidate()
        if link is not None:
            await link.stop()

    def _subscriptions(self) -> Iterable[tuple[bytes, bytes | None]]:
        return self._router.subscriptions()

    def _met(self, name: str) -> None:
        link = self.links.get(name)
        if link is not None:
            link.wake()

    def _look(self, now: float) -> float:
        gone, filters = self.imports.expire(now)
        self._router.routes_changed(filters)
        for cluster, actor in gone:
            log.warning("no sign of life, its routes are dropped", link=cluster, actor=actor)
        for name, link in self.links.items():
            link.check(now)
            self._tell(name)
        return now + _LOOK

    def _tell(self, name: str) -> None:
        """Put a link's state into the log where it has changed."""
        status = self.status(name)
        if status is None or self._told.get(name) == (status.state, status.reason):
            return
        self._told[name] = status.state, status.reason
        if status.state == "running":
            log.info("link running", link=name)
        else:
            log.warning(f"link {status.state}", link=name, reason=status.reason)


def _wall() -> int:
    return time.time_ns() // 1_000_000
