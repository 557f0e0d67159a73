"""Which clusters there are: their names, kinds, numbers, and a folder for each.

A cluster's number gives it its ports and addresses; two never have the same.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from clusters import paths
from clusters.errors import Failed, Refused
from clusters.locking import locked

Kind = Literal["full", "control-plane", "kind"]
"""One with a node; one without; one that the program kind made."""

_RECORD: Final = "cluster.json"
_NAME: Final = re.compile(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?")
_NUMBERS: Final = range(1, 100)
_FIRST_PORT: Final = 61_440
"""Ports of control planes are from here on: above those that the kernel and our tests hand out."""


@dataclass(frozen=True)
class Record:
    """What is known about a cluster before it is looked at.

    `owner` is the process for which it was made, 0 where it is meant to stay.
    """

    name: str
    kind: Kind
    number: int
    owner: int = 0
    load_balancer: bool = True
    controllers: str = "few"

    @property
    def folder(self) -> Path:
        """Everything of the cluster is in it."""
        return folder_of(self.name)

    @property
    def port(self) -> int:
        """The API server's port, of a control plane."""
        return _FIRST_PORT + self.number

    def save(self) -> None:
        """Keep it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        new = self.folder / f".{_RECORD}"
        new.write_text(json.dumps(asdict(self)))
        new.replace(self.folder / _RECORD)


def folder_of(name: str) -> Path:
    """The folder of a cluster of that name."""
    return paths.clusters() / name


def check_name(name: str) -> None:
    """Raise `Refused` where a cluster can't be named so."""
    if not _NAME.fullmatch(name):
        raise Refused(
            f"{name!r} can't be a cluster's name: up to 30 of a-z, 0-9 and `-`,"
            " beginning with a letter."
        )


def find(name: str) -> Record | None:
    """The record of a cluster, if there is one."""
    try:
        text = (folder_of(name) / _RECORD).read_text()
    except FileNotFoundError:
        return None
    return Record(**json.loads(text))


def get(name: str) -> Record:
    """The record of a cluster.

    Raises:
        Refused: there is none.
    """
    record = find(name)
    if record is None:
        names = ", ".join(known.name for known in everything()) or "none"
        raise Refused(
            f"There is no cluster {name}; there is: {names}. Make it: ./hack/kube up {name}"
        )
    return record


def everything() -> list[Record]:
    """The records of all clusters, by name."""
    if not paths.clusters().is_dir():
        return []
    found = (find(folder.name) for folder in sorted(paths.clusters().iterdir()))
    return [record for record in found if record is not None]


def claim(make: Callable[[int], Record], free: Callable[[Record], bool]) -> Record:
    """Make a record with the lowest number that nobody else has, and keep it.

    Args:
        make: a record with that number.
        free: whether its ports or addresses are still to be had.
    """
    with locked("numbers"):
        taken = {record.number for record in everything()}
        for number in _NUMBERS:
            record = make(number)
            if number not in taken and free(record):
                record.save()
                return record
    raise Failed(f"There are {len(_NUMBERS)} clusters or busy ports already: ./hack/kube list")


def port_free(record: Record) -> bool:
    """Whether nobody listens on the port of that control plane."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", record.port))
        except OSError:
            return False
    return True


def abandoned() -> list[Record]:
    """Clusters whose owner has gone without taking them along."""
    return [r for r in everything() if r.owner and not Path(f"/proc/{r.owner}").exists()]


def me() -> int:
    """The process that runs, as an owner."""
    return os.getpid()
