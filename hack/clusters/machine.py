"""What the machine has to have: programs, which Debian's packages bring, and rights."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import Final

from clusters import paths
from clusters.errors import Missing
from clusters.locking import locked
from clusters.reporting import working

CONTROL_PLANE: Final = {"openssl": "openssl", "setsid": "util-linux"}
"""Programs that a cluster without a node needs, and the packages that have them."""

FULL: Final = {
    **CONTROL_PLANE,
    "ip": "iproute2",
    "nsenter": "util-linux",
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "sysctl": "procps",
}
"""Programs that a cluster with a node needs."""

IMAGES: Final = {"buildah": "buildah", "debootstrap": "debootstrap", "runc": "runc"}
"""Programs that build images."""

_SBIN: Final = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where servers are, and ordinary users do not look."""


def ensure(programs: Mapping[str, str]) -> None:
    """Install the packages of those programs that are missing; services are not started.

    Raises:
        Missing: they can't be installed here; the text says what to do.
    """
    with locked("packages"):
        packages = sorted({package for program, package in programs.items() if not has(program)})
        if not packages:
            return
        # lib.sh knows how not to start the services that come along.
        script = f'. "{paths.CHECKOUT}/hack/lib.sh"; install_debian "$@"'
        with working(f"Debian packages {' '.join(packages)}"):
            done = subprocess.run(
                ["bash", "-c", script, "bash", *packages],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
        absent = [program for program in programs if not has(program)]
    if absent:
        raise Missing(
            f"Missing: {', '.join(absent)}. Install: apt-get install --no-install-recommends"
            f" {' '.join(packages)}\n{(done.stderr or done.stdout)[-1000:].strip()}"
        )


def has(program: str) -> bool:
    """Whether a program is there."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{_SBIN}") is not None


def extend_path() -> None:
    """Let programs in sbin be found, by us and by those that we start."""
    path = os.environ.get("PATH", "")
    missing = [folder for folder in _SBIN.split(":") if folder not in path.split(":")]
    os.environ["PATH"] = ":".join([path, *missing])


def need_root(what: str) -> None:
    """Raise `Missing` where one is not root."""
    if os.geteuid() != 0:
        raise Missing(
            f"{what} needs root, for network namespaces and containers: run it with sudo."
            " Without root there is `./hack/kube up --control-plane`."
        )
