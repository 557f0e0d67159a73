"""What happens when a resource is deleted, until its finalizer may go.

A deletion never hangs on a side that is away: best effort with a deadline, then an event that says
what is left, then release.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from isthmus_operator import names
from isthmus_operator.board import CLUSTER, Desk
from isthmus_operator.errors import ClusterError, ResourceError, Terminating, Unauthorized
from isthmus_operator.model import BrokerCluster, ClusterLink
from isthmus_operator.reconcile.parts import Parts
from isthmus_operator.reconcile.places import Place
from isthmus_operator.render.manifests import KINDS
from isthmus_operator.status import Event, Reason

REVOKE_SECONDS: Final = 30.0
"""How long brokers have to give up a link that is deleted."""
REMOTE_SECONDS: Final = 60.0
"""How long a Kubernetes cluster that is away is waited for."""
_STEP: Final = 5.0


class Deletion:
    """Deletions of both kinds."""

    def __init__(self, parts: Parts, pause: Callable[[float], Awaitable[None]]) -> None:
        self._parts = parts
        self._pause = pause

    # -- links -------------------------------------------------------------------------------------

    async def link(self, desk: Desk, link: ClusterLink) -> None:
        """End a link on both sides, or let it go on as an orphan.

        Raises:
            ClusterError: the home API server did not do what was asked.
        """
        if await self._terminating(link.metadata.namespace):
            return
        if link.spec.deletion_policy == "Orphan":
            await self._parts.ends.orphan(link)
        else:
            left = await self._revoked(link)
            if left:
                message = f"the link is deleted, and may go on for a while at: {'; '.join(left)}"
                await self._parts.event(
                    desk, link, Event("Warning", Reason.REVOKE_INCOMPLETE, message)
                )
        namespace, name = link.metadata.key
        if link.spec.deletion_policy != "Orphan":
            await self._parts.vault.delete(namespace, names.link_secret(name))
        await self._parts.vault.delete(namespace, names.external_secret(name))

    async def _revoked(self, link: ClusterLink) -> list[str]:
        """Wait until no broker has the link; what is left, in words, where that takes too long."""
        board, begun = self._parts.board, self._parts.now()
        namespace = link.metadata.namespace
        keys = [(namespace, name) for name in link.clusters()]
        for key in keys:
            if board.find(CLUSTER, key) is not None:
                board.wake(CLUSTER, key)
        while True:
            left = {key: why for key in keys if (why := self._still(key, link, begun))}
            rest = begun + REVOKE_SECONDS - self._parts.now()
            if not left or rest <= 0 or all(self._hopeless(key) for key in left):
                return [f"BrokerCluster {key[1]} ({why})" for key, why in left.items()]
            await board.news(min(rest, _STEP))

    def _still(self, key: tuple[str, str], link: ClusterLink, begun: float) -> str:
        """Why the brokers of a BrokerCluster may have the link still; empty: they have not."""
        desk = self._parts.board.find(CLUSTER, key)
        facts = self._parts.board.facts.get(key)
        if desk is None or desk.deleting:
            return ""
        if facts is None or facts.at < begun:
            return "not looked at since"
        if facts.problem_reason:
            return facts.problem
        if link.metadata.uid in facts.links:
            return "its configuration can't be written"
        for node in facts.nodes:
            if node.problem:
                return f"pod {node.pod}: {node.problem}"
            if node.source_hash != facts.wanted_hash:
                return f"pod {node.pod} has not taken up its configuration"
        return ""

    def _hopeless(self, key: tuple[str, str]) -> bool:
        """Whether waiting is of no use: a person says that the side is gone, or has paused it."""
        desk = self._parts.board.find(CLUSTER, key)
        if desk is None:
            return True
        annotations = desk.raw["metadata"].get("annotations") or {}
        return annotations.get(names.REMOTE_GONE) == "true" or desk.paused

    # -- broker clusters ---------------------------------------------------------------------------

    async def cluster(self, desk: Desk, cluster: BrokerCluster) -> None:
        """Delete what was made for a BrokerCluster, where its brokers are and at home.

        Raises:
            ClusterError: the home API server did not do what was asked.
        """
        meta = cluster.metadata
        if await self._terminating(meta.namespace) and cluster.remote is None:
            return
        left = await self._cleared(desk, cluster)
        if left:
            message = f"{left}; what is left there has the label {names.OWNER}={meta.uid}"
            await self._parts.event(desk, cluster, Event("Warning", Reason.LEFT_BEHIND, message))
        await self._parts.vault.delete(meta.namespace, names.authority_secret(meta.name))
        await self._parts.places.leave(cluster)

    async def _cleared(self, desk: Desk, cluster: BrokerCluster) -> str:
        """Delete the children; why some are left, where it can't be done in time."""
        begun = self._parts.now()
        while True:
            try:
                place = await self._parts.places.of(cluster)
                await self._delete_children(place, cluster.metadata.uid)
            except Terminating:
                return ""
            except (ResourceError, ClusterError) as error:
                if cluster.remote is None and isinstance(error, ClusterError):
                    raise
                annotations = desk.raw["metadata"].get("annotations") or {}
                gone = annotations.get(names.REMOTE_GONE) == "true"
                if gone or self._parts.now() - begun >= REMOTE_SECONDS:
                    return str(error)
            else:
                return ""
            await self._pause(_STEP)

    async def _delete_children(self, place: Place, owner: str) -> None:
        selector = f"{names.OWNER}={owner}"
        for kind in reversed(KINDS):
            for one in await place.kube.list(kind, place.namespace, selector):
                await place.kube.delete(kind, place.namespace, one["metadata"]["name"])

    async def _terminating(self, namespace: str) -> bool:
        """Whether the whole namespace goes, and takes with it what is beside the resource."""
        try:
            found = await self._parts.home.get("Namespace", "", namespace)
        except Unauthorized:
            return False  # an operator for some namespaces only may not look at them
        return found is None or bool(found["metadata"].get("deletionTimestamp"))
