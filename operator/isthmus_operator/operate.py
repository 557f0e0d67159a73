"""Composition root: builds the parts, waits to lead, runs kopf, and stops; nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import kopf
import structlog
from kopf._core.engines.peering import Identity

from isthmus_operator import __version__, access, handlers, kubeconfig, names
from isthmus_operator.access import Access
from isthmus_operator.board import LINK
from isthmus_operator.cluster import Clusters, KubeCluster
from isthmus_operator.errors import ClusterError
from isthmus_operator.health import Health
from isthmus_operator.lease import Lease
from isthmus_operator.reconcile import Reconciler
from isthmus_operator.render.manifests import Defaults
from isthmus_operator.settings import Settings

_LOGIN_LASTS: Final = timedelta(minutes=10)
_CANARY_EVERY: Final = 20.0
_RETRY: Final = 2.0

_log = structlog.get_logger()


async def operate(settings: Settings) -> int:
    """Run until a signal comes (0), or the lead is lost (1: to be started again).

    Raises:
        ResourceError, OSError: there is no usable way to the API server.
    """
    reached = _reached(settings)
    home = KubeCluster(reached)
    clusters = Clusters(home)
    reconciler: Reconciler
    health = Health(lambda: [desk.raw for desk in reconciler.board.desks(LINK)])
    defaults = Defaults(image=settings.broker_image)
    reconciler = Reconciler(clusters, defaults, settings.namespaces, health)
    _log.info("started", version=__version__, namespaces=list(settings.namespaces) or "all")
    stop = _stop_on_signals()
    runner = await health.serve(settings.health_port) if settings.health_port else None
    try:
        async with _leading(settings, clusters, health, stop) as lost:
            if not stop.is_set():
                await _lead(settings, reached, home, reconciler, health, stop)
            return 1 if lost.is_set() else 0
    finally:
        await reconciler.close()
        await clusters.close()
        if runner is not None:
            await runner.cleanup()


async def _lead(
    settings: Settings,
    reached: Access,
    home: KubeCluster,
    reconciler: Reconciler,
    health: Health,
    stop: asyncio.Event,
) -> None:
    """List everything, then let kopf run until `stop`."""
    while not stop.is_set():
        try:
            await reconciler.load()
            break
        except ClusterError as error:
            _log.warning("API server does not answer yet, tried again", error=str(error))
            await asyncio.sleep(_RETRY)
    beside = [
        asyncio.create_task(reconciler.resync(), name="resync"),
        asyncio.create_task(_canary(settings, home, health), name="canary"),
    ]
    try:
        await kopf.operator(
            registry=handlers.registry(reconciler, _login(reached), health.heard),
            settings=handlers.settings(),
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
            standalone=True,
            identity=Identity(settings.identity),  # kopf's own way needs a user name
            stop_flag=stop,
        )
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)


@contextlib.asynccontextmanager
async def _leading(
    settings: Settings, clusters: Clusters, health: Health, stop: asyncio.Event
) -> AsyncIterator[asyncio.Event]:
    """Lead for as long as the block runs; `stop` is set where the lead is lost."""
    lost = asyncio.Event()
    if not settings.lease_namespace:
        health.leads(True)
        yield lost
        return
    lease = Lease(clusters.home, settings.lease_namespace, settings.lease_name, settings.identity)
    if not await _unless(stop, lease.acquire()):
        yield lost
        return
    health.leads(True)

    async def hold() -> None:
        await lease.hold()
        lost.set()
        await clusters.close()  # another one leads soon: what is under way must not go on
        stop.set()

    holding = asyncio.create_task(hold(), name="lease")
    try:
        yield lost
    finally:
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
        health.leads(False)
        if not lost.is_set():
            await lease.release()


async def _unless(stop: asyncio.Event, waiting: Any) -> bool:
    """Await something; False where `stop` is set before."""
    task = asyncio.ensure_future(waiting)
    over = asyncio.ensure_future(stop.wait())
    await asyncio.wait({task, over}, return_when=asyncio.FIRST_COMPLETED)
    for one in (task, over):
        if not one.done():
            one.cancel()
    await asyncio.gather(task, over, return_exceptions=True)
    return not stop.is_set()


async def _canary(settings: Settings, home: KubeCluster, health: Health) -> None:
    """Change a Secret of our own every now and then: kopf's watch has to tell of it."""
    namespace = (*settings.namespaces, settings.lease_namespace)[0]
    if not namespace:
        return
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": f"{settings.lease_name}-canary",
            "namespace": namespace,
            "labels": {names.MANAGED_BY: "isthmus", names.NAME_LABEL: "isthmus-canary"},
        },
    }
    while True:
        stamp = {f"{names.GROUP}/touched": str(int(time.time()))}
        manifest["metadata"]["annotations"] = stamp  # type: ignore[index]
        try:
            await home.apply(manifest)
            health.touched()
        except ClusterError as error:
            _log.debug("canary not written", error=str(error))
        await asyncio.sleep(_CANARY_EVERY)


def _reached(settings: Settings) -> Access:
    if settings.kubeconfig is not None:
        return kubeconfig.of_file(settings.kubeconfig)
    return access.of_pod(*settings.api)


def _login(reached: Access) -> Any:
    """Credentials of kopf's own client: read anew every ten minutes, as the token is."""

    async def login(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(
            server=reached.server,
            ca_data=reached.ca.encode() or None,
            scheme="Bearer" if reached.bearer() else None,
            token=reached.bearer() or None,
            certificate_data=reached.certificate or None,
            private_key_data=reached.key or None,
            expiration=datetime.now(UTC) + _LOGIN_LASTS,
        )

    return login


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, stop.set)
    return stop
