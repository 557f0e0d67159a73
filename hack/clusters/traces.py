"""Removes what containerd and the kubelet leave outside of their cluster's folder.

Their settings move everything there that they can; these few places are fixed in their sources.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

_NETWORKS: Final = Path("/var/lib/cni/results")
"""What libcni remembers of each container's network."""
_LOGS: Final = Path("/var/log/containers")
"""The kubelet's links to logs."""
_SHIMS: Final = Path("/run/containerd/s")
"""Sockets of containerd's shims."""
_KUBELET: Final = Path("/var/lib/kubelet/device-plugins/kubelet.sock")
"""A socket that every kubelet opens, and none of ours needs."""
_MACHINES: Final = (Path("/var/lib"), Path("/var/log"), Path("/run"))
"""Folders that are there anyway."""


def remove(network: str, folder: Path) -> None:
    """Remove what a node has left there.

    Args:
        network: name of its containers' network.
        folder: of its cluster.
    """
    for trace in [*_of_networks(network, folder), *_of_logs(folder), *_of_shims(folder)]:
        trace.unlink(missing_ok=True)
    for place in (_NETWORKS, _LOGS, _SHIMS):
        _remove_empty(place)


def remove_last() -> None:
    """Remove what all kubelets of this machine share; for when the last one has gone."""
    _KUBELET.unlink(missing_ok=True)
    _remove_empty(_KUBELET.parent)


def _bundles(folder: Path) -> list[Path]:
    return list((folder / "run/containerd/io.containerd.runtime.v2.task").glob("*/*"))


def _of_networks(network: str, folder: Path) -> Iterator[Path]:
    yield from _NETWORKS.glob(f"{network}-*")
    for bundle in _bundles(folder):
        yield from _NETWORKS.glob(f"*-{bundle.name}-*")


def _of_logs(folder: Path) -> Iterator[Path]:
    for link in _LOGS.glob("*"):
        if link.is_symlink() and link.readlink().is_relative_to(folder):
            yield link


def _of_shims(folder: Path) -> Iterator[Path]:
    for bundle in _bundles(folder):
        address = bundle / "address"
        if address.exists():
            yield Path(address.read_text().strip().removeprefix("unix://"))


def _remove_empty(place: Path) -> None:
    """Remove a folder and those above it, while they are empty and not the machine's own."""
    while place not in _MACHINES and place.is_dir() and not any(place.iterdir()):
        place.rmdir()
        place = place.parent
