"""Puts a cluster together from its parts, and takes it apart: for each kind of cluster, which."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from clusters import controlplane, dns, images, kind, loadbalancer, node, processes
from clusters.controlplane import Place
from clusters.network import Network
from clusters.node import Node
from clusters.registry import Record, port_free

_SERVICES: Final = "10.96.0.0/16"
_FIRST_SERVICE: Final = "10.96.0.1"


def place_of(record: Record) -> Place:
    """Where that cluster's control plane lives."""
    network = network_of(record)
    full = record.kind == "full"
    return Place(
        folder=record.folder,
        name=record.name,
        address=network.node if full else "127.0.0.1",
        port=6443 if full else record.port,
        services=_SERVICES,
        service=_FIRST_SERVICE,
        enter=network.enter if full else (),
        has_nodes=full,
    )


def network_of(record: Record) -> Network:
    """The network of a cluster with a node."""
    return Network(record.name, record.number)


def node_of(record: Record) -> Node:
    """The node of a cluster that has one of ours."""
    return Node(place_of(record), network_of(record))


def load_balancers_of(record: Record) -> ipaddress.IPv4Network:
    """The range of addresses for its Services."""
    return network_of(record).load_balancers


def daemons(record: Record) -> list[str]:
    """Names of the processes that should run."""
    names: list[str] = []
    if record.kind != "kind":
        names += [controlplane.ETCD, controlplane.API_SERVER]
        names += [controlplane.CONTROLLERS] if controlplane.CHOICES[record.controllers] else []
    if record.kind == "full":
        names += [controlplane.SCHEDULER, node.CONTAINERD, node.KUBELET, node.PROXY, dns.DAEMON]
    if record.kind != "control-plane" and record.load_balancer:
        names.append(loadbalancer.DAEMON)
    return names


def free(record: Record) -> bool:
    """Whether the addresses or ports that its number gives it are to be had."""
    return network_of(record).free() if record.kind == "full" else port_free(record)


def start(record: Record) -> None:
    """Start what of it does not run, and wait until it is ready.

    Raises:
        Failed: a part is not; the text has the end of its log.
    """
    place = place_of(record)
    if record.kind == "kind":
        kind.start(place)
    elif record.kind == "control-plane":
        controlplane.start(place, record.controllers)
    else:
        network = network_of(record)
        network.ensure()
        controlplane.start(place, record.controllers)
        node_of(record).start(dns.ADDRESS, images.pause())
        dns.start(place, network)
    if loadbalancer.DAEMON in daemons(record):
        loadbalancer.start(place, load_balancers_of(record))


def connect(records: Sequence[Record]) -> None:
    """Let clusters reach each other's load balancers, where `start` has not done it already."""
    names = [record.name for record in records if record.kind == "kind"]
    for record in records:
        if record.kind == "kind":
            kind.lead(names, record.name, load_balancers_of(record))


def stop(record: Record) -> None:
    """End everything, and remove what it had outside of its folder."""
    place = place_of(record)
    for name in (loadbalancer.DAEMON, dns.DAEMON):
        place.daemon(name).stop(grace=0)
    if record.kind == "kind":
        kind.stop(record.name)
        return
    if record.kind == "full":
        node_of(record).stop()
    controlplane.stop(place)
    for pid in _strays(record):
        processes.end(pid, grace=0)
    if record.kind == "full":
        network_of(record).remove()


def _strays(record: Record) -> Iterator[int]:
    """Processes of the cluster whose ids are not known any more: somebody removed its folder."""
    for pid in processes.everyone():
        words = processes.command_line(pid)
        ours = any(f"{record.folder}/" in word for word in words)
        if ours and (Path(words[0]).name in daemons(record) or loadbalancer.MODULE in words):
            yield pid
