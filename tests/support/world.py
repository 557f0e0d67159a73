"""Two real Kubernetes clusters with the operator installed by its chart, as a user would see them.

Everything is asked of kubectl; messages go through paho's clients, to the brokers' load balancers.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as paho
import yaml

from clusters import Cluster, programs
from waiting import wait_for

ROOT: Final = Path(__file__).parents[2]
US, EU = "us-east", "eu-west"
"""The two Kubernetes clusters; the operator runs in the first."""
SYSTEM: Final = "isthmus"
"""The operator's namespace."""
BROKER_IMAGE: Final = "localhost/isthmus-broker:dev"
READY: Final = 120.0
"""Seconds in which a pod is started and a link is up, on a busy machine, too."""
SETTLED: Final = 60.0

Manifest = dict[str, Any]


class World:
    """The clusters, and one namespace of the same name in each."""

    def __init__(self, found: Mapping[str, Cluster], namespace: str) -> None:
        self.clusters = found
        self.us, self.eu = found[US], found[EU]
        self.namespace = namespace

    # -- kubectl ---------------------------------------------------------------------------------

    def kubectl(self, *arguments: str, on: str = US, **more: Any) -> str:
        """Run kubectl in this world's namespace."""
        return self.clusters[on].kubectl("-n", self.namespace, *arguments, **more)

    def get(self, kind: str, name: str, on: str = US) -> Manifest:
        """One object."""
        found: Manifest = json.loads(self.kubectl("get", kind, name, "-o", "json", on=on))
        return found

    def items(self, kind: str, on: str = US, selector: str = "") -> list[Manifest]:
        """All objects of a kind."""
        chosen = ["-l", selector] if selector else []
        found: list[Manifest] = json.loads(self.kubectl("get", kind, *chosen, "-o", "json", on=on))[
            "items"
        ]
        return found

    def apply(self, *manifests: Manifest, on: str = US) -> None:
        """Apply resources."""
        self.kubectl("apply", "-f", "-", on=on, stdin=yaml.safe_dump_all(manifests))

    def patch(self, kind: str, name: str, spec: Manifest, on: str = US) -> None:
        """Merge into the spec of an object."""
        body = json.dumps({"spec": spec})
        self.kubectl("patch", kind, name, "--type=merge", "-p", body, on=on)

    def wait(self, what: str, condition: str = "Ready", seconds: float = READY) -> None:
        """`kubectl wait` for a condition; a failure shows the status."""
        try:
            self.kubectl("wait", what, f"--for=condition={condition}", f"--timeout={seconds:.0f}s")
        except Exception as error:
            raise AssertionError(f"{error}\n{self.kubectl('get', what, '-o', 'yaml')}") from error

    def condition(self, what: str, kind: str = "Ready") -> Manifest:
        """One condition of a resource, as it stands; empty where there is none."""
        status = json.loads(self.kubectl("get", what, "-o", "json")).get("status", {})
        found = [one for one in status.get("conditions", []) if one["type"] == kind]
        return found[0] if found else {}

    def wait_reason(self, what: str, reason: str, seconds: float = SETTLED) -> Manifest:
        """Wait until a resource is not ready for this reason; returns the condition."""

        def is_so() -> Manifest | None:
            found = self.condition(what)
            return found if found.get("reason") == reason else None

        try:
            found = wait_for(is_so, seconds)
        except AssertionError as error:
            raise AssertionError(f"{what}: {reason} expected; {self.condition(what)}") from error
        assert found is not None
        return found

    # -- brokers ---------------------------------------------------------------------------------

    def pods(self, cluster: str, on: str = US) -> dict[str, tuple[str, int]]:
        """A broker's pods: UID, and how often containers restarted, by name."""
        found = {}
        for pod in self.items("pods", on, f"app.kubernetes.io/instance={cluster}"):
            statuses = pod["status"].get("containerStatuses", [])
            restarts = sum(status["restartCount"] for status in statuses)
            found[pod["metadata"]["name"]] = (pod["metadata"]["uid"], restarts)
        return found

    def address(self, cluster: str, on: str = US) -> tuple[str, int]:
        """Where clients reach a broker from here."""

        def is_so() -> tuple[str, int] | None:
            service = self.get("service", cluster, on)
            found = service["status"].get("loadBalancer", {}).get("ingress", [])
            return (found[0]["ip"], service["spec"]["ports"][0]["port"]) if found else None

        address = wait_for(is_so, SETTLED)
        assert address is not None
        return address


# -- resources -------------------------------------------------------------------------------------


def broker_cluster(name: str, *, on: str = US, **spec: Any) -> Manifest:
    """A BrokerCluster that clients here reach, and anybody may use."""
    placement = {"kubeconfigSecretRef": {"name": on}} if on != US else {}
    return {
        "apiVersion": "isthmus.dev/v1alpha1",
        "kind": "BrokerCluster",
        "metadata": {"name": name},
        "spec": {
            **({"placement": placement} if placement else {}),
            "listeners": {"mqtt": {"service": {"type": "LoadBalancer"}}},
            "authentication": {"anonymous": True},
            **spec,
        },
    }


def cluster_link(name: str, *ends: Manifest, **spec: Any) -> Manifest:
    """A ClusterLink."""
    return {
        "apiVersion": "isthmus.dev/v1alpha1",
        "kind": "ClusterLink",
        "metadata": {"name": name},
        "spec": {"ends": list(ends), **spec},
    }


def end(cluster: str, topics: Sequence[str] = ("#",)) -> Manifest:
    """One end of a link."""
    return {"cluster": {"name": cluster}, "topics": list(topics)}


# -- clients ---------------------------------------------------------------------------------------


class Client:
    """A client of paho: what it has got, and publishing until it is acknowledged."""

    def __init__(self, address: tuple[str, int], *filters: str, qos: int = 2) -> None:
        self.got: list[tuple[str, bytes, int]] = []
        self._subscribed = not filters
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_connect = lambda *_: self._subscribe(filters, qos)
        self._client.on_subscribe = self._is_subscribed
        self._client.on_message = lambda _c, _u, m: self.got.append((m.topic, m.payload, m.qos))
        self._client.reconnect_delay_set(0.2, 1)
        self._client.connect(*address)
        self._client.loop_start()
        wait_for(lambda: self._subscribed and self._client.is_connected(), what="subscribed")

    def _subscribe(self, filters: Sequence[str], qos: int) -> None:
        if filters:
            self._client.subscribe([(one, paho.SubscribeOptions(qos)) for one in filters])

    def _is_subscribed(self, *_: object) -> None:
        self._subscribed = True

    def publish(self, topic: str, payload: str, qos: int = 1) -> None:
        """Publish, and wait until the broker has it."""
        self._client.publish(topic, payload, qos).wait_for_publish(SETTLED)

    def payloads(self) -> list[str]:
        """What has come, in its order."""
        return [payload.decode() for _, payload, _ in self.got]

    def close(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()


# -- the operator ----------------------------------------------------------------------------------


def helm(cluster: Cluster, *arguments: str) -> str:
    """Run helm against a cluster."""
    command = [str(programs.path("helm")), f"--kubeconfig={cluster.kubeconfig}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def complaints(cluster: Cluster) -> list[str]:
    """Lines of the operator's logs that tell of an error of its own."""
    text = cluster.kubectl(
        "-n", SYSTEM, "logs", "-l", "app.kubernetes.io/name=isthmus-operator", "--tail=-1"
    )
    marks = ("Traceback", '"level": "error"', '"level":"error"', "[error", "[critical")
    return [line for line in text.splitlines() if any(mark in line for mark in marks)]


@contextmanager
def namespace(found: Mapping[str, Cluster], name: str) -> Iterator[World]:
    """A namespace in both clusters, with the kubeconfig of the second in the first."""
    for cluster in found.values():
        cluster.kubectl("create", "namespace", name)
    world = World(found, name)
    world.kubectl(
        "create", "secret", "generic", EU, f"--from-file=kubeconfig={found[EU].kubeconfig}"
    )
    try:
        yield world
    finally:
        for cluster in found.values():
            cluster.kubectl("delete", "namespace", name, "--wait=false")
