"""What one link means for one of its two ends: an entry of that broker's `cluster.links`.

The two ends are equal; each entry is made from the same link, seen from its own side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from isthmus_operator import names, pki
from isthmus_operator.model import ClusterLink, End, TlsMode


@dataclass(frozen=True, slots=True)
class Credential:
    """How one end proves itself at the other. Any part may be missing."""

    certificate: bytes = b""
    key: bytes = b""
    username: str = ""
    """Empty: the link's identity."""
    password: str = ""
    password_hash: str = ""

    def __repr__(self) -> str:
        return "Credential(...)"  # stays out of logs


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end, as this one needs it."""

    name: str
    """What it calls itself."""
    endpoint: str
    """`host:port` of its link listener."""
    tls: bool = True
    server_name: str = ""
    """Name in its server certificate; empty: the host of `endpoint`."""
    authority: bytes = b""
    """Certificates of who has signed its server certificate; empty: the system's."""


@dataclass(frozen=True, slots=True)
class LinkEntry:
    """One entry of `cluster.links`, and what the other end needs to come in here."""

    link: str
    """Name of the ClusterLink."""
    uid: str
    generation: int
    enable: bool
    peer: Peer
    topics: tuple[str, ...]
    pool_size: int
    retry_interval: str
    max_inflight: int
    ordering: str
    buffer: str
    """Size, in the broker's units: powers of 1024."""
    identity: str
    """User name under which this end logs in there."""
    own: Credential = field(default_factory=Credential)
    """What this end shows there."""
    logins: tuple[str, ...] = ()
    """User names and common names under which the other end comes in here."""
    proven: bool = True
    """Whether only these speak for the other end; else whoever is let in does."""
    users: tuple[str, ...] = ()
    """Lines for the file of users: the other end's password."""
    plain_in: bool = False
    """Whether the other end comes in without TLS."""

    @property
    def file(self) -> str:
        """How the names of this link's files begin."""
        return f"link-{names.short_hash(self.link)}"


def end_key(end: End) -> str:
    """Name of an end within its link: of the BrokerCluster, or of the external cluster."""
    if end.cluster is not None:
        return end.cluster.name
    assert end.external is not None  # noqa: S101 - the schema wants one of the two
    return end.external.name


def entry(
    link: ClusterLink, cluster: str, peer: Peer, credentials: Mapping[str, Credential]
) -> LinkEntry:
    """The entry of `link` for the BrokerCluster `cluster`.

    Args:
        link: one that names `cluster` as one of its ends.
        cluster: name of the BrokerCluster.
        peer: the other end.
        credentials: of both ends, by `end_key`: what each shows at the other.
    """
    spec = link.spec
    own, other = _ends(link, cluster)
    namespace, name = link.metadata.namespace, link.metadata.name
    mine = credentials.get(cluster, Credential())
    theirs = credentials.get(end_key(other), Credential())
    identity = names.link_identity(namespace, name, end_key(other))
    return LinkEntry(
        link=name,
        uid=link.metadata.uid,
        generation=link.metadata.generation,
        enable=spec.enable,
        peer=peer,
        topics=tuple(own.topics or ()),
        pool_size=spec.pool_size,
        retry_interval=spec.retry_interval,
        max_inflight=spec.max_inflight,
        ordering=spec.ordering,
        buffer=_size(spec.buffer.max_bytes),
        identity=mine.username or names.link_identity(namespace, name, cluster),
        own=mine,
        logins=_logins(theirs, identity),
        proven=spec.authentication.mode != "Disabled",
        users=(f"{identity}:{theirs.password_hash}",) if theirs.password_hash else (),
        plain_in=spec.tls.mode == TlsMode.DISABLED,
    )


def _size(quantity: str) -> str:
    """`64Mi` of Kubernetes is `64MiB` in HOCON; a bare number is bytes in both."""
    return f"{quantity}B" if quantity.endswith("i") else quantity


def _ends(link: ClusterLink, cluster: str) -> tuple[End, End]:
    """Its own end and the other."""
    first, second = link.spec.ends
    return (first, second) if end_key(first) == cluster else (second, first)


def _logins(theirs: Credential, identity: str) -> tuple[str, ...]:
    """The name in its certificate, and the user made for it."""
    named = pki.common_name(theirs.certificate) if theirs.certificate else identity
    return tuple(dict.fromkeys((named, identity)))
