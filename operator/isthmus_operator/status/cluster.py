"""A BrokerCluster's status: Accepted, Available, Progressing, Ready; where it is reached."""

from __future__ import annotations

from typing import Final

from isthmus_operator.model import BrokerCluster
from isthmus_operator.observation import ClusterFacts
from isthmus_operator.status import brokers
from isthmus_operator.status.conditions import (
    Document,
    Finding,
    Update,
    conditions,
    met,
    ready,
    unknown,
    unmet,
    update,
)
from isthmus_operator.status.reasons import Reason

_USERS_FAULT: Final = {
    Reason.SPEC_INVALID,
    Reason.SECRET_MISSING,
    Reason.SECRET_INVALID,
    Reason.KUBECONFIG_INVALID,
    Reason.CONFIG_REFUSED,
}


def cluster_status(
    cluster: BrokerCluster, facts: ClusterFacts, now: float, *, paused: bool = False
) -> Update:
    """What to write after a pass; `facts` are what it saw."""
    found = _findings(cluster, facts, now)
    if paused:
        summed = unknown(
            Reason.PAUSED, "paused by annotation isthmus.dev/paused; remove it to go on"
        )
    else:
        settled = Finding("True", Reason.AVAILABLE, found["Available"].message)
        progress = found.pop("Progressing")
        summed = ready({**found, "Configured": _configured(facts, cluster, now)}, settled)
        found["Progressing"] = progress
    found["Ready"] = summed
    generation = cluster.metadata.generation
    before = cluster.status
    status: Document = {
        "observedGeneration": generation,
        **_seen(cluster, facts),
        "conditions": conditions(found, before.get("conditions", ()), generation, now),
    }
    return update(status, before)


def _findings(cluster: BrokerCluster, facts: ClusterFacts, now: float) -> dict[str, Finding]:
    name = cluster.metadata.name
    trouble = brokers.problem(facts, name, now)
    if trouble is None:
        configured = brokers.programmed(facts, name, now)
        return {
            "Accepted": met(Reason.ACCEPTED, "the spec can be used"),
            "Available": brokers.running(facts, name),
            "Progressing": met(configured.reason, configured.message)
            if configured.reason is Reason.CONFIG_PENDING
            else unmet(Reason.SETTLED, "nothing is under way"),
        }
    accepted = (
        unmet(trouble.reason, trouble.message)
        if trouble.reason in _USERS_FAULT
        else met(Reason.ACCEPTED, "the spec can be used")
    )
    return {"Accepted": accepted, "Available": trouble, "Progressing": trouble}


def _configured(facts: ClusterFacts, cluster: BrokerCluster, now: float) -> Finding:
    return brokers.programmed(facts, cluster.metadata.name, now)


def _seen(cluster: BrokerCluster, facts: ClusterFacts) -> Document:
    """What was seen; after a pass that ended early, what was seen last."""
    if facts.problem_reason:
        keep = ("replicas", "readyReplicas", "version", "endpoints", "configHash")
        return {key: cluster.status.get(key) for key in keep}
    endpoints = {"mqtt": facts.mqtt_endpoint, "link": facts.link_endpoint}
    versions = sorted({node.version for node in facts.nodes if node.version})
    return {
        "replicas": facts.replicas,
        "readyReplicas": facts.ready,
        "version": ", ".join(versions) or cluster.status.get("version"),
        "endpoints": {key: value for key, value in endpoints.items() if value},
        "configHash": facts.wanted_hash or None,
    }
