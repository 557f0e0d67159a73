"""Whether a ClusterLink makes sense among the resources that are there; pure.

What the API server can judge by a resource alone, it has (CEL in the CRD); this is the rest, and
once more what the brokers would refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from isthmus_operator import filters
from isthmus_operator.model import BrokerCluster, ClusterLink, End, TlsMode
from isthmus_operator.status import Finding, Reason

Find = Callable[[str], BrokerCluster | None]
"""A BrokerCluster in the link's namespace, by its name."""


def refusal(
    link: ClusterLink, find: Find, links_of: Callable[[str], Sequence[ClusterLink]]
) -> Finding | None:
    """Why a link can't be used, if so; `links_of`: all links of a BrokerCluster, oldest first."""
    found = _by_itself(link, find)
    if found is not None:
        return found
    for name in link.clusters():
        older = _older(link, links_of(name), find)
        found = _same_ends(link, older, find) or _other_certificates(link, name, older)
        if found is not None:
            return found
    return None


def cluster_name(end: End, find: Find) -> str:
    """What other clusters call an end; the resource's name where it is not there."""
    if end.external is not None:
        return end.external.name
    assert end.cluster is not None  # noqa: S101 - one of the two, says the CRD
    cluster = find(end.cluster.name)
    return cluster.cluster_name if cluster is not None else end.cluster.name


def tls_source(link: ClusterLink) -> str:
    """Where the certificate of the listener comes from that a link needs; empty: it needs none."""
    tls = link.spec.tls
    if tls.issuer_ref is not None:
        return f"CertManager, {tls.issuer_ref.kind} {tls.issuer_ref.name}"
    if tls.secret_ref is not None:
        return f"Secret {tls.secret_ref.name}"
    return "" if tls.mode is TlsMode.DISABLED else str(tls.mode)


def _by_itself(link: ClusterLink, find: Find) -> Finding | None:
    namespace = link.metadata.namespace
    for number, end in enumerate(link.spec.ends):
        if end.cluster is not None and find(end.cluster.name) is None:
            return _no(
                Reason.CLUSTER_NOT_FOUND,
                f"spec.ends[{number}]: there is no BrokerCluster {end.cluster.name} in namespace"
                f" {namespace}; create it, or correct the name",
            )
        found = _topics(number, end.topics or [])
        if found is not None:
            return found
    first, second = (cluster_name(end, find) for end in link.spec.ends)
    if first == second:
        message = f"both ends are called {first}; a link needs two clusters of different names"
        return _no(Reason.SELF_LINK, f"{message}: correct spec.ends or a spec.clusterName")
    return None


def _topics(number: int, topics: Sequence[str]) -> Finding | None:
    for topic in topics:
        wrong = filters.mistake(topic)
        if wrong:
            message = f'spec.ends[{number}].topics: "{topic}" is not a topic filter: {wrong}'
            return _no(Reason.TOPIC_INVALID, message)
    both = filters.overlap(topics)
    if both:
        message = f'spec.ends[{number}].topics: "{both[0]}" covers "{both[1]}"'
        return _no(Reason.TOPIC_OVERLAP, f"{message}; leave out the latter")
    return None


def _older(link: ClusterLink, links: Sequence[ClusterLink], find: Find) -> list[ClusterLink]:
    """Links that stood here first, and make sense by themselves."""
    found: list[ClusterLink] = []
    for one in links:
        if one.metadata.uid == link.metadata.uid:
            break
        if _by_itself(one, find) is None:
            found.append(one)
    return found


def _same_ends(link: ClusterLink, older: Sequence[ClusterLink], find: Find) -> Finding | None:
    ours = {cluster_name(end, find) for end in link.spec.ends}
    for one in older:
        if {cluster_name(end, find) for end in one.spec.ends} == ours:
            message = f"ClusterLink {one.metadata.name} links {' and '.join(sorted(ours))} already"
            return _no(Reason.LINK_CONFLICT, f"{message}; one link is enough: delete one of them")
    return None


def _other_certificates(
    link: ClusterLink, name: str, older: Sequence[ClusterLink]
) -> Finding | None:
    ours = tls_source(link)
    for one in older:
        theirs = tls_source(one)
        if ours and theirs and ours != theirs:
            return _no(
                Reason.TLS_CONFLICT,
                f"spec.tls wants the certificate of BrokerCluster {name} from {ours}, and"
                f" ClusterLink {one.metadata.name}, which is older, from {theirs}; all links of a"
                " BrokerCluster need the same",
            )
    return None


def _no(reason: Reason, message: str) -> Finding:
    return Finding("False", reason, message)
