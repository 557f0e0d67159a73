"""The operator's own Kubernetes cluster, and those that kubeconfigs lead to."""

from __future__ import annotations

from isthmus_operator import kubeconfig
from isthmus_operator.cluster.breaker import Breaker
from isthmus_operator.cluster.client import KubeCluster
from isthmus_operator.errors import ResourceError


class Clusters:
    """Home, and the other Kubernetes clusters as long as somebody needs them."""

    def __init__(self, home: KubeCluster) -> None:
        self.home = home
        self._clusters: dict[str, KubeCluster] = {}
        self._users: dict[tuple[str, str], str] = {}

    async def remote(self, user: tuple[str, str], content: bytes) -> KubeCluster:
        """The cluster of a kubeconfig, for the BrokerCluster `user`; the same for the same content.

        Raises:
            ResourceError: it can't be used.
        """
        reached = kubeconfig.of_secret(content)
        digest = reached.digest
        if digest not in self._clusters:
            try:
                self._clusters[digest] = KubeCluster(reached, breaker=Breaker())
            except (OSError, ValueError) as error:
                message = "the kubeconfig can't be used: OpenSSL refuses its certificates"
                raise ResourceError(kubeconfig.REASON, message) from error
        if self._users.get(user) != digest:
            await self.release(user)
            self._users[user] = digest
        return self._clusters[digest]

    async def release(self, user: tuple[str, str]) -> None:
        """A BrokerCluster needs its cluster no more; closed where nobody else does."""
        digest = self._users.pop(user, None)
        if digest is not None and digest not in self._users.values():
            cluster = self._clusters.pop(digest, None)
            if cluster is not None:
                await cluster.close()

    async def close(self) -> None:
        """Close all."""
        for cluster in (self.home, *self._clusters.values()):
            await cluster.close()
