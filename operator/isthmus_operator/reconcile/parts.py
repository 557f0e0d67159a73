"""What all passes share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from isthmus_operator import names
from isthmus_operator.board import Board, Desk
from isthmus_operator.cluster import KubeCluster
from isthmus_operator.model import BrokerCluster, ClusterLink
from isthmus_operator.reconcile.ends import Ends
from isthmus_operator.reconcile.places import Places
from isthmus_operator.reconcile.vault import Vault
from isthmus_operator.render.manifests import Defaults
from isthmus_operator.status import Event, Update

_log = structlog.get_logger()


@dataclass(frozen=True)
class Parts:
    """What all passes share."""

    board: Board
    home: KubeCluster
    vault: Vault
    ends: Ends
    places: Places
    defaults: Defaults
    now: Callable[[], float]
    """Seconds since the epoch."""
    wrote: Callable[[str], None] = field(default=lambda _: None)
    """Told the kind of each object that is written."""

    async def tell(self, desk: Desk, resource: BrokerCluster | ClusterLink, update: Update) -> None:
        """Write a status, and the events that go with it.

        Raises:
            ClusterError: the home API server did not take them.
        """
        if update.status is not None:
            meta = resource.metadata
            new = await self.home.update_status(desk.kind, meta.namespace, meta.name, update.status)
            desk.written_at = self.now()
            self.wrote("status")
            if new is not None and desk.raw:
                self.board.see(desk.kind, new)
        for event in update.events:
            await self.event(desk, resource, event)

    async def event(self, desk: Desk, resource: BrokerCluster | ClusterLink, event: Event) -> None:
        """Say something about a resource where `kubectl describe` shows it."""
        meta = resource.metadata
        log = _log.info if event.type == "Normal" else _log.warning
        log(
            event.message,
            kind=desk.kind,
            namespace=meta.namespace,
            name=meta.name,
            reason=str(event.reason),
        )
        about = {
            "apiVersion": names.API_VERSION,
            "kind": desk.kind,
            "namespace": meta.namespace,
            "name": meta.name,
            "uid": meta.uid,
        }
        await self.home.event(about, event.type, str(event.reason), event.message)
