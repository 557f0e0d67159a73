"""What a broker says of itself, asked through the API server; see docs/admin-api.md.

The API server drops `Authorization`, so the key goes in a header of its own. What does not look as
agreed is refused here, so that nobody further in has to doubt it: an image may be anything.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from isthmus_operator import names
from isthmus_operator.cluster import KubeCluster
from isthmus_operator.errors import BrokerError
from isthmus_operator.observation import Direction, LinkReport, NodeReport

_KEY: Final = "X-Isthmus-Key"
_STATUS: Final = "/api/v5/status"
_LINKS: Final = "/api/v5/cluster/links"
_END_OF_TIME: Final = 253402300799.0
"""The last second that a date can say: the end of the year 9999."""

Answered = TypeVar("Answered")

Words = Annotated[str, Field(max_length=4096)]
Instant = Annotated[float, Field(ge=0, le=_END_OF_TIME)]


class _Part(BaseModel):
    """Strict in what it names; what later brokers add is ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class _Configuration(_Part):
    source_hash: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    error: Words = ""


class _Status(_Part):
    version: Words
    configuration: _Configuration


class _Direction(_Part):
    state: Words
    reason: Words = ""
    since: Instant | None = None
    last_seen: Instant | None = None
    routes: Annotated[int, Field(ge=0)] = 0

    def told(self) -> Direction:
        return Direction(self.state, self.reason, self.since, self.last_seen, self.routes)


class _Node(_Part):
    incoming: _Direction
    outgoing: _Direction


class _Link(_Part):
    name: Words
    node_status: Annotated[list[_Node], Field(min_length=1)]

    def told(self) -> LinkReport:
        own = self.node_status[0]
        return LinkReport(own.incoming.told(), own.outgoing.told())


_STATUS_SHAPE: Final[TypeAdapter[_Status]] = TypeAdapter(_Status)
_LINKS_SHAPE: Final[TypeAdapter[list[_Link]]] = TypeAdapter(list[_Link])


async def report(
    cluster: KubeCluster, namespace: str, pod: str, api_key: str, now: float
) -> NodeReport:
    """Ask a broker what it runs and how its links are.

    Raises:
        ClusterError: the API server did not answer, or lets us not through.
        BrokerError: the broker did not answer, or not as agreed.
    """
    headers = {_KEY: api_key}
    status, links = await asyncio.gather(
        *(
            cluster.pod_proxy(namespace, pod, names.API_PORT, path, headers)
            for path in (_STATUS, _LINKS)
        )
    )
    return parsed(pod, status, links, now)


def parsed(pod: str, status: bytes, links: bytes, now: float) -> NodeReport:
    """The two answers as plain values.

    Raises:
        BrokerError: they are not as agreed.
    """
    said = _checked(pod, _STATUS, status, _STATUS_SHAPE)
    return NodeReport(
        pod,
        now,
        version=said.version,
        source_hash=said.configuration.source_hash,
        error=said.configuration.error,
        links={link.name: link.told() for link in _checked(pod, _LINKS, links, _LINKS_SHAPE)},
    )


def _checked(pod: str, path: str, answer: bytes, shape: TypeAdapter[Answered]) -> Answered:
    try:
        return shape.validate_json(answer)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise BrokerError(
            f"the admin API of pod {pod} answers {path} otherwise than expected: {where}:"
            f" {first['msg']}; is the image an Isthmus broker?"
        ) from error
