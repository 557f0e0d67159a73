"""What things are called: the API group, labels, annotations, objects; hashes of contents.

Every name that a broker, a user or another version of the operator may meet stands here once.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

GROUP: Final = "isthmus.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
FIELD_MANAGER: Final = "isthmus"
FINALIZER: Final = f"{GROUP}/finalizer"

# -- annotations of resources (a user sets them) ---------------------------------------------------
PAUSED: Final = f"{GROUP}/paused"
REMOTE_GONE: Final = f"{GROUP}/remote-gone"

# -- labels and annotations of what we make --------------------------------------------------------
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
NAME_LABEL: Final = "app.kubernetes.io/name"
INSTANCE: Final = "app.kubernetes.io/instance"
OWNER: Final = f"{GROUP}/owner"
"""UID of the resource that an object belongs to. Only what carries ours is changed or deleted."""
CONFIG_REVISION: Final = f"{GROUP}/config-revision"
"""Annotation of pods (not of their template): touched, so that the kubelet refreshes files."""
ORPHANED: Final = f"{GROUP}/orphaned"
"""Of a link's credentials: the link was deleted with `deletionPolicy: Orphan`, and goes on."""

API_PORT: Final = 18083
LINK_PORT: Final = 11883
LINK_PLAIN_PORT: Final = 11884


def short_hash(*parts: str, length: int = 10) -> str:
    """Tell contents apart: hexadecimal, the same everywhere."""
    digest = hashlib.sha256(b"\0".join(part.encode() for part in parts))
    return digest.hexdigest()[:length]


def content_hash(value: Any) -> str:
    """Hash of plain data, whatever the order of its keys."""
    return short_hash(json.dumps(value, sort_keys=True, separators=(",", ":")), length=16)


def bounded(name: str, limit: int = 63) -> str:
    """A name that fits into `limit`; a cut one ends with a hash, so that it stays unique."""
    if len(name) <= limit:
        return name
    return f"{name[: limit - 9].rstrip('-.')}-{short_hash(name, length=8)}"


# -- objects of a BrokerCluster --------------------------------------------------------------------


def workload(cluster: str) -> str:
    """StatefulSet, PodDisruptionBudget, NetworkPolicy, ServiceAccount, and the clients' Service."""
    return bounded(cluster, 52)


def config_map(cluster: str) -> str:
    """The broker's configuration, where its pods are."""
    return bounded(f"{cluster}-config", 253)


def broker_secret(cluster: str) -> str:
    """Keys, certificates and users, where its pods are."""
    return bounded(f"{cluster}-broker", 253)


def authority_secret(cluster: str) -> str:
    """CA, server certificate and API key: beside the resource, never at its placement."""
    return bounded(f"{cluster}-authority", 253)


def headless_service(cluster: str) -> str:
    """What names the pods."""
    return bounded(f"{cluster}-pods")


def link_service(cluster: str) -> str:
    """Where other clusters come in."""
    return bounded(f"{cluster}-link")


def server_name(namespace: str, cluster: str) -> str:
    """Name in the certificate of a link listener; fixed, whatever its address."""
    return f"{short_hash(namespace, cluster)}.link.isthmus.internal"


# -- objects of a ClusterLink ----------------------------------------------------------------------


def link_secret(link: str) -> str:
    """Credentials of a link, beside the resource."""
    return bounded(f"{link}-clink", 253)


def external_secret(link: str) -> str:
    """What the owner of an external end is given: how its cluster logs in here."""
    return bounded(f"{link}-for-external", 253)


def client_certificate(link: str, cluster: str) -> str:
    """Certificate (and its Secret) that cert-manager makes for one end of a link."""
    return bounded(f"{link}-{cluster}-clink-tls", 253)


def server_certificate(cluster: str) -> str:
    """Certificate (and its Secret) that cert-manager makes for a link listener."""
    return bounded(f"{cluster}-link-tls", 253)


def link_identity(namespace: str, link: str, cluster: str) -> str:
    """Who speaks for a cluster on a link: common name of a certificate (64 at most), or user."""
    return f"clink-{short_hash(namespace, link, cluster, length=32)}"


def labels(kind: str, name: str, owner: str) -> dict[str, str]:
    """Labels of every object that belongs to the resource `name` with the UID `owner`."""
    return {
        MANAGED_BY: "isthmus",
        NAME_LABEL: kind,
        INSTANCE: bounded(name),
        OWNER: owner,
    }
