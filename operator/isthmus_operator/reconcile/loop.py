"""A pass whenever there is a reason, and at intervals without one; for as long as a resource lives.

Level-based: that an event was missed costs time, nothing else. Each resource has its own loop, so
that one that waits for a Kubernetes cluster holds up nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

import structlog

from isthmus_operator import names
from isthmus_operator.board import CLUSTER, LINK, Board, Desk, Key, Kind
from isthmus_operator.cluster import Clusters
from isthmus_operator.errors import ClusterError
from isthmus_operator.model import BrokerCluster, ClusterLink
from isthmus_operator.reconcile.cluster import ClusterPass
from isthmus_operator.reconcile.deletion import Deletion
from isthmus_operator.reconcile.ends import Ends
from isthmus_operator.reconcile.link import LinkPass
from isthmus_operator.reconcile.parts import Parts
from isthmus_operator.reconcile.places import Places
from isthmus_operator.reconcile.vault import Vault
from isthmus_operator.render.manifests import Defaults
from isthmus_operator.status import Reason
from isthmus_operator.status.invalid import invalid_status

AT_REST: Final = 30.0
"""Seconds between two passes where nothing is under way."""
SOON: Final = 0.5
"""Seconds to the next pass where something is; doubled each time, to `LATER`."""
LATER: Final = 4.0
_PATIENT: Final = 20
"""Passes after which what is under way is looked at as what rests is."""
RESYNC: Final = 300.0
"""Seconds after which all resources are listed again, and Secrets read again."""
_DEBOUNCE: Final = 0.05

_log = structlog.get_logger()


class Stopped(Protocol):
    """What tells a loop to end, as kopf has it."""

    def __bool__(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> Awaitable[Any]:
        """Wait until it is so, or for `timeout` seconds."""


class Observer(Protocol):
    """Who counts what happens."""

    def passed(self, kind: str, seconds: float) -> None:
        """A pass is over."""

    def failed(self, kind: str, error: str) -> None:
        """A pass could not be made."""

    def wrote(self, kind: str) -> None:
        """An object was written."""


class Reconciler:
    """All loops, and what they share."""

    def __init__(
        self,
        clusters: Clusters,
        defaults: Defaults,
        namespaces: Sequence[str] = (),
        observer: Observer | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.board = Board()
        self._home = clusters.home
        self._clusters = clusters
        self._namespaces = tuple(namespaces) or ("",)
        self._observer = observer
        self._now = now
        self._vault = Vault(self._home)
        ends = Ends(self.board, self._vault, self._home, now)
        self._places = Places(self.board, clusters, self._vault)
        wrote = observer.wrote if observer is not None else _nobody
        self._parts = Parts(
            self.board, self._home, self._vault, ends, self._places, defaults, now, wrote
        )
        self._cluster_pass = ClusterPass(self._parts)
        self._link_pass = LinkPass(self._parts)
        self._deletion = Deletion(self._parts, asyncio.sleep)

    # -- what is heard -----------------------------------------------------------------------------

    async def load(self) -> None:
        """List all resources: no pass may take a link for gone that was only not heard of yet.

        Raises:
            ClusterError: the API server did not answer.
        """
        kinds: tuple[Kind, ...] = (CLUSTER, LINK)
        for kind in kinds:
            found: list[dict[str, Any]] = []
            for namespace in self._namespaces:
                found += await self._home.list(kind, namespace, "")
            for raw in found:
                self.board.see(kind, raw)
            self.board.keep_only(
                kind, [(raw["metadata"]["namespace"], raw["metadata"]["name"]) for raw in found]
            )

    async def resync(self) -> None:
        """List and read everything again, every few minutes; ends when it is cancelled."""
        while True:
            await asyncio.sleep(RESYNC)
            self._vault.forget()
            try:
                await self.load()
            except ClusterError as error:
                _log.warning("resources not listed, tried again later", error=str(error))

    def heard(self, kind: Kind, event: str | None, raw: dict[str, Any]) -> None:
        """A resource has changed, or is gone."""
        if event == "DELETED":
            meta = raw["metadata"]
            key = (meta["namespace"], meta["name"])
            if kind == CLUSTER:
                self._cluster_pass.forget(key)
            self.board.forget(kind, key)
        else:
            self.board.see(kind, raw)

    def heard_of_secret(self, raw: dict[str, Any]) -> None:
        """A Secret beside the resources has changed, or is gone."""
        meta = raw["metadata"]
        key = (meta["namespace"], meta["name"])
        self._vault.forget(key)
        self.board.secret_changed(key)
        labels = meta.get("labels") or {}
        if names.ORPHANED in labels:
            self._parts.ends.orphans_changed(meta["namespace"])
        if names.OWNER in labels:
            self.board.child_changed(labels[names.OWNER], "Secret")

    # -- what is done ------------------------------------------------------------------------------

    async def follow(self, kind: Kind, key: Key, stopped: Stopped) -> None:
        """Look after one resource until it is deleted, or the operator ends."""
        desk = self.board.desk(kind, key)
        unsettled = failures = 0
        while not stopped:
            desk.wake.clear()
            try:
                settled = await self._pass(desk)
            except ClusterError as error:
                settled = False
                failures += 1
                self._tell_failure(desk, error, failures)
            else:
                failures = 0
            unsettled = 0 if settled else unsettled + 1
            delay = AT_REST if settled else _patience(unsettled)
            if await _woken(desk, stopped, delay):
                unsettled = 0

    async def delete(self, kind: Kind, raw: dict[str, Any]) -> None:
        """Do what a deletion needs, so that the resource may go.

        Raises:
            ClusterError: the home API server did not do what was asked; to be called again.
        """
        self.board.see(kind, raw)
        meta = raw["metadata"]
        desk = self.board.desk(kind, (meta["namespace"], meta["name"]))
        async with desk.lock:
            if isinstance(desk.resource, BrokerCluster):
                await self._deletion.cluster(desk, desk.resource)
            elif isinstance(desk.resource, ClusterLink):
                await self._deletion.link(desk, desk.resource)

    async def close(self) -> None:
        """End what runs beside the loops."""
        await self._places.close()

    async def _pass(self, desk: Desk) -> bool:
        """One pass; returns whether everything is settled."""
        async with desk.lock:
            if not desk.raw or desk.deleting:
                return True
            begun = time.monotonic()
            if desk.mistake:
                await self._tell_mistake(desk)
                settled = True
            elif isinstance(desk.resource, BrokerCluster):
                settled = await self._cluster_pass.run(desk, desk.resource)
            else:
                assert isinstance(desk.resource, ClusterLink)  # noqa: S101 - one of the two
                settled = await self._link_pass.run(desk, desk.resource)
            if self._observer is not None:
                self._observer.passed(desk.kind, time.monotonic() - begun)
            return settled

    async def _tell_mistake(self, desk: Desk) -> None:
        """A resource can't be read: its CRD is of another version than this operator."""
        message = (
            f"this operator can't read the spec: {desk.mistake}; the CRDs in the cluster are of"
            " another version than the operator: apply those that came with it"
        )
        status = invalid_status(desk.raw, Reason.SPEC_INVALID, message, self._now())
        if status is not None:
            meta = desk.raw["metadata"]
            await self._home.update_status(desk.kind, meta["namespace"], meta["name"], status)

    def _tell_failure(self, desk: Desk, error: ClusterError, failures: int) -> None:
        if self._observer is not None:
            self._observer.failed(desk.kind, type(error).__name__)
        namespace, name = desk.key
        log = _log.warning if failures == 1 else _log.debug
        log(
            "pass not made, tried again",
            kind=desk.kind,
            namespace=namespace,
            name=name,
            error=str(error),
        )


def _patience(unsettled: int) -> float:
    """Seconds to wait after so many passes in a row that have left something under way."""
    if unsettled > _PATIENT:
        return AT_REST
    return min(SOON * 2.0 ** (unsettled - 1), LATER)


async def _woken(desk: Desk, stopped: Stopped, seconds: float) -> bool:
    """Wait until a resource is woken (True), all is over, or the time is up (False)."""
    woken = asyncio.ensure_future(desk.wake.wait())
    over = asyncio.ensure_future(stopped.wait(seconds))
    try:
        await asyncio.wait({woken, over}, return_when=asyncio.FIRST_COMPLETED)
        if woken.done() and not stopped:
            await asyncio.sleep(_DEBOUNCE)
        return woken.done()
    finally:
        woken.cancel()
        over.cancel()
        await asyncio.gather(woken, over, return_exceptions=True)


def _nobody(_: str) -> None:
    """Nobody counts."""
