"""The machine that a bench runs on: which cores for what, limits, free ports, what it is."""

from __future__ import annotations

import os
import platform
import random
import resource
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

_PORTS: Final = range(20_000, 32_000)
"""Below those that the kernel hands out: no outgoing connection takes one meanwhile."""
FILES: Final = 40_000
"""Open files wished for, by the load and by each broker."""


class MachineError(Exception):
    """The machine does not allow a measurement; the text says what is missing."""


@dataclass(frozen=True)
class Cores:
    """Which cores the load and the brokers may use."""

    load: frozenset[int]
    brokers: frozenset[int]

    @property
    def shared(self) -> bool:
        """Whether the load takes time from the brokers: there is one core only."""
        return bool(self.load & self.brokers)


@cache  # the load's own affinity changes later
def cores() -> Cores:
    """One core for all brokers, another for the load; both the same where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return Cores(frozenset(usable[-1:]), frozenset(usable[:1]))


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on."""
    found: set[int] = set()
    while len(found) < count:
        port = random.choice(_PORTS)  # noqa: S311 - no secret
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.add(port)
    return list(found)


def raise_file_limit(wanted: int = FILES) -> int:
    """Raise `ulimit -n` of this process, and so of those that it starts; returns what it is."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limits in ((wanted, max(wanted, hard)), (min(wanted, hard), hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        except (ValueError, OSError):
            continue  # only root may raise the hard limit
        break
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def need_files(count: int) -> None:
    """Check that `count` connections can be open at once.

    Raises:
        MachineError: they can't.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit < count + 100:
        raise MachineError(f"ulimit -n is {limit:,}, {count + 100:,} needed: raise the hard limit")


def described() -> dict[str, str]:
    """What a reader of the figures wants to know of this machine."""
    chosen = cores()
    split = "load and brokers on the same core" if chosen.shared else "one core each"
    return {
        "processor": f"{_cpu_model()}, {os.cpu_count()} cores, of which the bench uses "
        f"{len(chosen.load | chosen.brokers)} ({split})",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": f"CPython {platform.python_version()}",
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
