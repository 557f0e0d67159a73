"""The composition root: builds the parts of a node, starts, reloads, drains and stops them.

Nothing is decided here that a part could decide by itself. A reload touches only what changed:
listeners, certificates, users, rules and links one by one; clients stay connected.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import structlog
import uvloop
from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector

from isthmus_broker.api.app import serve
from isthmus_broker.auth.rules import Rules
from isthmus_broker.auth.verify import Authentication, Outcome, Verifier, link_identity, load_users
from isthmus_broker.connection.node import Node, Peer
from isthmus_broker.errors import ConfigurationError, Mistake
from isthmus_broker.link.links import Links
from isthmus_broker.link.status import LinkStatus
from isthmus_broker.logs import Log
from isthmus_broker.metrics import BrokerCollector, Gauges, LinkView
from isthmus_broker.mqtt.codes import ReasonCode
from isthmus_broker.mqtt.deadlines import Deadlines
from isthmus_broker.mqtt.packets import Connect
from isthmus_broker.mqtt.publish import Message
from isthmus_broker.mqtt.session import Delivery, QueueLimits
from isthmus_broker.net import tls
from isthmus_broker.net.listener import Listener, ListenError
from isthmus_broker.net.ticker import Ticker
from isthmus_broker.net.watch import Watched, watch
from isthmus_broker.observe import link_views, sys_topics
from isthmus_broker.routing.counters import Counters
from isthmus_broker.routing.registry import Registry
from isthmus_broker.routing.retained import Retained
from isthmus_broker.routing.router import Router
from isthmus_broker.routing.shared import Group
from isthmus_broker.settings import AnyListener, MqttSettings, Settings, load

log = structlog.get_logger("isthmus.server")

_DRAIN: Final = 5.0
"""Seconds for links to send what has been accepted, at the end."""
_SYS_LOOK: Final = 60.0
"""Seconds between two looks at whether `$SYS` is wanted."""


class Server:
    """One node: every part of it, with the settings in force; implements `api.ports.Broker`."""

    def __init__(self, settings: Settings, log_output: Log) -> None:
        loop = asyncio.get_running_loop()
        self.settings = settings
        self.reload_error = ""
        """Why the last changed configuration was not taken up; empty where it was."""
        self.counters = Counters()
        self.ticker = Ticker(loop, Deadlines())
        self.started = self.ticker.now()
        self.listeners: dict[str, Listener] = {}
        self.watched = Watched(settings.files)
        self._log = log_output
        self._api: web.AppRunner | None = None
        self._ready = False
        self._reloading = asyncio.Lock()
        self._sys_topics: set[str] = set()
        self._verifier = Verifier()
        self._random = random.Random()  # noqa: S311 - picks members of shared groups, no secrets
        self._authentication = self._authentication_for(settings)
        router = Router(
            _retained(settings),
            self.counters,
            self._new_group,
            max_levels=settings.mqtt.max_topic_levels,
        )
        registry = Registry(
            router,
            self.ticker.deadlines,
            router.publish,
            max_sessions=settings.mqtt.max_sessions,
        )
        self.node = Node(
            router=router,
            registry=registry,
            deadlines=self.ticker.deadlines,
            counters=self.counters,
            authenticate=self._authenticate,
            rules=Rules(settings.authorization, settings.cluster.links),
            mqtt=settings.mqtt,
            queue_limits=_queue_limits(settings.mqtt),
            repeat=self.ticker.repeat,
            new_client_id=lambda: f"isthmus-{secrets.token_hex(10)}",
        )
        self.links = Links(settings.cluster.name, settings.node.name, router, self.ticker)
        self.node.ingress = self.links.ingress
        self.registry = CollectorRegistry()
        self.registry.register(BrokerCollector(self.counters, self._gauges, self._link_views))
        ProcessCollector(registry=self.registry)

    # -- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open everything.

        Raises:
            ListenError: an address can't be listened on.
        """
        self._warn(self.settings)
        self.ticker.start()
        await self._open_api(self.settings)
        await self._open_listeners(self.settings)
        await self.links.apply(self.settings.cluster)
        self._ready = True
        now = self.ticker.now()
        self.ticker.deadlines.add(now, self._publish_sys_topics)

    async def stop(self) -> None:
        """Take no new clients, tell those who are here, send what waits for others, and close."""
        self.node.draining = True
        # Other clusters keep our routes for a while: subscribers find what came meanwhile.
        self.node.router.listener = None
        for listener in self.listeners.values():
            await listener.close()
            listener.disconnect(ReasonCode.SERVER_SHUTTING_DOWN)
        await self.links.drain(_DRAIN)
        await self.links.stop()
        if self._api is not None:
            await self._api.cleanup()
        await asyncio.sleep(0)  # the farewells are flushed at the end of this turn
        self.ticker.stop()
        self._verifier.close()

    # -- reload ----------------------------------------------------------------------------------

    async def reload(self) -> None:
        """Take up the configuration as it stands now.

        Raises:
            ConfigurationError: it has mistakes; the running one stays in force.
        """
        await self._reload(frozenset())

    async def take_up(self, changed: list[Path]) -> None:
        """Take up changed files, or say why not and leave the running configuration in force."""
        try:
            await self._reload(frozenset(changed))
        except ConfigurationError as error:
            self.reload_error = str(error)
            log.error("configuration not taken up, the running one stays", mistakes=str(error))

    async def _reload(self, changed: frozenset[Path]) -> None:
        async with self._reloading:
            try:
                settings = load(self.settings.path, os.environ)
                tls.check(settings)
                authentication = self._authentication_for(settings)
                self._log.apply(settings.log)
            except OSError as error:
                raise ConfigurationError([Mistake("", str(error))]) from error
            before, self.settings = self.settings, settings
            self._authentication = authentication
            self.watched.watch(settings.files)
            self._apply(settings)
            self.reload_error = await self._reopen(before, settings, changed)
            self._reauthorise(settings)
            await self.links.apply(settings.cluster, changed)
            if settings.content_hash != before.content_hash:
                log.info("configuration taken up", hash=settings.content_hash)

    def _apply(self, settings: Settings) -> None:
        node = self.node
        node.mqtt = settings.mqtt
        node.queue_limits = _queue_limits(settings.mqtt)
        node.rules = Rules(settings.authorization, settings.cluster.links)
        node.router.max_levels = settings.mqtt.max_topic_levels
        self._warn(settings)

    def _warn(self, settings: Settings) -> None:
        for warning in settings.warnings:
            log.warning(warning)

    def _reauthorise(self, settings: Settings) -> None:
        """New rules hold at once; a link whose identity is no longer accepted is cut off."""
        now = self.ticker.now()
        for connection in [c for it in self.listeners.values() for c in it.connections]:
            client = connection.client
            if client is None:
                continue
            if client.link is not None and client.link != link_identity(
                settings.cluster.links, client.username, client.certificate_cn
            ):
                connection.displace(ReasonCode.NOT_AUTHORIZED, now)
            else:
                connection.reauthorise()

    # -- doors -----------------------------------------------------------------------------------

    async def _reopen(self, before: Settings, settings: Settings, changed: frozenset[Path]) -> str:
        """Open what has changed; returns what could not be opened, empty where nothing."""
        failures = []
        try:
            await self._open_listeners(settings, changed)
        except ListenError as error:
            failures.append(str(error))
        if (settings.api.enable, settings.api.bind) != (before.api.enable, before.api.bind):
            try:
                await self._open_api(settings)
            except ListenError as error:
                failures.append(str(error))
        for failure in failures:
            log.error("can't be opened", error=failure)
        return "; ".join(failures)

    async def _open_api(self, settings: Settings) -> None:
        if self._api is not None:
            await self._api.cleanup()
            self._api = None
        if not settings.api.enable:
            return
        bind = settings.api.bind
        try:
            self._api = await serve(self, bind)
        except OSError as error:
            # The error's own text has the address once more.
            what = os.strerror(error.errno) if error.errno else str(error)
            raise ListenError(f"api: {bind}: {what}") from error
        log.info("listening", listener="api", bind=str(bind))

    async def _open_listeners(
        self, settings: Settings, changed: frozenset[Path] = frozenset()
    ) -> None:
        wanted = settings.listeners.enabled()
        for name in [name for name in self.listeners if name not in wanted]:
            await self._close_listener(name)
        for name, listener in wanted.items():
            await self._open_listener(name, listener, changed)

    async def _open_listener(
        self, name: str, settings: AnyListener, changed: frozenset[Path]
    ) -> None:
        current = self.listeners.get(name)
        if current is not None and current.settings.bind != settings.bind:
            await self._close_listener(name)
            current = None
        if current is None:
            listener = Listener(name, settings, self.node, self.ticker)
            await listener.open()
            self.listeners[name] = listener
        elif current.settings != settings or changed.intersection(_files(settings)):
            await current.update(settings)

    async def _close_listener(self, name: str) -> None:
        listener = self.listeners.pop(name)
        await listener.close()
        listener.disconnect(ReasonCode.ADMINISTRATIVE_ACTION)
        log.info("listener closed", listener=name)

    # -- what is shown ---------------------------------------------------------------------------

    def uptime(self) -> float:
        """Seconds since the start."""
        return self.ticker.now() - self.started

    def not_ready(self) -> str:
        """Why no client should be sent here; empty where it should."""
        if self.node.draining:
            return "stopping"
        return "" if self._ready else "starting"

    def connections(self) -> int:
        """Clients connected now."""
        return len(self.node.registry.connections)

    def link_status(self, name: str) -> LinkStatus | None:
        """Status of a link; None where there is no such link running."""
        return self.links.status(name)

    def reset_link_metrics(self, name: str) -> None:
        """Set the counters of a link back to zero."""
        self.links.reset(name)

    def _gauges(self) -> Gauges:
        router, registry = self.node.router, self.node.registry
        return Gauges(
            connections=len(registry.connections),
            sessions=len(registry.sessions),
            filters=router.filters,
            retained=len(router.retained),
            retained_bytes=router.retained.bytes,
        )

    def _link_views(self) -> Iterator[LinkView]:
        return link_views(self.links.statuses())

    def _publish_sys_topics(self, now: float) -> float:
        """Publish `$SYS`, and say when to do it again."""
        interval = self.settings.sys_topics.sys_msg_interval
        found: dict[str, str] = {}
        if interval is not None:
            found = dict(
                sys_topics(
                    self.settings.node.name,
                    self.uptime(),
                    self.counters,
                    self._gauges(),
                    self.links.statuses(),
                )
            )
        for topic in self._sys_topics - found.keys():
            found[topic] = ""
        for topic, value in found.items():
            message = Message(topic.encode(), value.encode(), retain=True)
            self.node.router.publish(message, now)
        self._sys_topics = {topic for topic, value in found.items() if value}
        return now + (_SYS_LOOK if interval is None else interval)

    # -- what the parts ask for ------------------------------------------------------------------

    def _authentication_for(self, settings: Settings) -> Authentication:
        return Authentication(settings, load_users(settings), self._verifier)

    def _authenticate(self, connect: Connect, peer: Peer, done: Callable[[Outcome], None]) -> None:
        self._authentication.identify(connect.username, connect.password, peer.certificate_cn, done)

    def _new_group(self) -> Group[Delivery]:
        return Group(self.settings.mqtt.shared_subscription_strategy, self._random)


def run(path: Path | None) -> None:
    """Run a node until SIGTERM or SIGINT; SIGHUP reads the configuration again.

    Raises:
        ConfigurationError: before anything has started.
        ListenError: an address can't be listened on.
    """
    settings = load(path, os.environ)
    tls.check(settings)
    log_output = Log()
    log_output.apply(settings.log)
    uvloop.run(_run(settings, log_output))


async def _run(settings: Settings, log_output: Log) -> None:
    loop = asyncio.get_running_loop()
    server = Server(settings, log_output)
    done = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, done.set)
    reloading: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = loop.create_task(server.take_up(list(server.settings.files)))
        reloading.add(task)
        task.add_done_callback(reloading.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        await server.start()
        watching = loop.create_task(watch(server.watched, server.take_up))
        await done.wait()
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
    finally:
        await server.stop()


def _queue_limits(mqtt: MqttSettings) -> QueueLimits:
    return QueueLimits(
        max_inflight=mqtt.max_inflight,
        receive_maximum=int(min(mqtt.receive_maximum, mqtt.max_awaiting_rel)),
        await_release=mqtt.await_rel_timeout,
        max_queue=mqtt.max_mqueue_len,
        max_queue_bytes=mqtt.max_mqueue_bytes,
        queue_qos0=mqtt.mqueue_store_qos0,
    )


def _retained(settings: Settings) -> Retained:
    limits = settings.retainer
    return Retained(
        max_count=limits.max_retained_messages,
        max_bytes=limits.max_bytes,
        max_payload=limits.max_payload_size,
        max_age=limits.msg_expiry_interval,
    )


def _files(settings: AnyListener) -> list[Path]:
    options = getattr(settings, "ssl_options", None)
    return list(options.files) if options else []
