"""Images for clusters: pause, a base with Python, and of ours those whose Dockerfile is there.

Each is an archive in the cache, named by a hash of everything that it is made of, so that an
unchanged checkout builds nothing. No registry is asked for images: the base is made by debootstrap.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from clusters import archives, commands, golang, kind, machine, mounts, paths
from clusters.errors import Refused
from clusters.locking import locked
from clusters.node import PAUSE
from clusters.reporting import working

_SUITE: Final = "trixie"
"""Debian 13, for its Python 3.13, which is what `python:3.13-slim` has."""
_PACKAGES: Final = "python3,python3-venv,ca-certificates"
_MIRROR: Final = "http://deb.debian.org/debian"
_BASE: Final = "localhost/isthmus-base:trixie"
_UNNEEDED: Final = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/i18n",
    "usr/share/zoneinfo/right",
    "usr/share/lintian",
    "var/cache/apt",
    "var/cache/debconf",
    "var/lib/apt/lists",
    "var/log",
    "dev",
)
"""What of a Debian no program of ours reads."""

_TRUSTED: Final = Path("/etc/ssl/certs/ca-certificates.crt")
"""Where Debian keeps whom a machine trusts, such as a company's proxy."""

_KEEP: Final = 6
"""Archives of one image that stay in the cache, since several checkouts share it; older ones go."""
_BUILD: Final = 1800.0


@dataclass(frozen=True)
class Recipe:
    """An image of ours.

    Attributes:
        name: of the image and its archive.
        dockerfile: what makes it, in the checkout.
        sources: files and folders of the checkout that go into it.
    """

    name: str
    dockerfile: str
    sources: Sequence[str]

    @property
    def tag(self) -> str:
        """Name by which pods ask for it."""
        return f"localhost/{self.name}:dev"


_COMMON: Final = (
    ".dockerignore",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "requirements/build.txt",
    "broker/isthmus_broker/__init__.py",  # the version of both
)

RECIPES: Final = tuple(
    Recipe(
        f"isthmus-{part}",
        f"{part}/Dockerfile",
        (*_COMMON, f"{part}/Dockerfile", f"requirements/{part}.txt", f"{part}/isthmus_{part}"),
    )
    for part in ("broker", "operator")
)


def pause() -> Path:
    """Archive of the image that holds a pod's namespaces, built where it is not there."""
    source = paths.PACKAGE / "go" / "pause"
    archive = _archive("pause", _hash([source], source))
    if not archive.exists():
        with locked("images"), tempfile.TemporaryDirectory() as folder:
            golang.build("pause", source, {"pause": "."}, Path(folder))
            archives.write(archive, PAUSE, Path(folder) / "pause", golang.architecture())
    return archive


def ours() -> list[Recipe]:
    """Those of our images that this checkout can build."""
    return [recipe for recipe in RECIPES if (paths.CHECKOUT / recipe.dockerfile).exists()]


def archive_of(image: str) -> Path:
    """The archive of one of our images, built where this checkout's is not there.

    Args:
        image: its tag, its name, or the path of an archive, which is returned as it is.

    Raises:
        Refused: it is none of them.
        Missing: what builds images is missing.
        Failed: the build failed.
    """
    if Path(image).is_file():
        return Path(image)
    for recipe in ours():
        if image in (recipe.tag, recipe.name, recipe.name.removeprefix("isthmus-")):
            return _build(recipe)
    known = ", ".join(recipe.tag for recipe in ours())
    raise Refused(f"{image}: neither an archive (docker save, buildah push) nor one of {known}.")


def _build(recipe: Recipe) -> Path:
    sources = [paths.CHECKOUT / source for source in recipe.sources]
    archive = _archive(recipe.name, _hash(sources, paths.CHECKOUT))
    if archive.exists():
        archive.touch()
        return archive
    with locked("images"):
        if not archive.exists():
            if os.geteuid() != 0 and kind.answers():
                _build_by_docker(recipe, archive)
            else:
                _build_by_buildah(recipe, archive)
            _forget_old(recipe.name)
    return archive


def _build_by_buildah(recipe: Recipe, archive: Path) -> None:
    machine.need_root("Building images")
    machine.ensure(machine.IMAGES)
    base = _base()
    with working(recipe.tag), _Buildah() as buildah:
        buildah.import_base(base)
        buildah.build(recipe, archive)


def _build_by_docker(recipe: Recipe, archive: Path) -> None:
    new = archive.with_suffix(".new")
    file = f"--file={paths.CHECKOUT / recipe.dockerfile}"
    with working(recipe.tag):
        build = ["docker", "build", file, f"--tag={recipe.tag}", str(paths.CHECKOUT)]
        commands.run(build, seconds=_BUILD)
        commands.run(["docker", "save", f"--output={new}", recipe.tag])
    new.replace(archive)


class _Buildah:
    """buildah with a storage of its own, which goes with it: layers of vfs are whole copies."""

    def __enter__(self) -> Self:
        (paths.cache() / "images").mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix=".buildah-", dir=paths.cache() / "images"))
        self._policy = self._folder / "policy.json"
        self._policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        return self

    def __exit__(self, *_: object) -> None:
        mounts.unmount_below(self._folder)
        shutil.rmtree(self._folder)

    def import_base(self, base: Path) -> None:
        recipe = self._folder / "Containerfile"
        recipe.write_text(f'FROM scratch\nADD {base.name} /\nENV LANG=C.UTF-8\nCMD ["python3"]\n')
        self._run("build", *self._options(), f"--file={recipe}", f"--tag={_BASE}", base.parent)

    def build(self, recipe: Recipe, archive: Path) -> None:
        file = paths.CHECKOUT / recipe.dockerfile
        named = [f"--file={file}", f"--tag={recipe.tag}", f"--build-arg=BASE={_BASE}"]
        self._run("build", *self._options(), "--pull-never", *named, paths.CHECKOUT)
        new = archive.with_suffix(".new")
        new.unlink(missing_ok=True)
        self._run(
            "push",
            f"--signature-policy={self._policy}",
            recipe.tag,
            f"docker-archive:{new}:{recipe.tag}",
        )
        new.replace(archive)

    def _options(self) -> list[str]:
        # Neither a daemon nor namespaces of users: a chroot is enough to run pip.
        options = ["--isolation=chroot", f"--signature-policy={self._policy}", "--network=host"]
        # Whom the machine trusts, pip trusts while it builds; none of it ends up in the image.
        trusted = [f"--volume={_TRUSTED}:{_TRUSTED}:ro"] if _TRUSTED.exists() else []
        return [*options, *trusted]

    def _run(self, command: str, *arguments: str | Path) -> None:
        storage = [f"--root={self._folder}/storage", f"--runroot={self._folder}/run"]
        commands.run(
            ["buildah", *storage, "--storage-driver=vfs", command, *arguments], seconds=_BUILD
        )


def _base() -> Path:
    """Archive of the base's files, made where it is not there."""
    made_of = hashlib.sha256("\n".join([_SUITE, _PACKAGES, *_UNNEEDED]).encode()).hexdigest()[:12]
    archive = paths.cache() / "images" / f"base-{_SUITE}-{made_of}.tar"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        with (
            working(f"base image (Debian {_SUITE})"),
            tempfile.TemporaryDirectory(prefix=".base-", dir=archive.parent) as folder,
        ):
            root = Path(folder) / "root"
            options = ["--variant=minbase", f"--include={_PACKAGES}"]
            commands.run(["debootstrap", *options, _SUITE, root, _MIRROR], seconds=_BUILD)
            mounts.unmount_below(root)
            without = [f"--exclude=./{path}/*" for path in _UNNEEDED]
            new = archive.with_suffix(".new")
            commands.run(["tar", "--numeric-owner", *without, "-cf", new, "-C", root, "."])
            new.replace(archive)
    return archive


def _archive(name: str, made_of: str) -> Path:
    folder = paths.cache() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}-{made_of}.tar"


def _forget_old(name: str) -> None:
    archives_ = sorted(
        (paths.cache() / "images").glob(f"{name}-*.tar"), key=lambda path: path.stat().st_mtime
    )
    for archive in archives_[:-_KEEP]:
        archive.unlink()


def _hash(sources: Iterable[Path], relative_to: Path) -> str:
    """A hash of files and of what is in folders, names and contents."""
    summary = hashlib.sha256()
    for file in sorted(file for source in sources for file in _files(source)):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        mode = file.stat().st_mode & 0o111
        summary.update(f"{file.relative_to(relative_to)} {mode} {content}\n".encode())
    return summary.hexdigest()[:16]


def _files(source: Path) -> Iterable[Path]:
    if source.is_file():
        return [source]
    return (p for p in source.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
