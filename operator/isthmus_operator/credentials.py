"""What a BrokerCluster's authority and a link's credentials hold, and when they are renewed; pure.

Both are the data of a Secret beside the resource. The functions take it as it stands (empty at
first) and give it as it should be: the same where nothing is due. How Secrets are read and written
is left to `reconcile`.

A new CA signs nothing for a day, so that whoever trusts the old one has both before; the old one
stays in the bundle until it expires.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from isthmus_operator import names, passwords, pki
from isthmus_operator.model import BrokerCluster, ClusterLink, TlsMode

Data = Mapping[str, bytes]
EXTERNAL: Final = "external"
"""Prefix of the keys for an end that is not ours."""
_CA_RESTS: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Authority:
    """What a BrokerCluster vouches with."""

    bundle: bytes
    """Who trusts it trusts these: the CA, and the one before as long as it is in use."""
    signer: pki.Pair
    server: pki.Pair
    api_key: str


def authority(data: Data) -> Authority:
    """Read the data of an authority's Secret, as `renewed_authority` has made it."""
    current = pki.Pair(data["ca.crt"], data["ca.key"])
    signer, bundle = current, current.certificate
    if "ca-previous.crt" in data:
        bundle += data["ca-previous.crt"]
    if data.get("signer") == b"previous":
        signer = pki.Pair(data["ca-previous.crt"], data["ca-previous.key"])
    server = pki.Pair(data["server.crt"], data["server.key"])
    return Authority(bundle, signer, server, data["api-key"].decode())


def renewed_authority(cluster: BrokerCluster, data: Data, now: datetime) -> dict[str, bytes]:
    """The data of an authority's Secret as it should be."""
    new = dict(data)
    meta = cluster.metadata
    new.setdefault("api-key", passwords.new_password().encode())
    if "ca.crt" not in new or "ca.key" not in new:
        _put(new, "ca", pki.new_authority(f"{meta.namespace}/{meta.name}"[:64], now))
    elif pki.due(new["ca.crt"], now):
        _put(new, "ca-previous", pki.Pair(new["ca.crt"], new["ca.key"]))
        _put(new, "ca", pki.new_authority(f"{meta.namespace}/{meta.name}"[:64], now))
        new["signer"] = b"previous"
    _forget_previous(new, now)
    name = names.server_name(meta.namespace, meta.name)
    which = "ca-previous" if new.get("signer") == b"previous" else "ca"
    signer = pki.Pair(new[f"{which}.crt"], new[f"{which}.key"])
    if _stale(new, "server", signer, now):
        pair = pki.issue(
            signer, common_name=name, dns_names=[name], client=False, server=True, now=now
        )
        _put(new, "server", pair)
    return new


def renewed_listener(
    data: Data, name: str, hosts: Sequence[str], authority: Authority, now: datetime
) -> dict[str, bytes]:
    """The data of an authority's Secret with the certificate of a listener for clients."""
    new = dict(data)
    current = new.get(f"{name}.crt", b"")
    same = bool(current) and pki.dns_names(current) == tuple(hosts)
    if not same or _stale(new, name, authority.signer, now):
        pair = pki.issue(
            authority.signer, common_name=hosts[0][:64], dns_names=hosts, server=True, now=now
        )
        _put(new, name, pair)
    return new


def renewed_link(
    link: ClusterLink, data: Data, authorities: Mapping[str, Authority], now: datetime
) -> dict[str, bytes]:
    """The data of a link's Secret as it should be; `authorities` by the name of the BrokerCluster.

    For each end: by what it proves who it is to the other; also with authentication Disabled, for
    brokers that let in nobody without. What is no longer wanted is gone.
    """
    new: dict[str, bytes] = {}
    first, second = link.spec.ends
    for end, other in ((first, second), (second, first)):
        if end.cluster is None:
            new |= _password(data, EXTERNAL)
        elif other.cluster is None:
            continue  # its owner gives us what we log in with
        elif link.spec.tls.mode is TlsMode.GENERATED:
            identity = names.link_identity(
                link.metadata.namespace, link.metadata.name, end.cluster.name
            )
            theirs = authorities.get(other.cluster.name)
            if theirs is None:  # its BrokerCluster is gone
                new |= {key: data[key] for key in data if key.startswith(f"{end.cluster.name}.")}
            else:
                new |= _certificate(data, end.cluster.name, identity, theirs.signer, now)
        elif link.spec.tls.mode is TlsMode.DISABLED:
            new |= _password(data, end.cluster.name)
    return new


def first_expiry(data: Data) -> float | None:
    """When the first certificate in the data of a Secret expires, in seconds since the epoch."""
    found = [pki.expires(value).timestamp() for key, value in data.items() if key.endswith(".crt")]
    return min(found, default=None)


def revision(data: Data) -> str:
    """Changes when something in the data of a Secret does; tells nothing of it."""
    digest = hashlib.sha256()
    for key in sorted(data):
        digest.update(key.encode() + b"\0" + hashlib.sha256(data[key]).digest())
    return digest.hexdigest()[:12]


def _forget_previous(new: dict[str, bytes], now: datetime) -> None:
    """Let a new CA sign once everybody knows it, and drop the old one when it has expired."""
    if "ca-previous.crt" not in new:
        return
    born = pki.expires(new["ca.crt"]) - pki.AUTHORITY_LIFETIME
    if now - born >= _CA_RESTS:
        new.pop("signer", None)
    if pki.expires(new["ca-previous.crt"]) <= now:
        for key in ("ca-previous.crt", "ca-previous.key", "signer"):
            new.pop(key, None)


def _certificate(
    data: Data, name: str, identity: str, signer: pki.Pair, now: datetime
) -> dict[str, bytes]:
    keep = {key: data[key] for key in (f"{name}.crt", f"{name}.key") if key in data}
    if not _stale(keep, name, signer, now) and pki.common_name(keep[f"{name}.crt"]) == identity:
        return keep
    pair = pki.issue(signer, common_name=identity, dns_names=[], client=True, server=False, now=now)
    _put(keep, name, pair)
    return keep


def _password(data: Data, name: str) -> dict[str, bytes]:
    keep = {key: data[key] for key in (f"{name}.password", f"{name}.hash") if key in data}
    if len(keep) == 2:
        return keep
    password = passwords.new_password()
    hashed = passwords.scrypt_hash(password)
    return {f"{name}.password": password.encode(), f"{name}.hash": hashed.encode()}


def _stale(data: Data, name: str, signer: pki.Pair, now: datetime) -> bool:
    """Whether a certificate is missing, near its end, or somebody else's."""
    if f"{name}.crt" not in data or f"{name}.key" not in data:
        return True
    pem = data[f"{name}.crt"]
    return pki.due(pem, now) or not pki.signed_by(pem, signer.certificate)


def _put(data: dict[str, bytes], name: str, pair: pki.Pair) -> None:
    data[f"{name}.crt"], data[f"{name}.key"] = pair.certificate, pair.key
