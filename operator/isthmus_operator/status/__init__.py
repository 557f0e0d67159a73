"""What the status of the two resources says, from what was seen; pure.

- `reasons`: the fixed list of reasons, and which one a broker's words about a link mean.
- `conditions`: conditions in the shape that all of Kubernetes uses; what changed, and since when.
- `cluster`, `link`: the status of a BrokerCluster and of a ClusterLink.

Nothing that was not just seen is told as true, and `None` says that there is nothing to write.
"""

from isthmus_operator.status.cluster import cluster_status
from isthmus_operator.status.conditions import Event, Finding, Update
from isthmus_operator.status.link import LinkView, Side, address_pending, arrow, link_status
from isthmus_operator.status.reasons import Reason

__all__ = [
    "Event",
    "Finding",
    "LinkView",
    "Reason",
    "Side",
    "Update",
    "address_pending",
    "arrow",
    "cluster_status",
    "link_status",
]
