"""Finds a Go that is recent enough, and builds with it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from clusters import commands
from clusters.errors import Failed, Missing
from clusters.reporting import working

_SWITCHES: Final = (1, 21)
"""From here on a Go fetches a newer Go where a module asks for it; go.dev/doc/toolchain."""

_BUILD: Final = 3600.0
"""Seconds that one build may take."""


def build(source: Path, packages: Mapping[str, str], into: Path, linker_flags: str) -> None:
    """Build programs of the module in `source`: `packages` maps each to its package.

    Raises:
        Missing: no Go that is recent enough.
        Failed: a build failed; the text has what Go said.
    """
    go = find()
    environment = _environment()
    flags = ["-trimpath", "-buildvcs=false", "-v", "-ldflags", linker_flags]
    listed = commands.run(
        [go, "list", "-deps", *packages.values()], cwd=source, env=environment, seconds=_BUILD
    )
    at_most = len(listed.splitlines())
    log = into / "log"
    # A folder as output names a program by its package's last part, which may be `v3`.
    one = next(iter(packages)) if len(packages) == 1 else ""
    command = [go, "build", *flags, "-o", f"{into}/{one}", *packages.values()]

    def progress() -> str:
        return f"{len(log.read_text().splitlines())} of at most {at_most} packages"

    with log.open("w") as file, working(", ".join(packages), progress):
        done = subprocess.run(
            command, cwd=source, env=environment, stdout=file, stderr=file, check=False
        )
    if done.returncode:
        said = "\n".join(log.read_text().splitlines()[-20:])
        raise Failed(f"`{go} build` in {source} ended with {done.returncode}:\n{said}")


def find() -> str:
    """The Go to use.

    Raises:
        Missing: there is none that is recent enough.
    """
    found = []
    places = [
        shutil.which("go"),
        "/usr/local/go/bin/go",
        *map(str, Path("/usr/lib").glob("go-*/bin/go")),
    ]
    for place in places:
        version = _version(place) if place else None
        if place and version and version >= _SWITCHES:
            return place
        if version:
            found.append(f"{place} is Go {version[0]}.{version[1]}")
    raise Missing(
        f"Go {_SWITCHES[0]}.{_SWITCHES[1]} or later is needed to build Kubernetes"
        f" ({', '.join(found) or 'there is none'}). Install it from https://go.dev/dl or,"
        " from Debian 13 on, by `apt-get install golang-go`; then run this again."
    )


def _version(go: str) -> tuple[int, int] | None:
    try:
        said = commands.run([go, "version"], env={**os.environ, "GOTOOLCHAIN": "local"})
    except (Missing, Failed):
        return None
    found = re.search(r"go(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else None


def _environment() -> dict[str, str]:
    """Static programs, flags of ours alone, and a newer Go where a module asks for one."""
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "auto"}
