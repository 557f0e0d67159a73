"""Services: for clients, for other clusters, and the headless one that names the pods."""

from __future__ import annotations

from typing import Any

from isthmus_operator import names
from isthmus_operator.model import BrokerCluster, Service, ServiceType

Manifest = dict[str, Any]
Port = dict[str, Any]


def headless(name: str, selector: dict[str, str]) -> Manifest:
    """Names the pods, ready or not."""
    return {
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector,
            "ports": [{"name": "api", "port": names.API_PORT, "protocol": "TCP"}],
        },
        "name": names.headless_service(name),
    }


def client_ports(cluster: BrokerCluster) -> list[Port]:
    """Ports of the listeners for clients."""
    found = cluster.spec.listeners
    named = (("mqtt", found.mqtt), ("mqtts", found.mqtts), ("ws", found.ws), ("wss", found.wss))
    return [_port(name, one.port, name) for name, one in named if one is not None and one.enable]


def clients(cluster: BrokerCluster, selector: dict[str, str]) -> Manifest | None:
    """For clients; None where no listener is open for them."""
    ports = client_ports(cluster)
    if not ports:
        return None
    service = cluster.spec.listeners.mqtt.service
    return _service(names.workload(cluster.metadata.name), service, ports, selector)


def link(cluster: BrokerCluster, selector: dict[str, str], *, plain: bool) -> Manifest:
    """For other clusters; `plain`: some of them come in without TLS."""
    listener = cluster.spec.listeners.link
    ports = [_port("link", listener.port, "link")]
    if plain:
        ports.append(_port("link-plain", plain_port(cluster), "link-plain"))
    return _service(names.link_service(cluster.metadata.name), listener.service, ports, selector)


def plain_port(cluster: BrokerCluster) -> int:
    """Port of the link Service without TLS: the one after that with TLS."""
    return cluster.spec.listeners.link.port + 1


def _port(name: str, port: int, target: str) -> Port:
    return {"name": name, "port": port, "targetPort": target, "protocol": "TCP"}


def _service(name: str, wanted: Service, ports: list[Port], selector: dict[str, str]) -> Manifest:
    if wanted.node_port is not None:
        ports = [{**ports[0], "nodePort": wanted.node_port}, *ports[1:]]
    spec: Manifest = {"type": str(wanted.type), "selector": selector, "ports": ports}
    if wanted.load_balancer_class is not None:
        spec["loadBalancerClass"] = wanted.load_balancer_class
    if wanted.external_traffic_policy is not None:
        spec["externalTrafficPolicy"] = wanted.external_traffic_policy
    if wanted.type == ServiceType.LOAD_BALANCER and wanted.load_balancer_source_ranges:
        spec["loadBalancerSourceRanges"] = list(wanted.load_balancer_source_ranges)
    return {"spec": spec, "name": name, "annotations": dict(wanted.annotations)}
