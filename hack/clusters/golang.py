"""Finds a Go that is recent enough, or fetches one, and builds with it."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from clusters import commands, machine, paths
from clusters.errors import Failed, Missing
from clusters.reporting import working

_SWITCHES: Final = (1, 21)
"""From here on a Go fetches a newer Go where a module asks for it; go.dev/doc/toolchain."""

_FETCHED: Final = "go1.26.0"
"""The one to fetch where there is none that could do that by itself."""

_BUILD: Final = 3600.0
"""Seconds that one build may take."""


def build(
    what: str, source: Path, packages: Mapping[str, str], into: Path, linker_flags: str = "-s -w"
) -> None:
    """Build programs of the module in `source`: `packages` maps each to its package.

    Args:
        what: to call it while it goes on.
        source: folder with a go.mod.
        packages: of the programs.
        into: folder for them.
        linker_flags: no symbols, where nothing else is said.

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

    with log.open("w") as file, working(what, progress):
        done = subprocess.run(
            command, cwd=source, env=environment, stdout=file, stderr=file, check=False
        )
    if done.returncode:
        said = "\n".join(log.read_text().splitlines()[-20:])
        raise Failed(f"`{go} build` in {source} ended with {done.returncode}:\n{said}")


def find() -> str:
    """The Go to use: one that is here, or one that an older one fetches.

    Raises:
        Missing: there is none, and none can be had.
    """
    fetched = paths.cache() / _FETCHED / "bin" / "go"
    found = {place: _version(place) for place in [*_places(), str(fetched)]}
    for place, version in found.items():
        if version and version >= _SWITCHES:
            return place
    if not any(found.values()):
        machine.ensure({"go": "golang-go"})
        found = {place: _version(place) for place in _places()}
    for place, version in found.items():
        if version:
            return place if version >= _SWITCHES else str(_fetch(place, fetched))
    raise Missing("There is no Go that runs here. Install one from https://go.dev/dl.")


def _places() -> list[str]:
    """Where there may be a Go."""
    debian = sorted(map(str, Path("/usr/lib").glob("go-*/bin/go")), reverse=True)
    places = [shutil.which("go") or "", "/usr/local/go/bin/go", *debian]
    return [place for place in places if place and Path(place).exists()]


def _fetch(old: str, new: Path) -> Path:
    """Let an old Go fetch a new one, which is a module as any other, checked as any other.

    This is what a Go does by itself from `_SWITCHES` on; Debian 12 has 1.19.
    """
    module = f"golang.org/toolchain@v0.0.1-{_FETCHED}.linux-{architecture()}"
    root = new.parent.parent
    with working(_FETCHED), tempfile.TemporaryDirectory() as elsewhere:
        said = commands.run(
            [old, "mod", "download", "-json", module],
            cwd=Path(elsewhere),
            env={**os.environ, "GOFLAGS": ""},
        )
        copy = root.with_suffix(".new")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(json.loads(said)["Dir"], copy)
        for folder in [
            copy,
            *copy.rglob("*"),
        ]:  # a module is read-only, its programs are no programs
            runs = folder.is_dir() or folder.parent.name == "bin" or "tool" in folder.parts
            folder.chmod(0o755 if runs else 0o644)
        copy.rename(root)
    return new


def architecture() -> str:
    """The machine's architecture, by Go's name."""
    names = {"x86_64": "amd64", "aarch64": "arm64"}
    return names.get(platform.machine(), platform.machine())


def _version(go: str) -> tuple[int, int] | None:
    try:
        said = commands.run([go, "version"], env={**os.environ, "GOTOOLCHAIN": "local"})
    except (Missing, Failed):
        return None
    found = re.search(r"go(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else None


def _environment() -> dict[str, str]:
    """Static programs, flags of ours alone, and a newer Go where a module asks for one."""
    own = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "auto"}
    kept = {name: value for name, value in os.environ.items() if name != "GOROOT"}
    return {**kept, **own}
