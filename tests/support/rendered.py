"""What the operator renders from resources, for tests: fixed certificates, no API server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from isthmus_operator import names, passwords, pki
from isthmus_operator.model import BrokerCluster, ClusterLink, TlsMode
from isthmus_operator.render.entries import Credential, LinkEntry, Peer, end_key, entry
from isthmus_operator.render.manifests import Defaults, manifests
from isthmus_operator.render.secrets import Material

NOW: Final = datetime.now(UTC)
"""Of the run: brokers look at the clock."""
GOLDEN: Final = Path(__file__).parents[1] / "operator/golden"
CASES: Final = sorted(path.parent for path in GOLDEN.glob("*/resources.yaml"))
DEFAULTS: Final = Defaults("registry.example.net/isthmus-broker:0.1.0")
_USERS: Final = f"alice:{passwords.scrypt_hash('wonder')}\n"


def load(path: Path) -> tuple[dict[str, BrokerCluster], dict[str, ClusterLink]]:
    """The resources of a file, as the API server would hold them."""
    clusters: dict[str, BrokerCluster] = {}
    links: dict[str, ClusterLink] = {}
    for found in yaml.safe_load_all(path.read_text()):
        meta = found["metadata"]
        meta |= {"namespace": "mqtt", "uid": f"uid-of-{meta['name']}", "generation": 1}
        if found["kind"] == "BrokerCluster":
            clusters[meta["name"]] = BrokerCluster.model_validate(found)
        else:
            links[meta["name"]] = ClusterLink.model_validate(found)
    return clusters, links


class Authorities:
    """An authority for each cluster, made when first asked for."""

    def __init__(self) -> None:
        self._made: dict[str, pki.Pair] = {}

    def of(self, cluster: str) -> pki.Pair:
        """The authority of a cluster."""
        if cluster not in self._made:
            self._made[cluster] = pki.new_authority(cluster, NOW)
        return self._made[cluster]

    def material(self, cluster: BrokerCluster, users: str = "") -> Material:
        """What a broker is given."""
        authority = self.of(cluster.metadata.name)
        name = names.server_name(cluster.metadata.namespace, cluster.metadata.name)
        server = pki.issue(authority, common_name=name, dns_names=[name], server=True, now=NOW)
        listeners = {
            kind: pki.issue(
                authority, common_name=kind, dns_names=["localhost"], server=True, now=NOW
            )
            for kind in ("mqtts", "wss")
            if getattr(cluster.spec.listeners, kind) is not None
        }
        return Material("k" * 32, server, authority.certificate, users, listeners)

    def credentials(self, link: ClusterLink) -> dict[str, Credential]:
        """What each end shows at the other."""
        found: dict[str, Credential] = {}
        for own, other in (link.spec.ends, reversed(link.spec.ends)):
            if other.cluster is None:
                found[end_key(own)] = Credential(username="them", password="their-password")
                continue
            identity = names.link_identity("mqtt", link.metadata.name, end_key(own))
            if own.external is not None or link.spec.tls.mode == TlsMode.DISABLED:
                password = passwords.new_password()
                hashed = passwords.scrypt_hash(password)
                found[end_key(own)] = Credential(password=password, password_hash=hashed)
            else:
                pair = pki.issue(
                    self.of(end_key(other)), common_name=identity, client=True, now=NOW
                )
                found[end_key(own)] = Credential(pair.certificate, pair.key)
        return found


def entries(
    cluster: BrokerCluster,
    clusters: Mapping[str, BrokerCluster],
    links: Mapping[str, ClusterLink],
    authorities: Authorities,
    credentials: Mapping[str, Mapping[str, Credential]],
    endpoints: Mapping[str, str] | None = None,
) -> list[LinkEntry]:
    """The entries of a cluster's links."""
    found = []
    for name, link in sorted(links.items()):
        if cluster.metadata.name not in link.clusters():
            continue
        (other,) = (end for end in link.spec.ends if end_key(end) != cluster.metadata.name)
        tls = link.spec.tls.mode != TlsMode.DISABLED
        if other.external is not None:
            scheme, _, address = other.external.server.rpartition("://")
            trusted = (
                authorities.of("theirs").certificate if other.external.tls.ca_secret_ref else b""
            )
            sni = other.external.tls.server_name or ""
            peer = Peer(other.external.name, address, scheme == "mqtts", sni, trusted)
        else:
            peer_cluster = clusters[end_key(other)]
            endpoint = (endpoints or {}).get(end_key(other), f"{end_key(other)}.example.net:11883")
            server_name = names.server_name("mqtt", end_key(other))
            authority = authorities.of(end_key(other)).certificate
            peer = Peer(
                peer_cluster.cluster_name,
                endpoint,
                tls,
                server_name if tls else "",
                authority if tls else b"",
            )
        found.append(entry(link, cluster.metadata.name, peer, credentials[name]))
    return found


def of_case(case: Path, authorities: Authorities) -> dict[str, list[dict[str, Any]]]:
    """Manifests of each BrokerCluster of a case."""
    clusters, links = load(case / "resources.yaml")
    credentials = {name: authorities.credentials(link) for name, link in links.items()}
    found = {}
    for name, cluster in clusters.items():
        chosen = entries(cluster, clusters, links, authorities, credentials)
        users = _USERS if cluster.spec.authentication.users_secret_ref else ""
        found[name] = manifests(cluster, chosen, authorities.material(cluster, users), DEFAULTS)
    return found


def plain(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Manifests without what differs from run to run: keys and certificates."""
    return [
        {**one, "data": dict.fromkeys(one["data"], "...")} if one["kind"] == "Secret" else one
        for one in manifests
    ]
