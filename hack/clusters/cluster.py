"""Clusters as tests, the demo and the command line use them: `up`, `down`, and what one can do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from clusters import (
    commands,
    controlplane,
    dns,
    images,
    kubeconfigs,
    loadbalancer,
    machine,
    node,
    programs,
    registry,
    traces,
)
from clusters.controlplane import Place
from clusters.errors import Refused
from clusters.locking import locked
from clusters.network import Network
from clusters.node import Node
from clusters.registry import Record

_Result = TypeVar("_Result")

_SERVICES: Final = "10.96.0.0/16"
_FIRST_SERVICE: Final = "10.96.0.1"

DEFAULT_NAMES: Final = ("us-east", "eu-west")


@dataclass(frozen=True)
class Cluster:
    """One that is there."""

    record: Record

    @property
    def name(self) -> str:
        """Its name."""
        return self.record.name

    @property
    def kubeconfig(self) -> Path:
        """The admin's kubeconfig."""
        return place_of(self.record).kubeconfig("admin")

    @property
    def server(self) -> str:
        """The API server's URL."""
        return place_of(self.record).server

    def parts(self) -> dict[str, str]:
        """Each of its processes, and whether it `runs`, is `frozen` or `stopped`."""
        place = place_of(self.record)
        return {name: place.daemon(name).state for name in _daemons(self.record)}

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 120.0) -> str:
        """Run kubectl as admin; returns what it wrote.

        Raises:
            Failed: it did not succeed; the text has what it said.
        """
        command = [str(programs.path("kubectl")), f"--kubeconfig={self.kubeconfig}", *arguments]
        return commands.run(command, stdin=stdin, seconds=seconds)

    def service_account_kubeconfig(self, namespace: str, name: str, seconds: int = 3600) -> Path:
        """A kubeconfig of a ServiceAccount, with a token for so long (at least 600 s)."""
        place = place_of(self.record)
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        token = str(place.api().post(path, body)["status"]["token"])
        file = place.folder / f"{namespace}-{name}.kubeconfig"
        ca = place.authority.certificate
        kubeconfigs.write(file, kubeconfigs.with_token(self.name, place.server, ca, token))
        return file

    def load(self, *wanted: str) -> None:
        """Load images onto the node: archives, or those of ours, which are built where need be.

        Raises:
            Refused: there is no node, or no such image.
        """
        on = self._node()
        for archive in [images.archive_of(image) for image in wanted]:
            on.load(archive)

    def stop_kubelet(self) -> None:
        """End the node's kubelet; containers go on. After 20 s the node counts as not ready."""
        self._node().daemon(node.KUBELET).stop()

    def start_kubelet(self) -> None:
        """Start the kubelet again."""
        self._node().start_kubelet()

    def freeze_kubelet(self) -> None:
        """Stop the kubelet in its tracks."""
        self._node().daemon(node.KUBELET).freeze()

    def _node(self) -> Node:
        if self.record.kind != "full":
            raise Refused(f"{self.name} is a {self.record.kind} cluster: it has no node of ours.")
        return node_of(self.record)

    def stop_api(self) -> None:
        """End the API server; etcd keeps what it knew."""
        place_of(self.record).daemon(controlplane.API_SERVER).stop(grace=1.0)

    def start_api(self) -> None:
        """Start the API server again, or let it go on, and wait until it is ready."""
        controlplane.start_api(place_of(self.record))

    def freeze_api(self) -> None:
        """Stop the API server in its tracks: connections stay, answers do not come."""
        place_of(self.record).daemon(controlplane.API_SERVER).freeze()

    def thaw_api(self) -> None:
        """Let a frozen API server go on."""
        self.start_api()


def up(
    names: Sequence[str] = DEFAULT_NAMES,
    *,
    control_plane: bool = False,
    controllers: str = "few",
    load_balancer: bool = True,
    owner: int = 0,
) -> dict[str, Cluster]:
    """Bring clusters up, side by side; those that are up already stay as they are.

    Args:
        names: of the clusters.
        control_plane: without a node: no pods run, no root is needed, ready in seconds.
        controllers: of a control plane: `few`, which make no pods, `all`, or `none`.
        load_balancer: whether Services of clusters with nodes get addresses.
        owner: process with which they may go; 0 where they are to stay.

    Returns:
        The clusters by name.

    Raises:
        Refused: a name is taken by another kind of cluster, or can't be one.
        Missing: the machine lacks something.
        Failed: something did not come up.
    """
    for name in names:
        registry.check_name(name)
    machine.extend_path()
    if not control_plane:
        machine.need_root("A cluster with a node")
    machine.ensure(machine.CONTROL_PLANE if control_plane else machine.FULL)
    programs.ensure(programs.CONTROL_PLANE if control_plane else programs.FULL)
    for record in registry.abandoned():
        down([record.name])

    def bring(name: str) -> Cluster:
        if control_plane:
            return _up(Record(name, "control-plane", 0, owner, controllers=controllers))
        return _up(Record(name, "full", 0, owner, load_balancer, controllers="all"))

    return dict(zip(names, side_by_side(bring, names), strict=True))


def down(names: Sequence[str]) -> None:
    """Take clusters down and remove everything that they had; those that are not there are fine."""
    side_by_side(_down, names)


@contextmanager
def temporary(
    names: Sequence[str],
    *,
    control_plane: bool = False,
    controllers: str = "few",
    load_balancer: bool = True,
) -> Iterator[Mapping[str, Cluster]]:
    """Clusters for one test run: their real names are new ones, and they go at the end.

    If this process dies before, the next `up` of anybody takes them down.
    """
    real = {name: f"{name}-{os.getpid()}" for name in names}
    try:
        found = up(
            list(real.values()),
            control_plane=control_plane,
            controllers=controllers,
            load_balancer=load_balancer,
            owner=registry.me(),
        )
        yield {name: found[real[name]] for name in names}
    finally:
        down(list(real.values()))


def find(name: str) -> Cluster:
    """A cluster that has been brought up.

    Raises:
        Refused: there is none of that name.
    """
    return Cluster(registry.get(name))


def place_of(record: Record) -> Place:
    """Where that cluster's control plane lives."""
    if record.kind == "full":
        network = network_of(record)
        return Place(
            folder=record.folder,
            name=record.name,
            address=network.node,
            port=6443,
            services=_SERVICES,
            service=_FIRST_SERVICE,
            enter=network.enter,
            has_nodes=True,
        )
    return Place(
        folder=record.folder,
        name=record.name,
        address="127.0.0.1",
        port=record.port,
        services=_SERVICES,
        service=_FIRST_SERVICE,
    )


def network_of(record: Record) -> Network:
    """The network of a cluster with a node."""
    return Network(record.name, record.number)


def node_of(record: Record) -> Node:
    """The node of a cluster that has one."""
    return Node(place_of(record), network_of(record))


def _daemons(record: Record) -> list[str]:
    names = [controlplane.ETCD, controlplane.API_SERVER]
    if controlplane.CHOICES[record.controllers]:
        names.append(controlplane.CONTROLLERS)
    if record.kind == "full":
        names += [controlplane.SCHEDULER, node.CONTAINERD, node.KUBELET, node.PROXY, dns.DAEMON]
        names += [loadbalancer.DAEMON] if record.load_balancer else []
    return names


def _free(record: Record) -> bool:
    return network_of(record).free() if record.kind == "full" else registry.port_free(record)


def _start(record: Record) -> None:
    place = place_of(record)
    if record.kind != "full":
        controlplane.start(place, record.controllers)
        return
    network = network_of(record)
    network.ensure()
    controlplane.start(place, record.controllers)
    node_of(record).start(dns.ADDRESS, images.pause())
    dns.start(place, network)
    if record.load_balancer:
        loadbalancer.start(place, network)


def _stop(record: Record) -> None:
    place = place_of(record)
    for name in (loadbalancer.DAEMON, dns.DAEMON):
        place.daemon(name).stop(grace=0)
    if record.kind == "full":
        node_of(record).stop()
    controlplane.stop(place)
    if record.kind == "full":
        network_of(record).remove()


def _up(wanted: Record) -> Cluster:
    with locked(f"cluster-{wanted.name}"):
        record = registry.find(wanted.name)
        if record is None:
            record = registry.claim(
                lambda number: Record(**{**vars(wanted), "number": number}), _free
            )
        elif record.kind != wanted.kind:
            raise Refused(
                f"{wanted.name} is a {record.kind} cluster, and a {wanted.kind} one was asked for."
                f" Take another name, or first: ./hack/kube down {wanted.name}"
            )
        _start(record)
        return Cluster(record)


def _down(name: str) -> None:
    with locked(f"cluster-{name}"):
        record = registry.find(name)
        if record is None:
            # Whoever removes a cluster's folder by hand leaves everything else behind.
            record = Record(name, "full" if os.geteuid() == 0 else "control-plane", 0)
        _stop(record)
        if record.folder.exists():
            shutil.rmtree(record.folder)
    if record.kind == "full" and not any(other.kind == "full" for other in registry.everything()):
        traces.remove_last()


def side_by_side(action: Callable[[str], _Result], names: Sequence[str]) -> list[_Result]:
    """Do the same with several clusters at once; results are in the order of the names."""
    with ThreadPoolExecutor(max_workers=max(1, len(names))) as pool:
        return list(pool.map(action, names))
