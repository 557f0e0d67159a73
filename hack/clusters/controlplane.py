"""Kubernetes' control plane as processes: etcd, API server, controllers, scheduler.

It does not know of nodes and networks: where it listens, and how a process is started there, is
said in `Place`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clusters import kubeconfigs, programs, waiting
from clusters.api import Api
from clusters.certificates import Authority, Identity
from clusters.processes import Daemon

ETCD: Final = "etcd"
API_SERVER: Final = "kube-apiserver"
CONTROLLERS: Final = "kube-controller-manager"
SCHEDULER: Final = "kube-scheduler"

_READY: Final = 90.0
"""Seconds that the API server has; 5 on an idle machine."""

_FEW: Final = (
    "namespace-controller",
    "garbage-collector-controller",
    "serviceaccount-controller",
    "root-ca-certificate-publisher-controller",
    "clusterrole-aggregation-controller",
    "resourcequota-controller",
)
"""What keeps a cluster without nodes in order, and makes no pods: tests play these themselves."""

CHOICES: Final = {"few": ",".join(_FEW), "all": "*", "none": ""}
"""Which controllers run, by what a caller may say."""

_CLIENTS: Final = {
    "admin": "/O=system:masters/CN=admin",
    CONTROLLERS: "/CN=system:kube-controller-manager",
    SCHEDULER: "/CN=system:kube-scheduler",
}
_KUBELET_CLIENT: Final = "/O=system:masters/CN=kube-apiserver-kubelet-client"


@dataclass(frozen=True)
class Place:
    """Where a control plane lives.

    Attributes:
        folder: for its data, certificates, logs.
        address: on which its API server listens, and by which all reach it.
        port: of the API server.
        services: the range of Services' addresses, and its first one, the API server's own.
        enter: words before a command that start it in the place's network, if it has its own.
        has_nodes: whether kubelets will join.
    """

    folder: Path
    name: str
    address: str
    port: int
    services: str
    service: str
    enter: Sequence[str | Path] = ()
    has_nodes: bool = False

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://{self.address}:{self.port}"

    @property
    def authority(self) -> Authority:
        """The cluster's CA."""
        return Authority(self.folder / "pki")

    def daemon(self, name: str) -> Daemon:
        """One of its processes."""
        return Daemon(self.folder, name)

    def kubeconfig(self, who: str) -> Path:
        """The kubeconfig of `admin` or of a component."""
        return self.folder / ("kubeconfig" if who == "admin" else f"{who}.kubeconfig")

    def api(self) -> Api:
        """The API server, for the admin."""
        authority = self.authority
        return Api(
            self.server, authority.certificate, authority.identity("admin", _CLIENTS["admin"])
        )


def start(place: Place, controllers: str) -> None:
    """Start what does not run, and wait until the API server is ready.

    Args:
        place: where.
        controllers: one of `CHOICES`.

    Raises:
        Failed: it has not become ready; the text has the last lines of its log.
    """
    place.authority.ensure()
    for who, subject in _CLIENTS.items():
        write_kubeconfig(place, who, place.authority.identity(who, subject))
    start_api(place)
    if CHOICES[controllers]:
        command = _controllers(place, CHOICES[controllers])
        place.daemon(CONTROLLERS).start([*place.enter, *command])
        _wait_for_controllers(place)
    if place.has_nodes:
        place.daemon(SCHEDULER).start([*place.enter, *_scheduler(place)])


def _wait_for_controllers(place: Place) -> None:
    """Until there is what every pod needs: its ServiceAccount and the CA."""
    api, daemon = place.api(), place.daemon(CONTROLLERS)
    wanted = ("serviceaccounts/default", "configmaps/kube-root-ca.crt")

    def there() -> bool:
        found = (api.exists(f"/api/v1/namespaces/default/{path}") for path in wanted)
        return not daemon.running or all(found)

    def failure() -> str:
        return f"The controllers of {place.name} do nothing; {daemon.last_words()}"

    waiting.until(there, _READY, failure)
    waiting.until(lambda: daemon.running, 0, failure)


def write_kubeconfig(place: Place, who: str, identity: Identity) -> None:
    """Write the kubeconfig of `admin` or of a component."""
    ca = place.authority.certificate
    text = kubeconfigs.with_certificate(place.name, place.server, ca, identity)
    kubeconfigs.write(place.kubeconfig(who), text)


def start_api(place: Place) -> None:
    """Start etcd and the API server, or let them go on, and wait until it is ready."""
    etcd, server = place.daemon(ETCD), place.daemon(API_SERVER)
    etcd.start([*place.enter, *_etcd(place)])
    server.start([*place.enter, *_api_server(place)])
    etcd.thaw()
    server.thaw()
    api = place.api()

    def ready() -> bool:
        return api.ready() or not (etcd.running and server.running)

    def failure() -> str:
        ill = server if etcd.running else etcd
        return f"The API server of {place.name} is not ready; {ill.last_words()}"

    waiting.until(ready, _READY, failure)
    waiting.until(lambda: server.running and etcd.running, 0, failure)


def stop(place: Place) -> None:
    """End all of it, at once."""
    for name in (SCHEDULER, CONTROLLERS, API_SERVER, ETCD):
        place.daemon(name).stop(grace=0)


def _etcd(place: Place) -> list[str | Path]:
    # Sockets in the folder: no ports to find, and nobody else reads the Secrets.
    clients, peers = (
        f"unix://{place.folder}/run/etcd-{name}.sock" for name in ("clients", "peers")
    )
    itself = "http://localhost:2380"  # has to look like this; a single member never calls it
    return [
        programs.path(ETCD),
        "--name=default",
        f"--data-dir={place.folder}/etcd",
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={itself}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={itself}",
        f"--initial-cluster=default={itself}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _api_server(place: Place) -> list[str | Path]:
    authority = place.authority
    pki = authority.folder
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
    hosts = [*(f"DNS:{name}" for name in [*names, f"{names[2]}.cluster.local"])]
    hosts += [f"IP:{address}" for address in {place.address, place.service, "127.0.0.1"}]
    serving = authority.identity(API_SERVER, f"/CN={API_SERVER}", hosts)
    command: list[str | Path] = [
        programs.path(API_SERVER),
        f"--etcd-servers=unix://{place.folder}/run/etcd-clients.sock",
        f"--bind-address={place.address}",
        f"--advertise-address={place.address}",
        f"--secure-port={place.port}",
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
        f"--client-ca-file={authority.certificate}",
        f"--service-account-key-file={authority.token_key}",
        f"--service-account-signing-key-file={authority.token_key}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-cluster-ip-range={place.services}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--profiling=false",
        f"--cert-dir={pki}",
    ]
    if not place.has_nodes:
        return [*command, "--endpoint-reconciler-type=none"]  # it would refuse a loopback address
    kubelets = authority.identity("kubelet-client", _KUBELET_CLIENT)
    return [
        *command,
        f"--kubelet-client-certificate={kubelets.certificate}",
        f"--kubelet-client-key={kubelets.key}",
        f"--kubelet-certificate-authority={authority.certificate}",
        "--kubelet-preferred-address-types=InternalIP",  # a node's name resolves nowhere
    ]


def _controllers(place: Place, which: str) -> list[str | Path]:
    return [
        programs.path(CONTROLLERS),
        f"--kubeconfig={place.kubeconfig(CONTROLLERS)}",
        f"--service-account-private-key-file={place.authority.token_key}",
        f"--root-ca-file={place.authority.certificate}",
        f"--controllers={which}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--secure-port=0",
        "--node-monitor-grace-period=20s",
        "--kube-api-qps=100",
        "--kube-api-burst=200",
    ]


def _scheduler(place: Place) -> list[str | Path]:
    return [
        programs.path(SCHEDULER),
        f"--kubeconfig={place.kubeconfig(SCHEDULER)}",
        "--leader-elect=false",
        "--secure-port=0",
    ]
