"""The one node of a full cluster: containerd, kubelet, kube-proxy, in the cluster's network."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clusters import cgroups, commands, controlplane, mounts, processes, programs, traces, waiting
from clusters.controlplane import Place
from clusters.network import Network
from clusters.processes import Daemon

CONTAINERD: Final = "containerd"
KUBELET: Final = "kubelet"
PROXY: Final = "kube-proxy"

PAUSE: Final = "localhost/isthmus-pause:1"
"""Image of the process that holds a pod's namespaces."""

_READY: Final = 90.0
"""Seconds that the node has; 5 on an idle machine."""
_CNI_BINARIES: Final = "/usr/lib/cni"


@dataclass(frozen=True)
class Node:
    """The node of a cluster."""

    place: Place
    network: Network

    @property
    def folder(self) -> Path:
        """The cluster's folder."""
        return self.place.folder

    @property
    def group(self) -> str:
        """The control group of its containers."""
        return f"isthmus-{self.place.name}"

    @property
    def socket(self) -> Path:
        """Where its containerd listens."""
        return self.folder / "run" / "containerd.sock"

    def daemon(self, name: str) -> Daemon:
        """One of its processes."""
        return Daemon(self.folder, name)

    def start(self, cluster_dns: str, pause: Path) -> None:
        """Start what does not run, and wait until the node is ready.

        Args:
            cluster_dns: address of the cluster's DNS.
            pause: archive of the image `PAUSE`.

        Raises:
            Failed: it has not become ready; the text has the last lines of the kubelet's log.
        """
        cgroups.ensure(self.group)
        self._write_settings(cluster_dns)
        if self._run(CONTAINERD, [CONTAINERD, "-c", self.folder / "containerd.toml"]):
            self._wait_for_containerd()
            self.load(pause)
        self.start_kubelet()
        self._run(PROXY, _proxy(self.place, self.network))
        self._wait_until_ready()

    def start_kubelet(self) -> None:
        """Start the kubelet, or let it go on."""
        self._run(KUBELET, _kubelet(self.place, self.network))
        self.daemon(KUBELET).thaw()

    def load(self, archive: Path) -> None:
        """Load an image from an archive, as docker and buildah write it."""
        ctr = ["ctr", f"--address={self.socket}", "--namespace=k8s.io"]
        commands.run([*ctr, "images", "import", archive])

    def stop(self) -> None:
        """End it and all of its containers, at once, and unmount what they had."""
        for name in (KUBELET, PROXY, CONTAINERD):
            self.daemon(name).stop(grace=0)
        for pid in self._shims():
            processes.end(pid, grace=0)
        cgroups.end_all(self.group)
        mounts.unmount_below(self.folder)
        cgroups.remove(self.group)
        traces.remove(self.group, self.folder)

    def _run(self, name: str, command: list[str | Path]) -> bool:
        return self.daemon(name).start([*self.network.enter, *command])

    def _shims(self) -> Iterator[int]:
        """What containerd starts to mind a container; they outlive it."""
        for pid in processes.everyone():
            words = processes.command_line(pid)
            if words and "containerd-shim" in words[0] and str(self.socket) in words:
                yield pid

    def _wait_for_containerd(self) -> None:
        daemon = self.daemon(CONTAINERD)

        def failure() -> str:
            return f"containerd of {self.place.name} does not answer; {daemon.last_words()}"

        waiting.until(lambda: _answers(self.socket) or not daemon.running, _READY, failure)
        waiting.until(lambda: daemon.running, 0, failure)

    def _wait_until_ready(self) -> None:
        api, daemon = self.place.api(), self.daemon(KUBELET)
        path = f"/api/v1/nodes/{self.place.name}"

        def ready() -> bool:
            if not daemon.running:
                return True
            return api.exists(path) and _condition(api.get(path), "Ready") == "True"

        def failure() -> str:
            return f"The node of {self.place.name} is not ready; {daemon.last_words()}"

        waiting.until(ready, _READY, failure)
        waiting.until(lambda: daemon.running, 0, failure)

    def _write_settings(self, cluster_dns: str) -> None:
        place = self.place
        for who, subject in {
            KUBELET: f"/O=system:nodes/CN=system:node:{place.name}",
            PROXY: "/CN=system:kube-proxy",
        }.items():
            controlplane.write_kubeconfig(place, who, place.authority.identity(who, subject))
        (self.folder / "containerd.toml").write_text(_containerd(self.folder, self.socket))
        network = self.folder / "cni" / "10-bridge.conflist"
        network.parent.mkdir(exist_ok=True)
        network.write_text(json.dumps(_bridge(self.group, self.network.pods, self.folder)))
        settings = _kubelet_settings(self, cluster_dns)
        (self.folder / "kubelet.json").write_text(json.dumps(settings, indent=1))
        # The kubelet and containerd would make folders of the machine otherwise.
        for name in ("plugins", "opt"):
            (self.folder / name).mkdir(exist_ok=True)


def _condition(node: dict[str, Any], kind: str) -> str:
    conditions = node.get("status", {}).get("conditions", [])
    return next((str(c["status"]) for c in conditions if c["type"] == kind), "Unknown")


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


def _containerd(folder: Path, listen: Path) -> str:
    """Settings of containerd.

    Without CAP_SYS_RESOURCE no score below one's own may be set, hence `restrict_oom_score_adj`.
    """
    return f"""\
version = 2
root = "{folder}/containerd"
state = "{folder}/run/containerd"
[grpc]
  address = "{listen}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = {"false" if _may_raise_limits() else "true"}
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{_snapshotter(folder)}"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = "{folder}/run/runc"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{_CNI_BINARIES}"
    conf_dir = "{folder}/cni"
"""


def _may_raise_limits() -> bool:
    """Whether we have CAP_SYS_RESOURCE, number 24; capabilities(7)."""
    status = Path("/proc/self/status").read_text()
    effective = status.partition("CapEff:")[2].split()[0]
    return bool(int(effective, 16) >> 24 & 1)


def _snapshotter(folder: Path) -> str:
    """Overlay does not lie on overlay, which is what a container's own file system is."""
    said = subprocess.run(
        ["stat", "--file-system", "--format=%T", folder], capture_output=True, text=True, check=True
    )
    return "native" if said.stdout.strip() == "overlayfs" else "overlayfs"


def _bridge(name: str, pods: str, folder: Path) -> dict[str, Any]:
    """Network of the pods: a bridge, and the node's address for what leaves it."""
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": f"{folder}/run/addresses",
    }
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": addresses,
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": name, "plugins": [bridge, ports]}


def _kubelet_settings(node: Node, cluster_dns: str) -> dict[str, Any]:
    authority = node.place.authority
    hosts = [f"DNS:{node.place.name}", f"IP:{node.network.node}"]
    serving = authority.identity("kubelet-server", f"/CN={node.place.name}", hosts)
    never = {"nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"}
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority.certificate)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(serving.certificate),
        "tlsPrivateKeyFile": str(serving.key),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{node.group}",
        "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{node.socket}",
        "clusterDNS": [cluster_dns],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        # Whether the machine's disk is full is none of a test's business.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": never,
        "podLogsDir": f"{node.folder}/pods",
        "volumePluginDir": f"{node.folder}/plugins",
        "nodeStatusReportFrequency": "1m",
        "maxPods": 110,
    }


def _kubelet(place: Place, network: Network) -> list[str | Path]:
    return [
        programs.path(KUBELET),
        f"--config={place.folder}/kubelet.json",
        f"--kubeconfig={place.kubeconfig(KUBELET)}",
        f"--root-dir={place.folder}/kubelet",
        f"--cert-dir={place.folder}/pki",
        f"--hostname-override={place.name}",
        f"--node-ip={network.node}",
    ]


def _proxy(place: Place, network: Network) -> list[str | Path]:
    return [
        programs.path(PROXY),
        f"--kubeconfig={place.kubeconfig(PROXY)}",
        f"--hostname-override={place.name}",
        f"--cluster-cidr={network.pods}",
        "--proxy-mode=iptables",
        "--conntrack-max-per-core=0",  # of the whole machine, not ours to set
    ]
