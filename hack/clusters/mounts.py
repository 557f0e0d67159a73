"""Unmounts everything below a folder: containers' file systems, pods' volumes, namespaces."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from clusters import commands

_ESCAPED: Final = re.compile(r"\\([0-7]{3})")
_POINT: Final = 4
"""Place of the mount point in a line of mountinfo; proc_pid_mountinfo(5)."""


def below(folder: Path) -> list[str]:
    """The mount points below a folder, the last one first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [_ESCAPED.sub(_character, line.split()[_POINT]) for line in lines]
    return [point for point in reversed(points) if point.startswith(f"{folder}/")]


def unmount_below(folder: Path) -> None:
    """Unmount them all."""
    points = below(folder)
    if points:
        commands.run(["umount", "--lazy", *points])


def _character(escaped: re.Match[str]) -> str:
    return chr(int(escaped[1], 8))
