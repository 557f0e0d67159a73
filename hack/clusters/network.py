"""A network namespace for a cluster, and a cable from it to the machine.

The machine routes between the clusters' namespaces and to their load balancers' addresses; nothing
else of it is changed: forwarding is switched on for these cables alone, and goes with them.

Addresses are of 198.18.0.0/15, which is set aside for tests (RFC 2544) and in use nowhere else.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clusters import commands, processes
from clusters.errors import Failed
from clusters.locking import locked

_NAMESPACES: Final = Path("/run/netns")
_CABLE: Final = "isthmus"
"""What the names of all cables begin with."""

_PASS: Final = ["-i", f"{_CABLE}+", "-o", f"{_CABLE}+", "-j", "ACCEPT"]
"""Rule that lets clusters reach each other on a machine whose firewall forwards nothing."""


@dataclass(frozen=True)
class Network:
    """The network of a cluster with that name and number."""

    name: str
    number: int

    @property
    def namespace(self) -> str:
        """Name of the network namespace, for `ip netns`."""
        return f"isthmus-{self.name}"

    @property
    def cable(self) -> str:
        """The machine's end of the cable."""
        return f"{_CABLE}{self.number}"

    @property
    def gateway(self) -> str:
        """The machine's address there."""
        return f"198.18.{self.number}.1"

    @property
    def node(self) -> str:
        """The node's address; the machine and other clusters reach it."""
        return f"198.18.{self.number}.2"

    @property
    def load_balancers(self) -> ipaddress.IPv4Network:
        """Addresses for Services; the machine and other clusters' pods reach them."""
        return ipaddress.IPv4Network(f"198.18.{self.number}.128/25")

    @property
    def pods(self) -> str:
        """Range of pods' addresses; leaving the cluster, they take the node's address."""
        return f"198.19.{self.number}.0/24"

    @property
    def enter(self) -> list[str]:
        """Words before a command that start it in there.

        Not `ip netns exec`: that hides /sys/fs/cgroup, and the kubelet can't live without.
        """
        return ["nsenter", f"--net={_NAMESPACES / self.namespace}", "--"]

    def free(self) -> bool:
        """Whether nobody has a cable of that number; another user's clusters may."""
        return not Path(f"/sys/class/net/{self.cable}").exists()

    def ensure(self) -> None:
        """Make what of it is not there.

        Raises:
            Failed: the kernel refuses.
        """
        with locked("namespaces"):
            if not (_NAMESPACES / self.namespace).exists():
                commands.run(["ip", "netns", "add", self.namespace])
        if self.free():
            peer = ["peer", "name", "eth0", "netns", self.namespace]
            commands.run(["ip", "link", "add", self.cable, "type", "veth", *peer])
        _ip("addr", "replace", f"{self.gateway}/25", "dev", self.cable)
        _ip("link", "set", self.cable, "up")
        inside = ["-n", self.namespace]
        _ip(*inside, "addr", "replace", f"{self.node}/25", "dev", "eth0")
        _ip(*inside, "link", "set", "eth0", "up")
        _ip(*inside, "link", "set", "lo", "up")
        _ip(*inside, "route", "replace", "default", "via", self.gateway)
        _ip("route", "replace", str(self.load_balancers), "via", self.node)
        commands.run([*self.enter, "sysctl", "-qw", "net.ipv4.ip_forward=1"])
        commands.run(["sysctl", "-qw", f"net.ipv4.conf.{self.cable}.forwarding=1"])
        with locked("firewall"):
            _let_pass()

    def remove(self) -> None:
        """Remove it, and end whatever still runs in it."""
        if (_NAMESPACES / self.namespace).exists():
            for pid in commands.run(["ip", "netns", "pids", self.namespace]).split():
                processes.end(int(pid), grace=0)
            with locked("namespaces"):
                commands.run(["ip", "netns", "delete", self.namespace])
                _remove_folder()
        self._remove_cable()
        with locked("firewall"):
            if not any(Path("/sys/class/net").glob(f"{_CABLE}*")):
                _let_pass_no_longer()

    def _remove_cable(self) -> None:
        """Remove what may go by itself: the kernel takes its time with a namespace's end of it."""
        if self.free():
            return
        try:
            _ip("link", "delete", self.cable)
        except Failed:
            if not self.free():
                raise


def _remove_folder() -> None:
    """Remove what `ip netns add` made for the first one, where that was the last one."""
    if not any(_NAMESPACES.iterdir()):
        commands.succeeds(["umount", _NAMESPACES])
        _NAMESPACES.rmdir()


def _ip(*words: str) -> None:
    commands.run(["ip", *words])


def _let_pass() -> None:
    if _forwards_nothing() and not commands.succeeds(["iptables", "-C", "FORWARD", *_PASS]):
        commands.run(["iptables", "-I", "FORWARD", *_PASS])


def _let_pass_no_longer() -> None:
    if _forwards_nothing() and commands.succeeds(["iptables", "-C", "FORWARD", *_PASS]):
        commands.run(["iptables", "-D", "FORWARD", *_PASS])


def _forwards_nothing() -> bool:
    """Whether the machine's firewall drops what it was not told to forward."""
    try:
        return "-P FORWARD DROP" in commands.run(["iptables", "-S", "FORWARD"])
    except Failed:
        return False  # no such firewall in this kernel
