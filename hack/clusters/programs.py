"""The programs that clusters are made of: which, in which version, and building them.

Each is built from its Go module, as a `go.mod` and `go.sum` of ours in the folder `go` pin it, and
kept in the cache in a folder named by program and version: a fresh checkout finds them there.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from clusters import golang, paths
from clusters.errors import Refused
from clusters.locking import locked
from clusters.reporting import say

_VERSIONS: Final = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
"""Packages of Kubernetes that hold its version: of a program, and of a client in it."""
_HELM: Final = "helm.sh/helm/v3"


@dataclass(frozen=True)
class Module:
    """A Go module and what of it is built.

    `commands` maps a program to its package; `stamp` values of variables to link in, `{version}`
    being the module's.
    """

    name: str
    path: str
    commands: Mapping[str, str]
    stamp: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        """The folder with its pins."""
        return paths.PACKAGE / "go" / self.name

    @property
    def version(self) -> str:
        """The version that its go.mod pins."""
        text = (self.source / "go.mod").read_text()
        found = re.search(rf"^(?:require )?\s*{re.escape(self.path)} (v\S+)", text, re.MULTILINE)
        if not found:
            raise Refused(f"{self.source}/go.mod has no `require {self.path} VERSION`.")
        return found[1]

    @property
    def folder(self) -> Path:
        """Where its programs are."""
        return paths.cache() / f"{self.name}-{self.version}"

    def linker_flags(self) -> str:
        """Flags of Go's linker: no symbols, and the version, without which clients misbehave."""
        major, minor = self.version.lstrip("v").split(".")[:2]
        values = (
            f"-X {name}={value.format(version=self.version, major=major, minor=minor)}"
            for name, value in self.stamp.items()
        )
        return " ".join(["-s -w", *values])


_KUBERNETES: Final = Module(
    "kubernetes",
    "k8s.io/kubernetes",
    {
        name: f"k8s.io/kubernetes/cmd/{name}"
        for name in (
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
            "kubectl",
        )
    },
    {
        f"{package}.{variable}": value
        for package in _VERSIONS
        for variable, value in {
            "gitVersion": "{version}",
            "gitMajor": "{major}",
            "gitMinor": "{minor}",
            "gitTreeState": "clean",
            "gitCommit": "unknown",
            "buildDate": "1970-01-01T00:00:00Z",
        }.items()
    },
)

MODULES: Final = (
    Module("etcd", "go.etcd.io/etcd/server/v3", {"etcd": "go.etcd.io/etcd/server/v3"}),
    _KUBERNETES,
    Module("coredns", "github.com/coredns/coredns", {"coredns": "github.com/coredns/coredns"}),
    # Helm asks a chart's `kubeVersion` with what it was told here, where it has no cluster to ask.
    Module(
        "helm",
        _HELM,
        {"helm": f"{_HELM}/cmd/helm"},
        {
            f"{_HELM}/internal/version.version": "{version}",
            f"{_HELM}/pkg/chartutil.k8sVersionMajor": "1",
            f"{_HELM}/pkg/chartutil.k8sVersionMinor": _KUBERNETES.version.split(".")[1],
        },
    ),
    Module("kind", "sigs.k8s.io/kind", {"kind": "sigs.k8s.io/kind"}),
)

CONTROL_PLANE: Final = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
FULL: Final = (*CONTROL_PLANE, "kube-scheduler", "kubelet", "kube-proxy", "coredns")
TOOLS: Final = ("kubectl", "helm")


def path(program: str) -> Path:
    """Where a program is, or would be once built."""
    return _module_of(program).folder / program


def ensure(programs: Iterable[str]) -> None:
    """Build those of the programs that are not in the cache yet.

    Raises:
        Missing: there is no Go to build them with.
        Failed: a build failed.
    """
    wanted = list(programs)
    if all(path(program).exists() for program in wanted):
        return
    with locked("build"):
        for module in MODULES:
            missing = [p for p in wanted if p in module.commands and not path(p).exists()]
            if missing:
                _build(module, missing)


def place(programs: Iterable[str]) -> Path:
    """Links to programs in one folder, for people's `PATH`; returns the folder."""
    folder = paths.cache() / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    for program in programs:
        link = folder / program
        if not link.is_symlink() or link.readlink() != path(program):
            new = folder / f".{program}.{os.getpid()}"
            new.symlink_to(path(program))
            new.replace(link)
    return folder


def _module_of(program: str) -> Module:
    for module in MODULES:
        if program in module.commands:
            return module
    known = ", ".join(name for module in MODULES for name in module.commands)
    raise Refused(f"{program}: no program that is built here; there are {known}.")


def _build(module: Module, programs: list[str]) -> None:
    """Build programs of one module together, so that what they share is compiled once."""
    module.folder.mkdir(parents=True, exist_ok=True)
    say(f"Building once, and kept: {', '.join(programs)}")
    built = Path(tempfile.mkdtemp(prefix=".new-", dir=module.folder))
    try:
        packages = {program: module.commands[program] for program in programs}
        golang.build(
            f"{module.name} {module.version}", module.source, packages, built, module.linker_flags()
        )
        for program in programs:
            (built / program).rename(module.folder / program)
    finally:
        shutil.rmtree(built)
