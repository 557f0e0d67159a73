"""Kubernetes clusters: read them, apply to them, watch them. Every call has a deadline.

- `client`: one cluster, and what one can do there.
- `answers`: what an API server's answer means; `breaker`: fail fast where there was none.
- `watch`: changes as they happen, with none left out.
- `clusters`: the operator's own one, and those of kubeconfigs.

What to make of it is left to `reconcile`; how a cluster is reached is in `access`, `kubeconfig`.
"""

from isthmus_operator.cluster.client import DEADLINE, KubeCluster, Manifest
from isthmus_operator.cluster.clusters import Clusters
from isthmus_operator.cluster.watch import OnEvent

__all__ = ["DEADLINE", "Clusters", "KubeCluster", "Manifest", "OnEvent"]
