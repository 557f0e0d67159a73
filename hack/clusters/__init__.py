"""Real Kubernetes clusters on this machine, for tests, the demo and people.

    from clusters import up, down, temporary

    with temporary(["us-east", "eu-west"], control_plane=True) as found:
        found["us-east"].kubectl("get", "namespaces")

`./hack/kube` is the same from the command line. Nothing but the standard library is needed.
"""

from clusters.assembly import network_of, place_of
from clusters.cluster import DEFAULT_NAMES, Cluster, down, find, temporary, up
from clusters.errors import ClustersError, Failed, Missing, Refused

__all__ = [
    "DEFAULT_NAMES",
    "Cluster",
    "ClustersError",
    "Failed",
    "Missing",
    "Refused",
    "down",
    "find",
    "network_of",
    "place_of",
    "temporary",
    "up",
]
