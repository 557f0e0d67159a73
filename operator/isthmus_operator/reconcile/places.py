"""Which Kubernetes cluster a BrokerCluster is placed on, and what happens there.

Children are watched on each cluster that holds some, by their label; an event names the owner, who
is woken. Watches end with the last BrokerCluster that needs them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from isthmus_operator import names
from isthmus_operator.board import Board
from isthmus_operator.cluster import Clusters, KubeCluster
from isthmus_operator.model import BrokerCluster
from isthmus_operator.reconcile.vault import Vault
from isthmus_operator.render.manifests import KINDS

WATCHED: Final = (*KINDS, "Pod")
"""Kinds of a BrokerCluster's children."""
SELECTOR: Final = names.OWNER
"""Whatever belongs to some resource; pods have that label from their template."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the brokers of a BrokerCluster are."""

    kube: KubeCluster
    namespace: str
    remote: str
    """The Secret of its kubeconfig, for messages; empty: home."""


class Places:
    """Places of all BrokerClusters."""

    def __init__(self, board: Board, clusters: Clusters, secrets: Vault) -> None:
        self._board = board
        self._clusters = clusters
        self._vault = secrets
        self._watches: dict[tuple[KubeCluster, str], asyncio.Task[None]] = {}

    async def of(self, cluster: BrokerCluster) -> Place:
        """Where a BrokerCluster is placed.

        Raises:
            ResourceError: the kubeconfig is missing, or can't be used.
            ClusterError: the home API server did not answer.
        """
        ref = cluster.remote
        if ref is None:
            place = Place(self._clusters.home, cluster.namespace, "")
        else:
            read = self._vault.read(
                cluster.metadata.namespace,
                ref.name,
                ref.key,
                what="spec.placement.kubeconfigSecretRef",
            )
            data = await read
            kube = await self._clusters.remote(cluster.metadata.key, data[ref.key])
            place = Place(kube, cluster.namespace, f"Secret {ref.name}")
        self._watch(place)
        return place

    async def leave(self, cluster: BrokerCluster) -> None:
        """A BrokerCluster is gone: its Kubernetes cluster may not be needed any more."""
        await self._clusters.release(cluster.metadata.key)

    async def close(self) -> None:
        """End all watches."""
        for task in self._watches.values():
            task.cancel()
        await asyncio.gather(*self._watches.values(), return_exceptions=True)

    def _watch(self, place: Place) -> None:
        for key, task in list(self._watches.items()):
            if task.done() or key[0].closed:
                task.cancel()
                del self._watches[key]
        key = (place.kube, place.namespace)
        if key not in self._watches:
            watching = place.kube.watch(WATCHED, place.namespace, SELECTOR, self._happened)
            self._watches[key] = asyncio.create_task(watching, name=f"watch {place.namespace}")

    def _happened(self, kind: str, _event: str, found: Mapping[str, Any]) -> None:
        meta = found["metadata"]
        owner = (meta.get("labels") or {}).get(names.OWNER)
        if owner:
            self._board.child_changed(owner, kind)
        if kind == "Secret":
            self._vault.forget((meta["namespace"], meta["name"]))
