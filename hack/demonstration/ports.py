"""Which ports the demo uses, and who has those that are taken.

All of them move by one offset, so that they are easy to remember and to tell apart.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_STEP: Final = 10
_TRIES: Final = 50
_HIGHEST: Final = 65_535
_LISTENING: Final = "0A"


@dataclass(frozen=True)
class Ports:
    """Ports of one cluster, all on 127.0.0.1."""

    mqtt: int
    link: int
    api: int

    @property
    def all(self) -> tuple[int, ...]:
        """Each of them."""
        return self.mqtt, self.link, self.api

    def moved(self, offset: int) -> Ports:
        """The same with an offset."""
        return Ports(*(port + offset for port in self.all))


US: Final = Ports(1883, 11883, 18083)
EU: Final = Ports(2883, 12883, 28083)


class PortsTaken(Exception):
    """The ports asked for can't be used; the text says why."""


def choose(wanted: int | None, is_free: Callable[[int], bool]) -> tuple[int, list[int]]:
    """Choose an offset; returns it and those ports without offset that are taken.

    Raises:
        PortsTaken: not with the offset that is `wanted`, or with none that was tried.
    """
    if wanted is not None:
        if wanted + max(EU.all) > _HIGHEST:
            raise PortsTaken(f"--port-offset {wanted}: expected at most {_HIGHEST - max(EU.all)}")
        if taken := _taken(wanted, is_free):
            raise PortsTaken(f"--port-offset {wanted}: {told(taken)}")
        return wanted, []
    for offset in range(0, _STEP * _TRIES, _STEP):
        if not _taken(offset, is_free):
            return offset, _taken(0, is_free)
    raise PortsTaken(f"no free ports found; {told(_taken(0, is_free))}: try --port-offset")


def _taken(offset: int, is_free: Callable[[int], bool]) -> list[int]:
    ports = US.moved(offset).all + EU.moved(offset).all
    return [port for port in ports if not is_free(port)]


def told(ports: list[int]) -> str:
    """Who has these ports: "1883 is taken by mosquitto (process 812)"."""
    by_holder: dict[str, list[str]] = {}
    for port in sorted(ports):
        by_holder.setdefault(holder(port) or "another program", []).append(str(port))
    return "; ".join(
        f"{', '.join(held)} {'is' if len(held) == 1 else 'are'} taken by {who}"
        for who, held in by_holder.items()
    )


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of this machine's loopback addresses."""
    return _can_bind(socket.AF_INET, "127.0.0.1", port) and (
        not Path("/proc/net/if_inet6").exists() or _can_bind(socket.AF_INET6, "::1", port)
    )


def _can_bind(family: socket.AddressFamily, host: str, port: int) -> bool:
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRNOTAVAIL  # there is no such address here
    return True


def is_listening(port: int) -> bool:
    """Whether somebody listens on a port, as the kernel tells: no connection is made."""
    return bool(_sockets(port))


def holder(port: int) -> str:
    """The program that listens on a port, and its process id; empty where that is not told.

    Other users' processes are not told.
    """
    sockets = {f"socket:[{inode}]" for inode in _sockets(port)}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(fd.readlink()) in sockets for fd in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                return f"{name} (process {process.name})"
        except OSError:
            continue  # somebody else's, or ended meanwhile
    return ""


def _sockets(port: int) -> list[str]:
    """Inodes of the sockets that listen on a port."""
    found = []
    for table in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            fields = line.split()
            if fields[3] == _LISTENING and fields[1].endswith(f":{port:04X}"):
                found.append(fields[9])
    return found
