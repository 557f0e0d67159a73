"""Kubernetes clusters with nodes: what tests from end to end stand on."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest

import clusters
from clusters import Cluster, commands, network_of
from waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

BROKER = "localhost/isthmus-broker:dev"
WITHHELD = "isthmus.test/no-address"
ADDRESS = "isthmus.test/address"

NOT_YET = re.compile(r"^\w*(OSError|ConnectionRefusedError|TimeoutError)", re.MULTILINE)
"""What a client says that reaches nobody."""

POD = f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: broker}}
data:
  isthmus.conf: |
    listeners.tcp.default.bind = 1883
    mqtt.allow_anonymous = true
---
apiVersion: v1
kind: Pod
metadata: {{name: broker, labels: {{app: broker}}}}
spec:
  securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
    - name: broker
      image: {BROKER}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {{drop: [ALL]}}
      readinessProbe: {{tcpSocket: {{port: 1883}}, periodSeconds: 1}}
      volumeMounts: [{{name: configuration, mountPath: /etc/isthmus}}]
    - name: echo
      image: {BROKER}
      command: [python3, -c]
      args:
        - |
          import http.server
          class Echo(http.server.BaseHTTPRequestHandler):
              def do_GET(self):
                  self.send_response(200)
                  self.end_headers()
                  self.wfile.write(str(self.headers).encode())
          http.server.HTTPServer(("", 8000), Echo).serve_forever()
      readinessProbe: {{tcpSocket: {{port: 8000}}, periodSeconds: 1}}
  volumes: [{{name: configuration, configMap: {{name: broker}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: broker}}
spec:
  type: LoadBalancer
  selector: {{app: broker}}
  ports: [{{port: 1883}}]
"""

ROUND_TRIP = """
import asyncio, sys
import gmqtt

async def main():
    client, came = gmqtt.Client("tester"), asyncio.get_running_loop().create_future()
    client.on_message = lambda c, topic, payload, qos, properties: came.set_result(payload)
    client.on_connect = lambda c, flags, rc, properties: c.subscribe("a/b", qos=1)
    client.on_subscribe = lambda c, mid, qos, properties: c.publish("a/b", sys.argv[2], qos=1)
    await asyncio.wait_for(client.connect(sys.argv[1], 1883), 5)
    print((await asyncio.wait_for(came, 20)).decode())
    await client.disconnect()

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def both() -> Iterator[list[Cluster]]:
    with clusters.temporary(["left", "right"]) as found:
        for cluster in found.values():
            cluster.load("broker")
            cluster.kubectl("apply", "--filename=-", stdin=POD)
        for cluster in found.values():
            cluster.kubectl("wait", "--for=condition=Ready", "pod/broker", "--timeout=110s")
        yield list(found.values())


def load_balancer(cluster: Cluster) -> str:
    path = "--output=jsonpath={.status.loadBalancer.ingress[0].ip}"
    return cluster.kubectl("get", "service", "broker", path)


def in_pod(cluster: Cluster, *command: str) -> str:
    return cluster.kubectl("exec", "broker", "--container=broker", "--", *command).strip()


def assert_round_trip(run: Callable[..., str], address: str, text: str) -> None:
    """A client that `run` runs sends itself a message through the broker at an address.

    kube-proxy needs a moment to learn of an address, and connections are refused until then.
    """

    def came() -> bool:
        try:
            return run("python3", "-c", ROUND_TRIP, address, text).strip() == text
        except clusters.Failed as error:
            if NOT_YET.search(str(error)):
                return False
            raise

    wait_for(came, 30, f"a message through {address}")


def test_a_pod_reaches_the_other_clusters_load_balancer(both: list[Cluster]) -> None:
    left, right = both
    address = wait_for(lambda: load_balancer(right))
    assert_round_trip(partial(in_pod, left), address, "hello")


def test_this_machine_reaches_a_load_balancer(both: list[Cluster]) -> None:
    left, _ = both
    address = wait_for(lambda: load_balancer(left))

    def run(program: str, *arguments: str) -> str:
        return commands.run([sys.executable, *arguments])

    assert_round_trip(run, address, "hello")


def test_pods_find_services_by_name(both: list[Cluster]) -> None:
    left, _ = both
    name = "broker.default.svc.cluster.local"
    assert_round_trip(partial(in_pod, left), name, "hello")


def test_a_name_outside_of_the_cluster_does_not_exist(both: list[Cluster]) -> None:
    left, _ = both
    with pytest.raises(clusters.Failed, match="gaierror"):
        in_pod(left, "python3", "-c", "import socket; socket.gethostbyname('example.org')")


def test_a_load_balancers_address_is_withheld_and_changed_on_demand(both: list[Cluster]) -> None:
    _, right = both
    other = str(list(network_of(right.record).load_balancers.hosts())[50])
    first = wait_for(lambda: load_balancer(right))
    right.kubectl("annotate", "service", "broker", f"{WITHHELD}=true")
    wait_for(lambda: load_balancer(right) == "")
    right.kubectl("annotate", "service", "broker", f"{WITHHELD}-", f"{ADDRESS}={other}")
    wait_for(lambda: load_balancer(right) == other)
    assert_round_trip(partial(in_pod, both[0]), other, "moved")
    right.kubectl("annotate", "service", "broker", f"{ADDRESS}={first}", "--overwrite")
    wait_for(lambda: load_balancer(right) == first)


def test_logs_can_be_read(both: list[Cluster]) -> None:
    left, _ = both
    assert "1883" in left.kubectl("logs", "broker", "--container=broker")


def test_the_pod_proxy_passes_headers_of_our_own(both: list[Cluster]) -> None:
    left, _ = both
    path = "/api/v1/namespaces/default/pods/broker:8000/proxy/"
    assert "X-Isthmus-Key: abc" in get(left, path, {"X-Isthmus-Key": "abc"})


def test_a_pod_has_a_token_that_the_api_server_knows(both: list[Cluster]) -> None:
    left, _ = both
    script = """
import json, ssl, urllib.request
own = "/var/run/secrets/kubernetes.io/serviceaccount"
request = urllib.request.Request(
    "https://kubernetes.default.svc/apis/authentication.k8s.io/v1/selfsubjectreviews",
    data=b'{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}',
)
request.add_header("Authorization", f"Bearer {open(own + '/token').read()}")
request.add_header("Content-Type", "application/json")
context = ssl.create_default_context(cafile=own + "/ca.crt")
print(urllib.request.urlopen(request, context=context).read().decode())
"""
    said = json.loads(in_pod(left, "python3", "-c", script))
    assert said["status"]["userInfo"]["username"] == "system:serviceaccount:default:default"


def test_pods_go_on_without_their_kubelet(both: list[Cluster]) -> None:
    left, right = both
    right.stop_kubelet()
    address = wait_for(lambda: load_balancer(right))
    assert_round_trip(partial(in_pod, left), address, "still there")
    status = "--output=jsonpath={.items[0].status.conditions[?(@.type=='Ready')].status}"
    wait_for(lambda: right.kubectl("get", "nodes", status) == "Unknown", 90)
    right.start_kubelet()
    wait_for(lambda: right.kubectl("get", "nodes", status) == "True", 60)


def test_down_leaves_nothing() -> None:
    before = traces()
    with clusters.temporary(["short"]) as found:
        cluster = found["short"]
        cluster.load("broker")
        cluster.kubectl("apply", "--filename=-", stdin=POD)
        cluster.kubectl("wait", "--for=condition=Ready", "pod/broker", "--timeout=110s")
        network = network_of(cluster.record)
        signs = (cluster.name, f"{network.cable} ", f"{network.cable}@", network.gateway)
        assert of(signs, traces() - before)
    assert of(signs, traces() - before) == []


def of(signs: Iterable[str], found: Iterable[str]) -> list[str]:
    return [trace for trace in found if any(sign in trace for sign in signs)]


def traces() -> set[str]:
    """What a cluster may leave behind: mounts, namespaces, cables, control groups, processes."""
    listings = [["ip", "netns", "list"], ["ip", "-brief", "link"], ["ip", "route"]]
    found = {
        line
        for command in listings
        for line in subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.splitlines()
    }
    found |= set(Path("/proc/self/mountinfo").read_text().splitlines())
    found |= {str(path) for path in Path("/sys/fs/cgroup").rglob("*isthmus*")}
    for kept in ("/var/lib/cni", "/var/log/containers", "/run/containerd"):
        found |= {f"{path} -> {path.resolve()}" for path in Path(kept).rglob("*")}
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.add(entry.read_text(errors="replace"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def get(cluster: Cluster, path: str, headers: dict[str, str]) -> str:
    """What the API server answers to the admin."""
    api = clusters.place_of(cluster.record).api()
    context = ssl.create_default_context(cafile=str(api.ca))
    context.load_cert_chain(api.identity.certificate, api.identity.key)
    address = urllib.parse.urlsplit(api.server).netloc
    connection = http.client.HTTPSConnection(address, context=context, timeout=30)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().read().decode()
    finally:
        connection.close()
