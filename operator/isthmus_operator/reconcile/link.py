"""One pass over a ClusterLink: judge it, see to its credentials, tell what both ends report.

What its configuration is made of is written by the passes of its BrokerClusters (`cluster`), which
it wakes where it has made something new.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from isthmus_operator import credentials
from isthmus_operator.board import CLUSTER, Desk
from isthmus_operator.errors import ResourceError
from isthmus_operator.model import BrokerCluster, ClusterLink, End
from isthmus_operator.reconcile import accept
from isthmus_operator.reconcile.ends import Waiting
from isthmus_operator.reconcile.parts import Parts
from isthmus_operator.render.entries import end_key
from isthmus_operator.status import (
    Event,
    Finding,
    LinkView,
    Reason,
    Side,
    link_status,
)

BEGIN_SECONDS: Final = 15.0
"""How long after the operator's start nothing is told of what was not looked at yet."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    refused: Finding | None = None
    pending: Finding | None = None
    not_after: float | None = None
    revision: str | None = None


class LinkPass:
    """Passes over ClusterLinks."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._begun = parts.now()

    async def run(self, desk: Desk, link: ClusterLink) -> bool:
        """Make one pass; returns whether everything is settled.

        Raises:
            ClusterError: the home API server did not do what was asked.
        """
        prepared = await self._prepare(desk, link)
        if prepared.refused is None and self._just_begun(link):
            return False  # rather late than with what is not known only because we are new
        first, second = link.spec.ends
        view = LinkView(
            sides=(self._side(link, first, second), self._side(link, second, first)),
            refused=prepared.refused,
            pending=prepared.pending,
            not_after=prepared.not_after,
            revision=prepared.revision,
            paused=desk.paused,
            written_at=desk.written_at,
        )
        update = link_status(link, view, self._parts.now())
        await self._parts.tell(desk, link, update)
        await self._tell_renewal(desk, link, prepared)
        return prepared.refused is None and prepared.pending is None

    def _just_begun(self, link: ClusterLink) -> bool:
        """Whether its BrokerClusters have not been looked at since the operator started."""
        if self._parts.now() - self._begun > BEGIN_SECONDS:
            return False
        facts = self._parts.board.facts
        return any((link.metadata.namespace, name) not in facts for name in link.clusters())

    async def _prepare(self, desk: Desk, link: ClusterLink) -> _Prepared:
        """See to what its entries need, so far as it can be had."""
        ends = self._parts.ends
        refused = ends.refusal(link)
        if refused is not None:
            return _Prepared(refused=refused)
        if desk.paused:
            return _Prepared()
        try:
            data = await ends.of_link(link)
            await ends.hand_out(link)
            for name in link.clusters():
                cluster = ends.finder(link.metadata.namespace)(name)
                if cluster is not None:
                    await ends.entry(link, cluster)
        except Waiting as waiting:
            return _Prepared(pending=waiting.finding)
        except ResourceError as error:
            return _Prepared(pending=Finding("False", Reason(error.reason), error.message))
        return _Prepared(
            not_after=await self._first_expiry(link, data), revision=credentials.revision(data)
        )

    async def _first_expiry(self, link: ClusterLink, data: dict[str, bytes]) -> float | None:
        """When the first certificate that the link needs expires."""
        found = [credentials.first_expiry(data)]
        if accept.tls_source(link):
            for name in link.clusters():
                cluster = self._parts.ends.finder(link.metadata.namespace)(name)
                if cluster is not None:
                    server, _ = await self._parts.ends.server(cluster)
                    found.append(credentials.first_expiry({"server.crt": server.certificate}))
        return min((moment for moment in found if moment is not None), default=None)

    def _side(self, link: ClusterLink, end: End, other: End) -> Side:
        if end.external is not None:
            return Side(end.external.name, server=end.external.server)
        namespace = link.metadata.namespace
        find = self._parts.ends.finder(namespace)
        cluster = find(end_key(end))
        topics = tuple(end.topics or ())
        if cluster is None:
            return Side(end_key(end), end_key(end), topics=topics)
        return Side(
            cluster.cluster_name,
            end_key(end),
            self._parts.ends.address(cluster, self._cluster(namespace, other)),
            topics,
            self._parts.board.facts.get(cluster.metadata.key),
        )

    def _cluster(self, namespace: str, end: End) -> BrokerCluster | None:
        return (
            None
            if end.cluster is None
            else self._parts.board.cluster((namespace, end.cluster.name))
        )

    async def _tell_renewal(self, desk: Desk, link: ClusterLink, prepared: _Prepared) -> None:
        """Tell once that the credentials are others than the status says."""
        before = (link.status.get("tls") or {}).get("revision")
        if not before or not prepared.revision or before == prepared.revision:
            return
        message = "credentials renewed; connections are made anew, one after another"
        await self._parts.event(desk, link, Event("Normal", Reason.CERTIFICATE_RENEWED, message))
        for name in link.clusters():
            self._parts.board.wake(CLUSTER, (link.metadata.namespace, name))
