"""The StatefulSet of a broker cluster.

Its pod template depends only on what needs a restart: image, ports, resources, scheduling.
Configuration, users, certificates and links are files that a running broker takes up.
"""

from __future__ import annotations

from typing import Any, Final

from isthmus_operator import names
from isthmus_operator.model import BrokerCluster
from isthmus_operator.render.services import client_ports

Manifest = dict[str, Any]

REPLICAS: Final = 1
_USER: Final = 10001
_CONFIG: Final = "/etc/isthmus"
_DATA: Final = "/var/lib/isthmus"
_DRAIN: Final = 5
"""Seconds between a pod's end being known and its broker stopping: others stop sending to it."""


def stateful_set(cluster: BrokerCluster, selector: dict[str, str], image: str) -> Manifest:
    """The StatefulSet's spec."""
    name = cluster.metadata.name
    spec = cluster.spec
    return {
        "spec": {
            "replicas": REPLICAS,
            "serviceName": names.headless_service(name),
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": {
                    "labels": {**spec.pod_labels, **selector},
                    **({"annotations": dict(spec.pod_annotations)} if spec.pod_annotations else {}),
                },
                "spec": _pod(cluster, image),
            },
        },
    }


def _pod(cluster: BrokerCluster, image: str) -> Manifest:
    spec, name = cluster.spec, cluster.metadata.name
    optional = {
        "affinity": spec.affinity,
        "tolerations": spec.tolerations,
        "nodeSelector": spec.node_selector,
        "topologySpreadConstraints": spec.topology_spread_constraints,
        "imagePullSecrets": [{"name": one.name} for one in spec.image_pull_secrets],
        "priorityClassName": spec.priority_class_name,
    }
    sources = [
        {"configMap": {"name": names.config_map(name)}},
        {"secret": {"name": names.broker_secret(name)}},
    ]
    return {
        "serviceAccountName": names.workload(name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(cluster, image)],
        "volumes": [
            # One volume, so that a configuration and the files that it names change together.
            {"name": "config", "projected": {"defaultMode": 0o440, "sources": sources}},
            {"name": "data", "emptyDir": {}},
        ],
        **{key: value for key, value in optional.items() if value},
    }


def _container(cluster: BrokerCluster, image: str) -> Manifest:
    spec = cluster.spec
    ports = {port["name"]: port["port"] for port in client_ports(cluster)}
    ports |= {"link": names.LINK_PORT, "link-plain": names.LINK_PLAIN_PORT, "api": names.API_PORT}
    pull = {"imagePullPolicy": spec.image_pull_policy} if spec.image_pull_policy else {}
    return {
        "name": "broker",
        "image": spec.image or image,
        **pull,
        "args": ["run", "--config", f"{_CONFIG}/isthmus.conf"],
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [
            {"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports.items()
        ],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "api"}, "periodSeconds": 2},
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": "api"},
            "initialDelaySeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(_DRAIN)]}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "config", "mountPath": _CONFIG, "readOnly": True},
            {"name": "data", "mountPath": _DATA},
        ],
        **({"resources": spec.resources} if spec.resources else {}),
    }
