"""Notices that files have changed: configuration, includes, certificates, passwords, users.

By polling: a signature of each file (where its name leads to, inode, time and size) once a second,
a few microseconds each. That also sees what Kubernetes does, swapping the symlink `..data`, works
on every file system and needs nothing. What a change means is left to the server.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final

INTERVAL: Final = 1.0
"""Seconds between two looks."""

Signature = tuple[str, int, int, int] | None
"""Real path, inode, modification time in ns, size; None: there is no such file."""
Look = Callable[[Path], Signature]


def signature(path: Path) -> Signature:
    """What tells one state of a file from another."""
    try:
        real = os.path.realpath(path)
        status = os.stat(real)  # noqa: PTH116 - for the string that realpath gives
    except OSError:
        return None
    return real, status.st_ino, status.st_mtime_ns, status.st_size


class Watched:
    """The files and how they looked last; pure but for `look`."""

    def __init__(self, paths: Iterable[Path], look: Look = signature) -> None:
        self._look = look
        self._seen = {path: look(path) for path in paths}

    def watch(self, paths: Iterable[Path]) -> None:
        """Watch these from now on; those watched already keep how they looked last."""
        seen = self._seen
        self._seen = {it: seen[it] if it in seen else self._look(it) for it in paths}

    def changed(self) -> list[Path]:
        """Look again; returns the files that look different."""
        changed = []
        for path, before in self._seen.items():
            now = self._look(path)
            if now != before:
                changed.append(path)
                self._seen[path] = now
        return changed


async def watch(
    watched: Watched,
    changed: Callable[[list[Path]], Awaitable[None]],
    interval: float = INTERVAL,
) -> None:
    """Call `changed` whenever files have changed and then look the same for one interval.

    The pause lets a writer finish, and brings changes of several files together. Runs until it is
    cancelled.
    """
    waiting: dict[Path, None] = {}
    while True:
        await asyncio.sleep(interval)
        found = watched.changed()
        waiting.update(dict.fromkeys(found))
        if waiting and not found:
            ready = list(waiting)
            waiting.clear()
            await changed(ready)
