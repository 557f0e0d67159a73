"""Clusters in containers of a Docker engine, made by the program kind: for those without root.

They have what the others have: a kubeconfig, our images, load balancers' addresses. Parts of them
can't be stopped or frozen.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from clusters import commands, programs
from clusters.controlplane import Place
from clusters.reporting import say

_INSPECT: Final = '{{(index .NetworkSettings.Networks "kind").IPAddress}}'
_CREDENTIALS: Final = {
    "ca.crt": ("clusters", "cluster", "certificate-authority-data"),
    "admin.crt": ("users", "user", "client-certificate-data"),
    "admin.key": ("users", "user", "client-key-data"),
}
"""Where a kubeconfig has what the others keep in files."""


def answers() -> bool:
    """Whether there is a Docker engine, and we may use it."""
    try:
        return commands.succeeds(["docker", "info"])
    except FileNotFoundError:
        return False


def start(place: Place) -> None:
    """Make the cluster where there is none.

    Raises:
        Failed: kind did not succeed.
    """
    name = _name(place.name)
    if name in _kind("get", "clusters").split():
        return
    settings = place.folder / "kind.json"
    settings.write_text(
        json.dumps(
            {
                "kind": "Cluster",
                "apiVersion": "kind.x-k8s.io/v1alpha4",
                "networking": {"apiServerAddress": place.address, "apiServerPort": place.port},
            }
        )
    )
    kubeconfig = place.kubeconfig("admin")
    files = [f"--config={settings}", f"--kubeconfig={kubeconfig}"]
    _kind("create", "cluster", f"--name={name}", *files, "--wait=180s")
    _keep_credentials(kubeconfig, place.authority.folder)


def stop(name: str) -> None:
    """Remove the cluster of that name."""
    _kind("delete", "cluster", f"--name={_name(name)}", "--kubeconfig=/dev/null")


def load(name: str, archive: Path) -> None:
    """Load an image onto the node."""
    _kind("load", "image-archive", str(archive), f"--name={_name(name)}")


def lead(names: Iterable[str], to: str, range_: ipaddress.IPv4Network) -> None:
    """Let the nodes of clusters, and this machine where we are root, reach a cluster's range.

    Args:
        names: of the clusters whose pods shall reach it.
        to: the cluster that has it.
        range_: its load balancers' addresses.
    """
    node = commands.run(["docker", "inspect", f"--format={_INSPECT}", _node(to)]).strip()
    route = ["ip", "route", "replace", str(range_), "via", node]
    for name in names:
        if name != to:
            commands.run(["docker", "exec", _node(name), *route])
    if os.geteuid() == 0:
        commands.run(route)
    else:
        say(f"As root, for this machine to reach Services of {to}: {' '.join(route)}")


def _keep_credentials(kubeconfig: Path, folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    view = ["config", "view", "--raw", "--output=json"]
    text = commands.run([programs.path("kubectl"), f"--kubeconfig={kubeconfig}", *view])
    for file, (kinds, kind, key) in _CREDENTIALS.items():
        data = base64.b64decode(json.loads(text)[kinds][0][kind][key])
        (folder / file).write_bytes(data)


def _kind(*words: str) -> str:
    return commands.run([programs.path("kind"), *words], seconds=1200)


def _name(name: str) -> str:
    return f"isthmus-{name}"


def _node(name: str) -> str:
    return f"{_name(name)}-control-plane"
