"""What a broker says of itself, asked through the API server; see docs/admin-api.md.

The API server drops `Authorization`, so the key goes in a header of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from isthmus_operator import names
from isthmus_operator.cluster import KubeCluster
from isthmus_operator.errors import BrokerError
from isthmus_operator.observation import Direction, LinkReport, NodeReport

_KEY: Final = "X-Isthmus-Key"


async def report(
    cluster: KubeCluster, namespace: str, pod: str, api_key: str, now: float
) -> NodeReport:
    """Ask a broker what it runs and how its links are.

    Raises:
        ClusterError: there was no answer.
        BrokerError: the answer is not as agreed.
    """
    headers = {_KEY: api_key}
    status, links = await asyncio.gather(
        *(
            cluster.pod_proxy(namespace, pod, names.API_PORT, path, headers)
            for path in ("/api/v5/status", "/api/v5/cluster/links")
        )
    )
    try:
        return parsed(pod, status, links, now)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        message = f"the admin API of pod {pod} answers otherwise than expected: {error!r}"
        raise BrokerError(f"{message}; is the image an Isthmus broker?") from error


def parsed(pod: str, status: Any, links: Any, now: float) -> NodeReport:
    """The two answers as plain values.

    Raises:
        KeyError, TypeError, IndexError, ValueError: they are not as agreed.
    """
    configuration = status["configuration"]
    return NodeReport(
        pod,
        now,
        version=str(status["version"]),
        source_hash=str(configuration.get("source_hash") or ""),
        error=str(configuration.get("error") or ""),
        links={str(link["name"]): _link(link) for link in links},
    )


def _link(link: Mapping[str, Any]) -> LinkReport:
    told = link["node_status"][0]
    return LinkReport(_direction(told["incoming"]), _direction(told["outgoing"]))


def _direction(told: Mapping[str, Any]) -> Direction:
    return Direction(
        state=str(told["state"]),
        reason=str(told.get("reason") or ""),
        since=told.get("since"),
        last_seen=told.get("last_seen"),
        routes=int(told.get("routes") or 0),
    )
