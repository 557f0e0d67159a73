"""What is seen of a BrokerCluster's children, as plain values; pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from isthmus_operator import names
from isthmus_operator.model import BrokerCluster, ServiceType
from isthmus_operator.observation import PodState
from isthmus_operator.render.config import FILE

Manifest = dict[str, Any]
_CREATING: Final = ("ContainerCreating", "PodInitializing")


@dataclass(frozen=True, slots=True)
class Address:
    """Where other clusters reach the link listener."""

    endpoint: str = ""
    waiting: str = ""
    """Why there is none yet, and what to do."""


def config_hash(config_map: Mapping[str, Any]) -> str:
    """SHA-256 of the configuration file, as the broker tells it."""
    return hashlib.sha256(config_map["data"][FILE].encode()).hexdigest()


def revision(config_map: Mapping[str, Any], secret: Mapping[str, Any]) -> str:
    """Changes when a file of the pods does."""
    return names.content_hash([config_map.get("data"), secret.get("data")])


def one(found: Sequence[Manifest], kind: str, name: str) -> Manifest | None:
    """An object among others."""
    same = (each for each in found if each["kind"] == kind and each["metadata"]["name"] == name)
    return next(same, None)


def pods(found: Sequence[Manifest]) -> tuple[PodState, ...]:
    """The broker pods, those that are going left out."""
    living = [each for each in found if each["kind"] == "Pod" and not _going(each)]
    return tuple(
        PodState(each["metadata"]["name"], _ready(each), _waiting(each))
        for each in sorted(living, key=lambda each: str(each["metadata"]["name"]))
    )


def running(pod: Mapping[str, Any]) -> bool:
    """Whether a broker may answer in it."""
    return pod.get("status", {}).get("phase") == "Running" and not _going(pod)


def link_address(cluster: BrokerCluster, service: Manifest | None, place: str) -> Address:
    """Address of the link Service, as other Kubernetes clusters reach it."""
    listener, name = cluster.spec.listeners.link, cluster.metadata.name
    if listener.advertised:
        return Address(listener.advertised)
    what = f"Service {names.link_service(name)} in {place}"
    field = "spec.listeners.link.advertised"
    if listener.service.type is not ServiceType.LOAD_BALANCER:
        return Address(
            waiting=f"{what} has type {listener.service.type}, so the operator can't know its"
            f" address from outside. Set {field} (host:port) on BrokerCluster {name}."
        )
    host = _ingress(service)
    if host:
        return Address(f"{host}:{listener.port}")
    return Address(
        waiting=f"{what} has no load balancer address yet. If that cluster has no load balancer,"
        f" set spec.listeners.link.service.type to NodePort and {field} (host:port) on"
        f" BrokerCluster {name}."
    )


def client_address(cluster: BrokerCluster, service: Manifest | None) -> str:
    """Where clients come in; empty where they can't."""
    listeners = cluster.spec.listeners
    opened = [
        found.port
        for found in (listeners.mqtt, listeners.mqtts, listeners.ws, listeners.wss)
        if found is not None and found.enable
    ]
    if service is None or not opened:
        return ""
    host = _ingress(service)
    if not host:
        host = f"{names.workload(cluster.metadata.name)}.{cluster.namespace}.svc"
    return f"{host}:{opened[0]}"


def _ingress(service: Manifest | None) -> str:
    """Name or address of the load balancer; a name is never resolved here."""
    if service is None:
        return ""
    found = (service.get("status") or {}).get("loadBalancer", {}).get("ingress") or []
    hosts = (each.get("hostname") or each.get("ip") for each in found)
    host = next((each for each in hosts if each), "")
    return f"[{host}]" if ":" in host else host


def _going(found: Mapping[str, Any]) -> bool:
    return bool(found["metadata"].get("deletionTimestamp"))


def _ready(pod: Mapping[str, Any]) -> bool:
    return any(
        each["type"] == "Ready" and each["status"] == "True"
        for each in pod.get("status", {}).get("conditions") or ()
    )


def _waiting(pod: Mapping[str, Any]) -> str:
    """Why a pod does not run: what its container waits for, or why no node takes it."""
    status = pod.get("status", {})
    for container in status.get("containerStatuses") or ():
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting.get("reason") and waiting["reason"] not in _CREATING:
            return f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"{condition.get('reason', '')}: {condition.get('message', '')}".rstrip(": ")
    return ""
