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
from collections.abc import Callable
from pathlib import Path

import structlog
import uvloop

from isthmus_broker.auth.rules import Rules
from isthmus_broker.auth.verify import Authentication, Outcome, Verifier, link_identity, load_users
from isthmus_broker.connection.node import Node, Peer
from isthmus_broker.errors import ConfigurationError
from isthmus_broker.link.links import Links
from isthmus_broker.metrics import Gauges
from isthmus_broker.mqtt.codes import ReasonCode
from isthmus_broker.mqtt.deadlines import Deadlines
from isthmus_broker.mqtt.packets import Connect
from isthmus_broker.mqtt.session import Delivery, QueueLimits
from isthmus_broker.net import tls
from isthmus_broker.net.listener import Listener, ListenError
from isthmus_broker.net.ticker import Ticker
from isthmus_broker.net.watch import Watched, watch
from isthmus_broker.routing.counters import Counters
from isthmus_broker.routing.registry import Registry
from isthmus_broker.routing.retained import Retained
from isthmus_broker.routing.router import Router
from isthmus_broker.routing.shared import Group
from isthmus_broker.settings import AnyListener, MqttSettings, Settings, load

log = structlog.get_logger("isthmus.server")


class Server:
    """One node: every part of it, with the settings in force."""

    def __init__(self, settings: Settings) -> None:
        loop = asyncio.get_running_loop()
        self.settings = settings
        self.reload_error = ""
        """Why the last changed configuration was not taken up; empty where it was."""
        self.counters = Counters()
        self.ticker = Ticker(loop, Deadlines())
        self.started = self.ticker.now()
        self.listeners: dict[str, Listener] = {}
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

    # -- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open everything.

        Raises:
            ListenError: an address can't be listened on.
        """
        for warning in self.settings.warnings:
            log.warning(warning)
        self.ticker.start()
        await self._open_listeners(self.settings)
        await self.links.apply(self.settings.cluster)

    async def stop(self) -> None:
        """Take no new clients, tell those who are here, and close."""
        self.node.draining = True
        for listener in self.listeners.values():
            await listener.close()
            listener.disconnect(ReasonCode.SERVER_SHUTTING_DOWN)
        await self.links.stop()
        await asyncio.sleep(0)  # the farewells are flushed at the end of this turn
        self.ticker.stop()
        self._verifier.close()

    @property
    def gauges(self) -> Gauges:
        """What stands at one value at a time."""
        router, registry = self.node.router, self.node.registry
        return Gauges(
            connections=len(registry.connections),
            sessions=len(registry.sessions),
            filters=router.filters,
            retained=len(router.retained),
            retained_bytes=router.retained.bytes,
        )

    # -- reload ----------------------------------------------------------------------------------

    async def reload(self, changed: list[Path]) -> None:
        """Take up a changed configuration, or say why not and leave the running one in force."""
        try:
            settings = load(self.settings.path, os.environ)
            tls.check(settings)
            authentication = self._authentication_for(settings)
        except (ConfigurationError, OSError) as error:
            self.reload_error = str(error)
            log.error("configuration not taken up, the running one stays", mistakes=str(error))
            return
        self.reload_error = ""
        before, self.settings = self.settings, settings
        self._authentication = authentication
        self._apply(settings)
        try:
            await self._open_listeners(settings, set(changed))
        except ListenError as error:
            self.reload_error = str(error)
            log.error("a listener can't be opened", error=str(error))
        self._reauthorise(settings)
        await self.links.apply(settings.cluster, changed)
        log.info("configuration taken up", hash=settings.content_hash, before=before.content_hash)

    def _apply(self, settings: Settings) -> None:
        node = self.node
        node.mqtt = settings.mqtt
        node.queue_limits = _queue_limits(settings.mqtt)
        node.rules = Rules(settings.authorization, settings.cluster.links)
        node.router.max_levels = settings.mqtt.max_topic_levels
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

    async def _open_listeners(self, settings: Settings, changed: set[Path] | None = None) -> None:
        wanted = settings.listeners.enabled()
        for name in [name for name in self.listeners if name not in wanted]:
            await self._close_listener(name)
        for name, listener in wanted.items():
            await self._open_listener(name, listener, changed or set())

    async def _open_listener(self, name: str, settings: AnyListener, changed: set[Path]) -> None:
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
    uvloop.run(_run(settings))


async def _run(settings: Settings) -> None:
    loop = asyncio.get_running_loop()
    server = Server(settings)
    done = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, done.set)
    reloading: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = loop.create_task(server.reload(list(server.settings.files)))
        reloading.add(task)
        task.add_done_callback(reloading.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        await server.start()
        watched = Watched(settings.files)

        async def changed(paths: list[Path]) -> None:
            await server.reload(paths)
            watched.watch(server.settings.files)

        watching = loop.create_task(watch(watched, changed))
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
