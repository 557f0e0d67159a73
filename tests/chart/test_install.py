"""The chart in a real API server, by the real helm: installed, upgraded, uninstalled; its rights.

There are no nodes: pods are only asked for, and the Job of the uninstall is played, by its code and
with its ServiceAccount's rights.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from charts import (
    CHART,
    NAME,
    NAMESPACE,
    RELEASE,
    Refused,
    command,
    helm,
    named,
    rendered,
    settings,
)
from clusters import Cluster, temporary, waiting
from isthmus_operator.names import FINALIZER
from isthmus_operator.uninstall import Deployment, stop

pytestmark = pytest.mark.kube

Document = dict[str, Any]

WATCHED = "mqtt"
OTHER = "other"
HOOK = f"{NAME}-uninstall"
BEFORE_UNINSTALL = 60.0


@pytest.fixture(scope="module")
def api_server() -> Iterator[Cluster]:
    with temporary(["chart"], control_plane=True) as found:
        server = found["chart"]
        for namespace in (NAMESPACE, WATCHED, OTHER):
            server.kubectl("create", "namespace", namespace)
        level = "pod-security.kubernetes.io/enforce=restricted"
        server.kubectl("label", "namespace", NAMESPACE, level)
        yield server


def install(server: Cluster, verb: str = "install", chart: Path = CHART, **values: Any) -> str:
    arguments = (verb, RELEASE, str(chart), "--namespace", NAMESPACE)
    return helm(*arguments, *settings(values), cluster=server)


@contextlib.contextmanager
def installed(server: Cluster, **values: Any) -> Iterator[str]:
    try:
        yield install(server, **values)
    finally:
        helm(
            "uninstall",
            RELEASE,
            "-n",
            NAMESPACE,
            "--no-hooks",
            "--ignore-not-found",
            cluster=server,
        )


@pytest.fixture(params=["cluster-wide", "namespaced"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def values_of(mode: str) -> Document:
    return {"watchNamespaces": [WATCHED]} if mode == "namespaced" else {}


def resource(server: Cluster, namespace: str, name: str, finalizers: list[str]) -> None:
    document = {
        "apiVersion": "isthmus.dev/v1alpha1",
        "kind": "BrokerCluster",
        "metadata": {"name": name, "namespace": namespace, "finalizers": finalizers},
        "spec": {},
    }
    server.kubectl("create", "-f", "-", stdin=json.dumps(document))


def finalizers(server: Cluster, namespace: str, name: str) -> list[str]:
    found = json.loads(server.kubectl("get", "bc", name, "-n", namespace, "-o", "json"))
    return list(found["metadata"].get("finalizers", []))


def there(server: Cluster, kind: str, name: str, namespace: str = NAMESPACE) -> bool:
    return bool(server.kubectl("get", kind, "-n", namespace, "--ignore-not-found", name))


# -- install and upgrade ---------------------------------------------------------------------------


def test_notes_say_what_to_type_next_and_it_works(api_server: Cluster) -> None:
    with installed(api_server) as said:
        manifest = said.split("<<YAML\n")[1].split("YAML\n")[0].replace("\n  ", "\n").strip()

        applied = api_server.kubectl("apply", "--dry-run=server", "-f", "-", stdin=manifest + "\n")

    assert "clusterlink.isthmus.dev/atlantic created (server dry run)" in applied
    assert "kubectl wait -n default --for=condition=Ready clink/atlantic" in said


def test_a_namespace_with_restricted_pods_takes_every_pod(api_server: Cluster) -> None:
    with installed(api_server):
        for document in rendered({"replicas": 2}):
            pod: Document
            if document["kind"] == "Pod":
                pod = document
            elif document["kind"] in ("Deployment", "Job"):
                template = document["spec"]["template"]
                meta = {**template["metadata"], "name": "x", "namespace": NAMESPACE}
                spec = {**template["spec"], "serviceAccountName": "default"}
                pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
            else:
                continue
            api_server.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))


def test_upgrade_brings_the_crds_up_to_date(api_server: Cluster, tmp_path: Path) -> None:
    older = tmp_path / "chart"
    shutil.copytree(CHART, older)
    template = older / "templates/crds/clusterlinks.yaml"
    text = template.read_text()
    template.write_text(
        text.replace("                poolSize:\n", "                formerSize:\n")
    )
    assert template.read_text() != text
    with installed(api_server, chart=older):
        published = "{.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties}"
        arguments = ("get", "crd", "clusterlinks.isthmus.dev", "-o", f"jsonpath={published}")
        assert "poolSize" not in json.loads(api_server.kubectl(*arguments))

        install(api_server, "upgrade")

        fields = json.loads(api_server.kubectl(*arguments))
        assert "poolSize" in fields and "formerSize" not in fields


def test_mode_can_be_changed_by_an_upgrade(api_server: Cluster) -> None:
    with installed(api_server):
        install(api_server, "upgrade", watchNamespaces=[WATCHED])

        assert not there(api_server, "clusterrole", f"{NAME}-{NAMESPACE}")
        assert there(api_server, "role", NAME, WATCHED)


# -- rights ----------------------------------------------------------------------------------------


def may(server: Cluster, who: str, verb: str, what: str, namespace: str, name: str = "") -> bool:
    """Whether a ServiceAccount may; `what` is RESOURCE[/SUBRESOURCE][.GROUP]."""
    path, _, group = what.partition(".")
    resource, _, subresource = path.partition("/")
    asked = {
        "verb": verb,
        "group": group,
        "resource": resource,
        "subresource": subresource,
        "namespace": namespace,
        "name": name,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{NAMESPACE}:{who}",
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "resourceAttributes": asked,
        },
    }
    said = server.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(review))
    return bool(json.loads(said)["status"]["allowed"])


WANTED = [
    ("watch", "brokerclusters.isthmus.dev"),
    ("patch", "clusterlinks.isthmus.dev"),
    ("patch", "clusterlinks/status.isthmus.dev"),
    ("watch", "secrets"),
    ("create", "secrets"),
    ("patch", "statefulsets.apps"),
    ("delete", "poddisruptionbudgets.policy"),
    ("patch", "networkpolicies.networking.k8s.io"),
    ("patch", "pods"),
    ("get", "pods/proxy"),
    ("create", "events"),
    ("create", "certificates.cert-manager.io"),
    ("get", "namespaces"),
]
UNWANTED = [
    ("create", "brokerclusters.isthmus.dev"),
    ("delete", "clusterlinks.isthmus.dev"),
    ("create", "pods"),
    ("create", "pods/exec"),
    ("create", "pods/proxy"),
    ("delete", "pods"),
    ("create", "deployments.apps"),
    ("create", "rolebindings.rbac.authorization.k8s.io"),
    ("get", "customresourcedefinitions.apiextensions.k8s.io"),
    ("create", "serviceaccounts/token"),
    ("get", "nodes"),
    ("delete", "namespaces"),
]


def test_rights_are_those_and_no_more(api_server: Cluster, mode: str) -> None:
    with installed(api_server, **values_of(mode)):
        for verb, what in WANTED:
            assert may(api_server, NAME, verb, what, WATCHED), (verb, what)
            elsewhere = may(api_server, NAME, verb, what, OTHER)
            assert elsewhere is (mode == "cluster-wide"), (verb, what)
        for verb, what in UNWANTED:
            assert not may(api_server, NAME, verb, what, WATCHED), (verb, what)
        assert may(api_server, NAME, "create", "leases.coordination.k8s.io", NAMESPACE)
        assert may(api_server, NAME, "patch", "leases.coordination.k8s.io", NAMESPACE, NAME)
        assert not may(api_server, NAME, "patch", "leases.coordination.k8s.io", NAMESPACE, "other")


def test_a_remote_operator_has_what_the_chart_gives_for_brokers_and_no_more(
    api_server: Cluster,
) -> None:
    manifest = CHART.parents[1] / "docs/remote-access.yaml"
    role = next(one for one in yaml.safe_load_all(manifest.read_text()) if one["kind"] == "Role")
    given = named(rendered({"watchNamespaces": [WATCHED]}), "Role")["rules"]
    brokers = [
        rule
        for rule in given
        if rule["apiGroups"][0] in ("", "apps", "policy", "networking.k8s.io")
        and rule["resources"] != ["events"]
    ]

    api_server.kubectl("apply", "-n", OTHER, "-f", str(manifest))

    assert role["rules"] == brokers


# -- uninstall -------------------------------------------------------------------------------------


def released(kubeconfig: Path, *arguments: str) -> list[str]:
    """What the command says."""
    program = "import typer, isthmus_operator.uninstall as u; typer.run(u.release_finalizers)"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("KUBERNETES_")},
        "KUBECONFIG": str(kubeconfig),
    }
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def play_the_job(server: Cluster) -> list[str]:
    """What the Job's pod would do, with its rights; then what the Job's controller would say."""
    job = json.loads(server.kubectl("get", "job", HOOK, "-n", NAMESPACE, "-o", "json"))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"][0] == "release-finalizers"
    kubeconfig = server.service_account_kubeconfig(NAMESPACE, HOOK)
    said = released(kubeconfig, *container["args"][1:])
    now = "2026-01-01T00:00:00Z"
    done = {"status": "True", "lastProbeTime": now, "lastTransitionTime": now}
    conditions = [{"type": kind, **done} for kind in ("SuccessCriteriaMet", "Complete")]
    status = {"startTime": now, "completionTime": now, "succeeded": 1, "conditions": conditions}
    patch = json.dumps({"status": status})
    server.kubectl(
        "patch", "job", HOOK, "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", patch
    )
    return said


def uninstalled(server: Cluster) -> list[str]:
    """What the hook said."""
    arguments = ("uninstall", RELEASE, "-n", NAMESPACE, "--timeout=90s")
    with subprocess.Popen(
        command(server, *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            waiting.until(
                lambda: there(server, "job", HOOK) or process.poll() is not None,
                BEFORE_UNINSTALL,
                lambda: "the Job of the uninstall has not come",
            )
            said = play_the_job(server)
            output, _ = process.communicate(timeout=100)
        finally:
            process.kill()
    assert process.returncode == 0, output
    return said


def test_after_an_uninstall_nothing_hangs_and_nothing_is_left(
    api_server: Cluster, mode: str
) -> None:
    install(api_server, **values_of(mode))
    resource(api_server, WATCHED, "plain", [FINALIZER])
    resource(api_server, WATCHED, "shared", ["example.net/other", FINALIZER])
    resource(api_server, WATCHED, "free", [])
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
    }
    api_server.kubectl("create", "-f", "-", stdin=json.dumps(lease))

    said = uninstalled(api_server)

    assert sorted(said) == [
        f"brokerclusters/{WATCHED}/{name}: released" for name in ("plain", "shared")
    ]
    assert finalizers(api_server, WATCHED, "plain") == []
    assert finalizers(api_server, WATCHED, "shared") == ["example.net/other"]
    kinds = "all,sa,role,rolebinding,netpol,lease,job,configmap"
    left = api_server.kubectl("get", kinds, "-n", NAMESPACE, "-o", "name").split()
    assert sorted(left) == ["configmap/kube-root-ca.crt", "serviceaccount/default"]
    assert NAME not in api_server.kubectl("get", "clusterrole,clusterrolebinding", "-o", "name")
    patch = json.dumps({"metadata": {"finalizers": None}})
    api_server.kubectl("patch", "bc", "shared", "-n", WATCHED, "--type=merge", "-p", patch)
    api_server.kubectl("delete", "bc", "--all", "-n", WATCHED, "--timeout=30s")


def test_kept_crds_are_taken_over_by_the_next_install(api_server: Cluster) -> None:
    with installed(api_server):
        pass

    assert there(api_server, "crd", "clusterlinks.isthmus.dev")
    with installed(api_server):
        pass


POD: Document = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "operator-0",
        "namespace": WATCHED,
        "labels": {"app.kubernetes.io/component": "operator"},
    },
    "spec": {
        "nodeName": "nowhere",
        "automountServiceAccountToken": False,
        "containers": [{"name": "x", "image": "x"}],
    },
}


async def stopped(server: Cluster, seconds: float) -> bool:
    configuration = Configuration()
    await config.load_kube_config(str(server.kubeconfig), client_configuration=configuration)
    async with ApiClient(configuration) as api:
        return await stop(api, Deployment(WATCHED, "operator"), seconds)


def test_the_operator_is_waited_for_but_not_for_ever(api_server: Cluster) -> None:
    labels = POD["metadata"]["labels"]
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": POD["spec"]["containers"]},
        },
    }
    meta = {"name": "operator", "namespace": WATCHED}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}
    for document in (deployment, POD):
        api_server.kubectl("create", "-f", "-", stdin=json.dumps(document))

    assert not asyncio.run(stopped(api_server, 1.0)), "its pod is still there"
    arguments = ("get", "deploy", "operator", "-n", WATCHED, "-o", "jsonpath={.spec.replicas}")
    assert api_server.kubectl(*arguments) == "0"
    api_server.kubectl("delete", "pod", "operator-0", "-n", WATCHED, "--force", "--grace-period=0")
    assert asyncio.run(stopped(api_server, 30.0))
    api_server.kubectl("delete", "deploy", "operator", "-n", WATCHED)
    assert asyncio.run(stopped(api_server, 30.0)), "without a Deployment nothing runs"


def test_releasing_where_there_are_no_crds(api_server: Cluster) -> None:
    with installed(api_server):
        pass
    api_server.kubectl("delete", "crd", "brokerclusters.isthmus.dev", "clusterlinks.isthmus.dev")

    assert released(api_server.kubeconfig, f"--deployment={NAMESPACE}/{NAME}") == []


def test_values_that_are_wrong_install_nothing(api_server: Cluster) -> None:
    with pytest.raises(Refused, match="replica"):
        install(api_server, replica=2)

    assert helm("list", "-n", NAMESPACE, "-q", "-a", cluster=api_server) == ""


def test_a_deployment_is_named_with_its_namespace() -> None:
    with pytest.raises(ValueError, match="expected NAMESPACE/NAME"):
        Deployment.parsed("isthmus-operator")
