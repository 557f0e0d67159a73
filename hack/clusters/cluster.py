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

from clusters import commands, controlplane, kubeconfigs, machine, programs, registry
from clusters.controlplane import Place
from clusters.errors import Refused
from clusters.locking import locked
from clusters.registry import Record

_Result = TypeVar("_Result")

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

    def parts(self) -> dict[str, str]:
        """Each of its processes, and whether it `runs`, is `frozen` or `stopped`."""
        place = place_of(self.record)
        names = [controlplane.ETCD, controlplane.API_SERVER]
        if controlplane.CHOICES[self.record.controllers]:
            names.append(controlplane.CONTROLLERS)
        return {name: place.daemon(name).state for name in names}

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
    owner: int = 0,
) -> dict[str, Cluster]:
    """Bring clusters up, side by side; those that are up already stay as they are.

    Args:
        names: of the clusters.
        control_plane: without a node: no pods run, no root is needed, ready in seconds.
        controllers: of a control plane: `few`, which make no pods, `all`, or `none`.
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
    machine.ensure(machine.CONTROL_PLANE)
    programs.ensure(programs.CONTROL_PLANE if control_plane else programs.FULL)
    for record in registry.abandoned():
        down([record.name])

    def bring(name: str) -> Cluster:
        return _up(Record(name, "control-plane", 0, owner, controllers=controllers))

    return dict(zip(names, _side_by_side(bring, names), strict=True))


def down(names: Sequence[str]) -> None:
    """Take clusters down and remove everything that they had; those that are not there are fine."""
    list(_side_by_side(_down, names))


@contextmanager
def temporary(
    names: Sequence[str], *, control_plane: bool = False, controllers: str = "few"
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
    return Place(
        folder=record.folder,
        name=record.name,
        address="127.0.0.1",
        port=record.port,
        services="10.96.0.0/16",
        service="10.96.0.1",
    )


def _up(wanted: Record) -> Cluster:
    with locked(f"cluster-{wanted.name}"):
        record = registry.find(wanted.name)
        if record is None:
            record = registry.claim(
                lambda number: Record(**{**vars(wanted), "number": number}), registry.port_free
            )
        elif record.kind != wanted.kind:
            raise Refused(
                f"{wanted.name} is a {record.kind} cluster, and a {wanted.kind} one was asked for."
                f" Take another name, or first: ./hack/kube down {wanted.name}"
            )
        controlplane.start(place_of(record), record.controllers)
        return Cluster(record)


def _down(name: str) -> None:
    with locked(f"cluster-{name}"):
        record = registry.find(name)
        if record is not None:
            controlplane.stop(place_of(record))
        shutil.rmtree(registry.folder_of(name), ignore_errors=True)


def _side_by_side(action: Callable[[str], _Result], names: Sequence[str]) -> Iterator[_Result]:
    with ThreadPoolExecutor(max_workers=max(1, len(names))) as pool:
        yield from pool.map(action, names)
