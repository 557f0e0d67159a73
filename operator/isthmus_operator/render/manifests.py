"""All objects of a broker cluster at its placement, in the order in which they are to be made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from isthmus_operator import names
from isthmus_operator.model import BrokerCluster
from isthmus_operator.render import policy, services, workload
from isthmus_operator.render.config import FILE, config
from isthmus_operator.render.entries import LinkEntry
from isthmus_operator.render.secrets import Material, encoded, files

Manifest = dict[str, Any]

KIND: Final = "isthmus-broker"
KINDS: Final = {
    "ServiceAccount": "v1",
    "Secret": "v1",
    "ConfigMap": "v1",
    "Service": "v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PodDisruptionBudget": "policy/v1",
    "StatefulSet": "apps/v1",
}
"""Kinds of objects that belong to a broker cluster, with their API versions."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the operator's own settings say."""

    image: str


def selector(cluster: BrokerCluster) -> dict[str, str]:
    """Labels that tell its pods."""
    return {
        names.NAME_LABEL: KIND,
        names.INSTANCE: names.bounded(cluster.metadata.name),
        names.OWNER: cluster.metadata.uid,
    }


def manifests(
    cluster: BrokerCluster, links: Sequence[LinkEntry], material: Material, defaults: Defaults
) -> list[Manifest]:
    """What is to be there. Files come before what uses them.

    Raises:
        ResourceError: the configuration fragment can't be used.
    """
    name, chosen = cluster.metadata.name, selector(cluster)
    plain = any(link.plain_in for link in links)
    ports = [port["port"] for port in services.client_ports(cluster)]
    ports += [names.LINK_PORT, *([names.LINK_PLAIN_PORT] if plain else [])]
    own = names.workload(name)
    found: list[tuple[str, Manifest | None]] = [
        ("ServiceAccount", {"automountServiceAccountToken": False}),
        (
            "Secret",
            {
                "type": "Opaque",
                "data": encoded(files(material, links)),
                "name": names.broker_secret(name),
            },
        ),
        ("ConfigMap", {"data": {FILE: config(cluster, links)}, "name": names.config_map(name)}),
        ("Service", services.headless(name, chosen)),
        ("Service", services.clients(cluster, chosen)),
        ("Service", services.link(cluster, chosen, plain=plain)),
        ("NetworkPolicy", policy.network_policy(chosen, ports)),
        ("PodDisruptionBudget", policy.disruption_budget(chosen)),
        ("StatefulSet", workload.stateful_set(cluster, chosen, defaults.image)),
    ]
    return [_whole(cluster, kind, body, own) for kind, body in found if body is not None]


def _whole(cluster: BrokerCluster, kind: str, body: Manifest, own: str) -> Manifest:
    """With its version, name, labels and owner."""
    rest = {key: value for key, value in body.items() if key not in {"name", "annotations"}}
    meta: Manifest = {
        "name": body.get("name", own),
        "namespace": cluster.namespace,
        "labels": names.labels(KIND, cluster.metadata.name, cluster.metadata.uid),
    }
    if body.get("annotations"):
        meta["annotations"] = body["annotations"]
    if cluster.remote is None and cluster.namespace == cluster.metadata.namespace:
        meta["ownerReferences"] = [owner_reference("BrokerCluster", cluster.metadata)]
    return {"apiVersion": KINDS[kind], "kind": kind, "metadata": meta, **rest}


def owner_reference(kind: str, owner: Any) -> Manifest:
    """For objects beside their owner: they go with it, also without the operator."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
