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
    assembly,
    commands,
    controlplane,
    images,
    kind,
    kubeconfigs,
    machine,
    node,
    programs,
    registry,
    traces,
)
from clusters.controlplane import Place
from clusters.errors import Refused
from clusters.locking import locked
from clusters.node import Node
from clusters.registry import Kind, Record

_Result = TypeVar("_Result")

_PROGRAMS: Final[Mapping[Kind, Sequence[str]]] = {
    "full": programs.FULL,
    "control-plane": programs.CONTROL_PLANE,
    "kind": ("kind", "kubectl"),
}

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
        return assembly.place_of(self.record).kubeconfig("admin")

    @property
    def server(self) -> str:
        """The API server's URL."""
        return assembly.place_of(self.record).server

    def parts(self) -> dict[str, str]:
        """Each of its processes, and whether it `runs`, is `frozen` or `stopped`."""
        place = assembly.place_of(self.record)
        return {name: place.daemon(name).state for name in assembly.daemons(self.record)}

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 120.0) -> str:
        """Run kubectl as admin; returns what it wrote.

        Raises:
            Failed: it did not succeed; the text has what it said.
        """
        command = [str(programs.path("kubectl")), f"--kubeconfig={self.kubeconfig}", *arguments]
        return commands.run(command, stdin=stdin, seconds=seconds)

    def service_account_kubeconfig(self, namespace: str, name: str, seconds: int = 3600) -> Path:
        """A kubeconfig of a ServiceAccount, with a token for so long (at least 600 s)."""
        place = assembly.place_of(self.record)
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
        archives = [images.archive_of(image) for image in wanted]
        for archive in archives:
            if self.record.kind == "kind":
                kind.load(self.name, archive)
            else:
                self._node().load(archive)

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
        return assembly.node_of(self.record)

    def stop_api(self) -> None:
        """End the API server; etcd keeps what it knew."""
        self._control_plane().daemon(controlplane.API_SERVER).stop(grace=1.0)

    def start_api(self) -> None:
        """Start the API server again, or let it go on, and wait until it is ready."""
        controlplane.start_api(self._control_plane())

    def freeze_api(self) -> None:
        """Stop the API server in its tracks: connections stay, answers do not come."""
        self._control_plane().daemon(controlplane.API_SERVER).freeze()

    def thaw_api(self) -> None:
        """Let a frozen API server go on."""
        self.start_api()

    def _control_plane(self) -> Place:
        if self.record.kind == "kind":
            raise Refused(f"{self.name} is a kind cluster: parts of it can't be stopped alone.")
        return assembly.place_of(self.record)


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
    which = _kind_for(control_plane)
    if which == "full":
        machine.need_root("A cluster with a node")
    machine.ensure(machine.FULL if which == "full" else machine.CONTROL_PLANE)
    programs.ensure(_PROGRAMS[which])
    for record in registry.abandoned():
        down([record.name])

    def bring(name: str) -> Cluster:
        chosen = controllers if control_plane else "all"
        return _up(Record(name, which, 0, owner, load_balancer, chosen))

    found = side_by_side(bring, names)
    assembly.connect([cluster.record for cluster in found])
    return dict(zip(names, found, strict=True))


def _kind_for(control_plane: bool) -> Kind:
    """Which kind of cluster it will be: one of our own wherever we may make one."""
    if control_plane:
        return "control-plane"
    return "kind" if os.geteuid() != 0 and kind.answers() else "full"


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


def _up(wanted: Record) -> Cluster:
    with locked(f"cluster-{wanted.name}"):
        record = registry.find(wanted.name)
        if record is None:
            record = registry.claim(
                lambda number: Record(**{**vars(wanted), "number": number}), assembly.free
            )
        elif record.kind != wanted.kind:
            raise Refused(
                f"{wanted.name} is a {record.kind} cluster, and a {wanted.kind} one was asked for."
                f" Take another name, or first: ./hack/kube down {wanted.name}"
            )
        assembly.start(record)
        return Cluster(record)


def _down(name: str) -> None:
    with locked(f"cluster-{name}"):
        record = registry.find(name)
        if record is None:
            # Whoever removes a cluster's folder by hand leaves everything else behind.
            guess: Kind = "full" if os.geteuid() == 0 else "control-plane"
            record = Record(name, guess, 0, controllers="all")
        assembly.stop(record)
        if record.folder.exists():
            shutil.rmtree(record.folder)
    if record.kind == "full" and not any(other.kind == "full" for other in registry.everything()):
        traces.remove_last()


def side_by_side(action: Callable[[str], _Result], names: Sequence[str]) -> list[_Result]:
    """Do the same with several clusters at once; results are in the order of the names."""
    with ThreadPoolExecutor(max_workers=max(1, len(names))) as pool:
        return list(pool.map(action, names))
