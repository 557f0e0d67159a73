"""What both resources say of the brokers: whether they run, and run what is wanted."""

from __future__ import annotations

from typing import Final

from isthmus_operator.observation import ClusterFacts
from isthmus_operator.status.conditions import Finding, met, unknown, unmet
from isthmus_operator.status.reasons import Reason

STALE_AFTER: Final = 90.0
"""Seconds after which what was seen is not told as a fact any more."""
_UNKNOWN: Final = {
    Reason.REMOTE_UNREACHABLE,
    Reason.REMOTE_FORBIDDEN,
    Reason.KUBECONFIG_INVALID,
}
_NO_IMAGE: Final = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")


def problem(facts: ClusterFacts | None, name: str, now: float) -> Finding | None:
    """Why nothing can be told of the brokers of BrokerCluster `name`, if so."""
    if facts is None:
        return unknown(Reason.CONFIG_PENDING, f"BrokerCluster {name} has not been looked at yet")
    if now - facts.at > STALE_AFTER:
        message = f"BrokerCluster {name} was last looked at more than {STALE_AFTER:.0f} s ago"
        return unknown(Reason.STALE, f"{message}; see the operator's log")
    if facts.problem_reason:
        reason = Reason(facts.problem_reason)
        return (unknown if reason in _UNKNOWN else unmet)(reason, facts.problem)
    return None


def running(facts: ClusterFacts, name: str) -> Finding:
    """Whether all brokers are ready."""
    for pod in facts.pods:
        if pod.waiting.startswith(_NO_IMAGE):
            message = f"pod {pod.name} of {name}: {pod.waiting}"
            hint = "check spec.image, spec.imagePullSecrets and the registry"
            return unmet(Reason.IMAGE_UNAVAILABLE, f"{message}; {hint}")
    waiting = [pod for pod in facts.pods if not pod.ready and pod.waiting]
    if facts.ready >= max(facts.replicas, 1):
        return met(Reason.AVAILABLE, _counted(facts, name))
    detail = "; ".join(f"pod {pod.name}: {pod.waiting}" for pod in waiting)
    message = _counted(facts, name) + (f": {detail}" if detail else "")
    return unmet(Reason.PODS_NOT_READY, message)


def programmed(facts: ClusterFacts, name: str, now: float) -> Finding:
    """Whether every broker runs the configuration that was written last."""
    for node in facts.nodes:
        if node.problem:
            message = f"pod {node.pod} of {name} does not tell what it runs: {node.problem}"
            return unknown(Reason.BROKER_UNREACHABLE, message)
        if now - node.at > STALE_AFTER:
            message = f"pod {node.pod} of {name} has said nothing for {STALE_AFTER:.0f} s"
            return unknown(Reason.STALE, message)
        if node.error:
            message = f"pod {node.pod} of {name} keeps its configuration, the new one has mistakes"
            return unmet(
                Reason.CONFIG_REFUSED, f"{message}: {node.error}; see spec.config of {name}"
            )
        if node.source_hash != facts.wanted_hash:
            message = f"pod {node.pod} of {name} has not taken up the new configuration yet"
            return unmet(Reason.CONFIG_PENDING, message)
    missing = {pod.name for pod in facts.pods} - {node.pod for node in facts.nodes}
    if missing or not facts.nodes:
        which = ", ".join(sorted(missing)) or "none"
        return unknown(Reason.BROKER_UNREACHABLE, f"pods of {name} not asked yet: {which}")
    return met(Reason.PROGRAMMED, f"all brokers of {name} run the configuration")


def _counted(facts: ClusterFacts, name: str) -> str:
    return f"{facts.ready} of {max(facts.replicas, 1)} brokers of {name} ready"
