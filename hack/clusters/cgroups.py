"""A control group for all containers of a cluster, in either version of them.

It is how every process of every container is found, whoever its parent is.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from clusters import processes
from clusters.errors import Missing

_ROOT: Final = Path("/sys/fs/cgroup")
_CONTROLLERS: Final = "cgroup.controllers"
_NEEDED: Final = ("cpu", "cpuset", "memory", "pids")
"""Controllers that a kubelet insists on."""


def ensure(name: str) -> None:
    """Make the group of that name, in every hierarchy.

    Raises:
        Missing: this machine does not let us.
    """
    try:
        if _unified():
            _hand_down(_ROOT)
            (_ROOT / name).mkdir(exist_ok=True)
            _hand_down(_ROOT / name)
            return
        for hierarchy in _hierarchies():
            (hierarchy / name).mkdir(exist_ok=True)
        cpuset = _ROOT / "cpuset"
        for file in ("cpuset.cpus", "cpuset.mems"):  # a new one has none, and takes no process
            (cpuset / name / file).write_text((cpuset / file).read_text())
    except OSError as error:
        raise Missing(
            f"No control group for containers can be made ({error}). In a container, /sys/fs/cgroup"
            " has to be writable: with Docker, `--privileged`."
        ) from error


def end_all(name: str) -> None:
    """End every process in the group and in those below."""
    for _ in range(10):  # a process may have made another meanwhile
        pids = {pid for group in _groups(name) for pid in _members(group)}
        if not pids:
            return
        for pid in pids:
            processes.end(pid, grace=0)


def remove(name: str) -> None:
    """Remove the group and those below; all have to be empty."""
    for group in _groups(name):
        group.rmdir()


def _unified() -> bool:
    return (_ROOT / _CONTROLLERS).exists()


def _hierarchies() -> list[Path]:
    if _unified():
        return [_ROOT]
    return [folder for folder in _ROOT.iterdir() if (folder / "cgroup.procs").exists()]


def _groups(name: str) -> Iterator[Path]:
    """The group in each hierarchy, what is below first."""
    for hierarchy in _hierarchies():
        top = hierarchy / name
        if top.is_dir():
            below = [path.parent for path in top.rglob("cgroup.procs")]
            yield from sorted({top, *below}, key=lambda path: len(path.parts), reverse=True)


def _members(group: Path) -> list[int]:
    try:
        return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
    except FileNotFoundError:
        return []


def _hand_down(group: Path) -> None:
    """Let the groups below use what the kubelet needs (version 2 only)."""
    wanted = [f"+{name}" for name in _NEEDED if name in (group / _CONTROLLERS).read_text().split()]
    control = group / "cgroup.subtree_control"
    try:
        control.write_text(" ".join(wanted))
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        # In a container its processes are in this group itself, and a group that hands down may
        # have none: they move one down.
        inner = group / "init"
        inner.mkdir(exist_ok=True)
        for pid in _members(group):
            (inner / "cgroup.procs").write_text(str(pid))
        control.write_text(" ".join(wanted))
