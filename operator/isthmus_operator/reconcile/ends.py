"""What a link needs at both of its ends: addresses, credentials, certificates; made where missing.

The passes of a link and of both its BrokerClusters call this, whoever comes first; the Secrets that
hold it are beside the resources and never leave home as a whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from isthmus_operator import credentials, names, pki
from isthmus_operator.board import CLUSTER, LINK, Board, Key
from isthmus_operator.cluster import KubeCluster
from isthmus_operator.model import BrokerCluster, ClusterLink, End, External, TlsListener, TlsMode
from isthmus_operator.reconcile import accept, vault
from isthmus_operator.reconcile.vault import Data, Vault
from isthmus_operator.render import services
from isthmus_operator.render.entries import Credential, LinkEntry, Peer, end_key, entry
from isthmus_operator.status import Finding, Reason, address_pending

Clock = Callable[[], float]
ORPHAN_KEY: Final = "link.json"
"""Key of an orphaned link's Secret: the link as it was."""
_TLS_KEYS: Final = ("tls.crt", "tls.key", "ca.crt")


class Waiting(Exception):
    """An entry can't be made yet: something is missing that is none of the spec's fault."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


class Ends:
    """Addresses and credentials of links."""

    def __init__(self, board: Board, secrets: Vault, home: KubeCluster, now: Clock) -> None:
        self._board = board
        self._vault = secrets
        self._home = home
        self._now = now
        self._locks: dict[Key, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._orphaned: dict[str, list[dict[str, Any]]] = {}

    # -- resources around a link -------------------------------------------------------------------

    def finder(self, namespace: str) -> accept.Find:
        """BrokerClusters of a namespace by name, those that are being deleted left out."""

        def find(name: str) -> BrokerCluster | None:
            desk = self._board.find(CLUSTER, (namespace, name))
            if desk is None or desk.deleting:
                return None
            return self._board.cluster((namespace, name))

        return find

    def refusal(self, link: ClusterLink) -> Finding | None:
        """Why a link can't be used, if so."""
        namespace = link.metadata.namespace
        return accept.refusal(
            link,
            self.finder(namespace),
            lambda name: self._board.links_of((namespace, name)),
        )

    def address(self, cluster: BrokerCluster, seen_from: BrokerCluster | None) -> str:
        """`host:port` of a BrokerCluster's link listener; empty while it has none."""
        advertised = cluster.spec.listeners.link.advertised
        if advertised:
            return advertised
        if seen_from is not None and cluster.remote == seen_from.remote:
            service = names.link_service(cluster.metadata.name)
            return f"{service}.{cluster.namespace}.svc:{cluster.spec.listeners.link.port}"
        facts = self._board.facts.get(cluster.metadata.key)
        if facts is not None and not facts.problem_reason:
            return facts.link_endpoint
        endpoints: Mapping[str, str] = cluster.status.get("endpoints") or {}
        return endpoints.get("link", "")

    # -- what proves who somebody is ---------------------------------------------------------------

    async def authority(self, cluster: BrokerCluster) -> credentials.Authority:
        """The authority of a BrokerCluster; made where there is none, renewed where due.

        Raises:
            ResourceError: a Secret of that name is somebody else's.
            ClusterError: the API server did not answer.
        """
        meta = cluster.metadata
        name = names.authority_secret(meta.name)
        async with self._locks[meta.namespace, name]:
            data = await self._vault.ours(meta.namespace, name)
            wanted = credentials.renewed_authority(cluster, data, self._time())
            if wanted != data:
                await self._keep(CLUSTER, cluster, name, wanted)
        return credentials.authority(wanted)

    async def of_link(self, link: ClusterLink) -> Data:
        """The credentials of a link; made where there are none, renewed where due."""
        find = self.finder(link.metadata.namespace)
        authorities = {}
        for name in link.clusters():
            cluster = find(name)
            if cluster is not None:
                authorities[name] = await self.authority(cluster)
        name = names.link_secret(link.metadata.name)
        async with self._locks[link.metadata.namespace, name]:
            data = await self._vault.ours(link.metadata.namespace, name)
            wanted = credentials.renewed_link(link, data, authorities, self._time())
            orphan = self._is_orphan(link, data)
            if orphan:
                wanted[ORPHAN_KEY] = data[ORPHAN_KEY]
            if wanted != data:
                await self._keep(LINK, link, name, wanted, orphan=orphan)
        return {key: value for key, value in wanted.items() if key != ORPHAN_KEY}

    def _is_orphan(self, link: ClusterLink, data: Data) -> bool:
        """Whether the link is deleted and goes on: then its Secret is all that is left of it."""
        if ORPHAN_KEY not in data or self._board.link(link.metadata.key) is not None:
            return False
        kept = ClusterLink.model_validate(json.loads(data[ORPHAN_KEY]))
        return kept.metadata.uid == link.metadata.uid

    async def orphan(self, link: ClusterLink) -> None:
        """Let the credentials of a link outlive it, and say in them what it was."""
        namespace, name = link.metadata.key
        data = {**await self.of_link(link), ORPHAN_KEY: json.dumps(_kept(link)).encode()}
        await self._keep(LINK, link, names.link_secret(name), data, orphan=True)
        self.orphans_changed(namespace)

    async def shown(self, link: ClusterLink) -> dict[str, Credential]:
        """What each end shows at the other, by `end_key`.

        Raises:
            ResourceError: a Secret that the link names is missing, or lacks a key.
            Waiting: cert-manager has not made a certificate yet.
            ClusterError: the API server did not answer.
        """
        data = await self.of_link(link)
        found: dict[str, Credential] = {}
        for end, other in (link.spec.ends, link.spec.ends[::-1]):
            if end.cluster is None:
                found[end_key(end)] = _from(data, credentials.EXTERNAL)
            elif other.external is not None:
                found[end_key(end)] = await self._for_external(link, other.external)
            else:
                found[end_key(end)] = await self._for_ours(link, end_key(end), data)
        return found

    async def server(self, cluster: BrokerCluster) -> tuple[pki.Pair, bytes]:
        """Certificate of a BrokerCluster's link listener, and whose certificates it takes.

        Raises: as `shown`.
        """
        authority = await self.authority(cluster)
        link = self._certifier(cluster)
        if link is None or link.spec.tls.mode is TlsMode.GENERATED:
            return authority.server, authority.bundle
        data = await self._certificates(link, cluster)
        return pki.Pair(data["tls.crt"], data["tls.key"]), data["ca.crt"]

    async def client_listener(
        self, cluster: BrokerCluster, name: str, listener: TlsListener
    ) -> pki.Pair:
        """Certificate of a listener for clients that the authority of its cluster vouches for.

        Raises: as `authority`.
        """
        meta = cluster.metadata
        service = names.workload(meta.name)
        hosts = (service, f"{service}.{cluster.namespace}.svc", *listener.dns_names)
        authority = await self.authority(cluster)
        secret = names.authority_secret(meta.name)
        async with self._locks[meta.namespace, secret]:
            data = await self._vault.ours(meta.namespace, secret)
            wanted = credentials.renewed_listener(data, name, hosts, authority, self._time())
            if wanted != data:
                await self._keep(CLUSTER, cluster, secret, wanted)
        return pki.Pair(wanted[f"{name}.crt"], wanted[f"{name}.key"])

    # -- entries -----------------------------------------------------------------------------------

    async def entry(self, link: ClusterLink, cluster: BrokerCluster) -> LinkEntry:
        """What a link means for one of its BrokerClusters.

        Raises:
            Waiting: the other end has no address yet, or a certificate is not there yet.
            ResourceError, ClusterError: as `shown`.
        """
        shown = await self.shown(link)
        own, other = link.spec.ends
        if end_key(own) != cluster.metadata.name:
            own, other = other, own
        peer = await self._peer(link, cluster, other)
        return entry(link, cluster.metadata.name, peer, shown)

    async def orphans(self, cluster: BrokerCluster, live: set[str]) -> list[LinkEntry]:
        """Entries of links that were deleted with `Orphan`; `live`: UIDs of the others."""
        meta = cluster.metadata
        found = []
        for secret in await self._orphans_in(meta.namespace):
            link = ClusterLink.model_validate(json.loads(vault.decoded(secret)[ORPHAN_KEY]))
            if meta.name in link.clusters() and link.metadata.uid not in live:
                with contextlib.suppress(Waiting):  # what runs stays, see `cluster`
                    found.append(await self.entry(link, cluster))
        return found

    def orphans_changed(self, namespace: str) -> None:
        """A link has become an orphan, or the credentials of one are gone."""
        self._orphaned.pop(namespace, None)
        for desk in self._board.desks(CLUSTER):
            if desk.key[0] == namespace:
                desk.wake.set()

    async def _orphans_in(self, namespace: str) -> list[dict[str, Any]]:
        if namespace not in self._orphaned:
            selector = f"{names.ORPHANED}=true"
            self._orphaned[namespace] = await self._home.list("Secret", namespace, selector)
        return self._orphaned[namespace]

    async def hand_out(self, link: ClusterLink) -> None:
        """Write what the owner of an external end needs, to let its cluster log in here."""
        external = next((end for end in link.spec.ends if end.external is not None), None)
        ours = next(end for end in link.spec.ends if end.cluster is not None)
        cluster = self.finder(link.metadata.namespace)(end_key(ours))
        if external is None or cluster is None:
            return
        meta = link.metadata
        data = await self.of_link(link)
        wanted = {
            "username": names.link_identity(meta.namespace, meta.name, end_key(external)).encode(),
            "password": data.get(f"{credentials.EXTERNAL}.password", b""),
            "server": self.address(cluster, None).encode(),
        }
        if link.spec.tls.mode is not TlsMode.DISABLED:
            wanted["ca.crt"] = (await self.server(cluster))[1]
            name = names.server_name(meta.namespace, cluster.metadata.name)
            wanted["server-name"] = name.encode()
        secret = names.external_secret(meta.name)
        if await self._vault.ours(meta.namespace, secret) != wanted:
            await self._keep(LINK, link, secret, wanted)

    # -- parts -------------------------------------------------------------------------------------

    async def _peer(self, link: ClusterLink, cluster: BrokerCluster, other: End) -> Peer:
        if other.external is not None:
            return await self._external_peer(link, other.external)
        find = self.finder(link.metadata.namespace)
        theirs = find(end_key(other))
        if theirs is None:
            missing = f"there is no BrokerCluster {end_key(other)}"
            raise Waiting(Finding("False", Reason.CLUSTER_NOT_FOUND, missing))
        endpoint = self.address(theirs, cluster)
        if not endpoint:
            raise Waiting(self._no_address(theirs))
        if link.spec.tls.mode is TlsMode.DISABLED:
            if not theirs.spec.listeners.link.advertised:
                endpoint = f"{endpoint.rpartition(':')[0]}:{services.plain_port(theirs)}"
            return Peer(theirs.cluster_name, endpoint, tls=False)
        pair, trusted = await self.server(theirs)
        name = names.server_name(link.metadata.namespace, theirs.metadata.name)
        if link.spec.tls.mode is TlsMode.SECRET:
            name = next(iter(pki.dns_names(pair.certificate)), "")
        return Peer(theirs.cluster_name, endpoint, server_name=name, authority=trusted)

    async def _external_peer(self, link: ClusterLink, external: External) -> Peer:
        scheme, _, rest = external.server.rpartition("://")
        tls = scheme == "mqtts"
        has_port = ":" in rest.rpartition("]")[2]
        endpoint = rest if has_port else f"{rest}:{8883 if tls else 1883}"
        trusted = b""
        if tls and external.tls.ca_secret_ref is not None:
            name = external.tls.ca_secret_ref.name
            what = "spec.ends[].external.tls.caSecretRef"
            read = self._vault.read(link.metadata.namespace, name, "ca.crt", what=what)
            trusted = (await read)["ca.crt"]
        return Peer(external.name, endpoint, tls, external.tls.server_name or "", trusted)

    async def _for_ours(self, link: ClusterLink, name: str, data: Data) -> Credential:
        """What a BrokerCluster shows at another."""
        mode = link.spec.tls.mode
        if mode in (TlsMode.GENERATED, TlsMode.DISABLED):
            return _from(data, name)
        if mode is TlsMode.SECRET:
            found = await self._user_certificates(link)
        else:
            found = await self._issued(
                link,
                names.client_certificate(link.metadata.name, name),
                names.link_identity(link.metadata.namespace, link.metadata.name, name),
                "client auth",
            )
        return Credential(certificate=found["tls.crt"], key=found["tls.key"])

    async def _for_external(self, link: ClusterLink, external: External) -> Credential:
        """What our end shows at an external one: what its owner has given us."""
        username, password = await self._login(link, external)
        ref = external.tls.client_certificate_secret_ref
        if ref is None:
            return Credential(username=username, password=password)
        what = "spec.ends[].external.tls.clientCertificateSecretRef"
        keys = ("tls.crt", "tls.key")
        found = await self._vault.read(link.metadata.namespace, ref.name, *keys, what=what)
        return Credential(
            certificate=found["tls.crt"],
            key=found["tls.key"],
            username=username,
            password=password,
        )

    async def _login(self, link: ClusterLink, external: External) -> tuple[str, str]:
        ref = external.credentials_secret_ref
        if ref is None:
            return "", ""
        what = "spec.ends[].external.credentialsSecretRef"
        keys = ("username", "password")
        found = await self._vault.read(link.metadata.namespace, ref.name, *keys, what=what)
        return found["username"].decode(), found["password"].decode()

    def _certifier(self, cluster: BrokerCluster) -> ClusterLink | None:
        """The link that says where the certificate of the listener comes from: the oldest."""
        links = self._board.links_of(cluster.metadata.key)
        wanting = (one for one in links if accept.tls_source(one) and self.refusal(one) is None)
        return next(wanting, None)

    async def _certificates(self, link: ClusterLink, cluster: BrokerCluster) -> Data:
        if link.spec.tls.mode is TlsMode.SECRET:
            return await self._user_certificates(link)
        meta = cluster.metadata
        name = names.server_name(meta.namespace, meta.name)
        secret = names.server_certificate(meta.name)
        return await self._issued(link, secret, name, "server auth", (name,), cluster)

    async def _user_certificates(self, link: ClusterLink) -> Data:
        ref = link.spec.tls.secret_ref
        assert ref is not None  # noqa: S101 - the CRD's rule
        read = self._vault.read
        return await read(link.metadata.namespace, ref.name, *_TLS_KEYS, what="spec.tls.secretRef")

    async def _issued(
        self,
        link: ClusterLink,
        name: str,
        common_name: str,
        usage: str,
        dns_names: tuple[str, ...] = (),
        owner: BrokerCluster | None = None,
    ) -> Data:
        """Have cert-manager make a certificate, and read it once it is there."""
        namespace = link.metadata.namespace
        await self._home.ensure(_certificate(link, name, common_name, usage, dns_names, owner))
        data = await self._vault.find(namespace, name) or {}
        if not all(data.get(key) for key in _TLS_KEYS):
            message = f"cert-manager has not filled Secret {name} yet"
            hint = f"see `kubectl describe certificate {name} -n {namespace}`"
            raise Waiting(Finding("False", Reason.CERTIFICATE_PENDING, f"{message}; {hint}"))
        return data

    def _no_address(self, cluster: BrokerCluster) -> Finding:
        facts = self._board.facts.get(cluster.metadata.key)
        name = cluster.metadata.name
        if facts is None:
            message = f"BrokerCluster {name} has not been looked at yet"
            return Finding("False", Reason.CONFIG_PENDING, message)
        if facts.problem_reason:
            status = "Unknown" if facts.problem_reason.startswith("Remote") else "False"
            return Finding(status, Reason(facts.problem_reason), facts.problem)  # type: ignore[arg-type]
        return address_pending(facts, self._now())

    async def _keep(
        self,
        kind: str,
        resource: BrokerCluster | ClusterLink,
        name: str,
        data: Data,
        *,
        orphan: bool = False,
    ) -> None:
        meta = resource.metadata
        owner = None if orphan else vault.owner_reference(kind, meta.name, meta.uid)
        component = "isthmus-authority" if kind == CLUSTER else "isthmus-link"
        labels = names.labels(component, meta.name, meta.uid)
        if orphan:
            labels[names.ORPHANED] = "true"
        await self._vault.write(vault.manifest(meta.namespace, name, labels, owner, data))

    def _time(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)


def _from(data: Data, name: str) -> Credential:
    return Credential(
        certificate=data.get(f"{name}.crt", b""),
        key=data.get(f"{name}.key", b""),
        password=data.get(f"{name}.password", b"").decode(),
        password_hash=data.get(f"{name}.hash", b"").decode(),
    )


def _certificate(
    link: ClusterLink,
    name: str,
    common_name: str,
    usage: str,
    dns_names: tuple[str, ...],
    owner: BrokerCluster | None,
) -> dict[str, Any]:
    """A Certificate for cert-manager; its Secret has the same name."""
    issuer = link.spec.tls.issuer_ref
    assert issuer is not None  # noqa: S101 - the CRD's rule
    kind, component = (CLUSTER, "isthmus-authority") if owner else (LINK, "isthmus-link")
    meta = (owner or link).metadata
    return {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {
            "name": name,
            "namespace": meta.namespace,
            "labels": names.labels(component, meta.name, meta.uid),
            "ownerReferences": [vault.owner_reference(kind, meta.name, meta.uid)],
        },
        "spec": {
            "secretName": name,
            "commonName": common_name,
            "dnsNames": list(dns_names) or [common_name],
            "usages": ["digital signature", usage],
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
            "issuerRef": {"name": issuer.name, "kind": issuer.kind, "group": issuer.group},
        },
    }


def _kept(link: ClusterLink) -> dict[str, Any]:
    """The link as it is needed to make its entries."""
    meta = link.metadata
    return {
        "metadata": {
            "name": meta.name,
            "namespace": meta.namespace,
            "uid": meta.uid,
            "generation": meta.generation,
            "creationTimestamp": meta.creation_timestamp,
        },
        "spec": link.spec.model_dump(by_alias=True, exclude_none=True, mode="json"),
    }
