"""What the chart renders, by the real helm, without a cluster."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import gen_chart_readme
from charts import CHART, NAME, NAMESPACE, Refused, helm, named, of_kind, rendered
from isthmus_broker import __version__

pytestmark = pytest.mark.kube  # helm is built from its Go module

Document = dict[str, Any]

EVERYTHING: Document = {
    "replicas": 2,
    "monitoring.serviceMonitor.enabled": True,
    "monitoring.prometheusRule.enabled": True,
    "monitoring.prometheusRule.runbookUrl": "https://runbooks.example.net/isthmus",
    "monitoring.dashboard.enabled": True,
}
GOLDEN = Path(__file__).parent / "golden"
MODES: dict[str, Document] = {
    "cluster-wide": {},
    "namespaced": {"watchNamespaces": ["mqtt", "staging"]},
}


@pytest.mark.parametrize("values", [{}, EVERYTHING, *MODES.values()])
def test_lint_finds_nothing(values: Document) -> None:
    arguments = [f"--set-json={path}={json.dumps(value)}" for path, value in values.items()]

    said = helm("lint", "--strict", str(CHART), *arguments)

    assert "0 chart(s) failed" in said


def test_chart_and_broker_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def shown(documents: list[Document]) -> str:
    """As a golden file has it: without the CRDs, which have tests of their own."""
    kept = [one for one in documents if one["kind"] != "CustomResourceDefinition"]
    kept.sort(
        key=lambda one: (one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"])
    )
    return yaml.safe_dump_all(kept, sort_keys=True, width=100)


@pytest.mark.parametrize("name", ["cluster-wide", "namespaced", "everything"])
def test_rendered_as_reviewed(name: str, pytestconfig: pytest.Config) -> None:
    """After a change on purpose: delete the golden file, and look at the new one."""
    file = GOLDEN / f"{name}.yaml"
    text = shown(rendered({**MODES, "everything": EVERYTHING}[name]))
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        pytest.fail(f"{file.name} was missing and has been written: look at it, and commit it")

    assert text == file.read_text()


def test_environment_is_what_the_values_say() -> None:
    values = {
        "watchNamespaces": ["mqtt", "staging"],
        "brokerImage": "registry.example.net/broker:1",
        "log.level": "debug",
        "log.format": "text",
    }
    (container,) = named(rendered(values), "Deployment")["spec"]["template"]["spec"]["containers"]
    environment = {one["name"]: one.get("value", "from the pod") for one in container["env"]}

    assert environment == {
        "ISTHMUS_NAMESPACES": "mqtt,staging",
        "ISTHMUS_BROKER_IMAGE": "registry.example.net/broker:1",
        "ISTHMUS_LEASE_NAMESPACE": "from the pod",
        "ISTHMUS_LEASE_NAME": NAME,
        "ISTHMUS_POD_NAME": "from the pod",
        "ISTHMUS_LOG_LEVEL": "debug",
        "ISTHMUS_LOG_FORMAT": "text",
        "ISTHMUS_HEALTH_PORT": "8080",
    }


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({}, f"isthmus-operator:{__version__}"),
        ({"image.tag": "dev"}, "isthmus-operator:dev"),
        ({"image.digest": f"sha256:{'a' * 64}"}, f"isthmus-operator@sha256:{'a' * 64}"),
    ],
)
def test_every_pod_has_the_same_image(image: Document, expected: str) -> None:
    text = json.dumps(rendered(image))

    assert set(re.findall(r'"image": "([^"]+)"', text)) == {expected}


def test_namespaced_mode_has_no_cluster_wide_right() -> None:
    documents = rendered(MODES["namespaced"])

    assert of_kind(documents, "ClusterRole") == []
    assert of_kind(documents, "ClusterRoleBinding") == []
    roles = {one["metadata"]["namespace"] for one in of_kind(documents, "Role")}
    assert roles == {"mqtt", "staging", NAMESPACE}


def test_no_rule_has_a_wildcard() -> None:
    rules = [
        rule
        for values in MODES.values()
        for document in rendered(values)
        if document["kind"] in ("Role", "ClusterRole")
        for rule in document["rules"]
    ]

    assert rules
    assert [
        rule for rule in rules if "*" in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
    ] == []


def test_a_token_lives_ten_minutes_and_is_not_mounted_otherwise() -> None:
    pod = named(rendered(), "Deployment")["spec"]["template"]["spec"]

    (volume,) = (one for one in pod["volumes"] if one["name"] == "token")
    assert volume["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"] == 600
    assert pod["automountServiceAccountToken"] is False


def test_selectors_find_the_operator_and_not_its_hooks() -> None:
    documents = rendered(EVERYTHING)
    deployment = named(documents, "Deployment")["spec"]
    selector = deployment["selector"]["matchLabels"]
    hook = named(documents, "Job", f"{NAME}-uninstall")["spec"]["template"]["metadata"]["labels"]
    test = named(documents, "Pod", f"{NAME}-test")["metadata"]["labels"]

    assert selector.items() <= deployment["template"]["metadata"]["labels"].items()
    assert named(documents, "Service")["spec"]["selector"] == selector
    assert named(documents, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == selector
    assert not selector.items() <= hook.items()
    assert not selector.items() <= test.items()


@pytest.mark.parametrize(("replicas", "budgets"), [(1, 0), (2, 1)])
def test_a_single_replica_does_not_block_a_drain(replicas: int, budgets: int) -> None:
    found = of_kind(rendered({"replicas": replicas}), "PodDisruptionBudget")

    assert len(found) == budgets


@pytest.mark.parametrize(
    ("keep", "expected"), [(True, {"helm.sh/resource-policy": "keep"}), (False, None)]
)
def test_crds_are_kept_where_wanted(keep: bool, expected: Document | None) -> None:
    found = of_kind(rendered({"crds.keep": keep}), "CustomResourceDefinition")

    assert [one["metadata"].get("annotations") for one in found] == [expected, expected]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"crds.install": False}, "CustomResourceDefinition"),
        ({"rbac.create": False, "uninstall.releaseFinalizers": False}, "ClusterRole"),
        ({"networkPolicy.enabled": False}, "NetworkPolicy"),
        ({"uninstall.releaseFinalizers": False}, "Job"),
        ({"serviceAccount.create": False, "uninstall.releaseFinalizers": False}, "ServiceAccount"),
        ({"replicas": 2, "podDisruptionBudget.enabled": False}, "PodDisruptionBudget"),
        ({}, "ServiceMonitor"),
        ({}, "PrometheusRule"),
    ],
)
def test_parts_can_be_left_out(values: Document, kind: str) -> None:
    assert of_kind(rendered(values), kind) == []


def test_every_alert_says_what_to_do() -> None:
    (group,) = named(rendered(EVERYTHING), "PrometheusRule")["spec"]["groups"]

    for alert in group["rules"]:
        notes = alert["annotations"]
        assert notes["runbook"] and notes["summary"] and alert["labels"]["severity"]
        assert notes["runbook_url"].endswith(f"#{alert['alert'].lower()}")


def test_the_dashboard_is_one() -> None:
    found = named(rendered(EVERYTHING), "ConfigMap", f"{NAME}-dashboard")
    dashboard = json.loads(found["data"]["isthmus.json"])

    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    identifiers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(identifiers)) == len(identifiers) > 0


def metrics_of(text: str) -> set[str]:
    return set(re.findall(r"isthmus_(?:link_|connections)[a-z_]*", text))


def test_brokers_have_the_metrics_that_are_asked_for() -> None:
    asked = "".join(
        (CHART / "files" / name).read_text() for name in ("alerts.yaml", "dashboard.json")
    )
    documented = (CHART.parents[1] / "docs/admin-api.md").read_text()

    assert metrics_of(asked) - metrics_of(documented) == set()


REFUSED = [
    ({"replica": 2}, "replica"),
    ({"image.name": "x"}, "name"),
    ({"replicas": "two"}, "got string, want integer"),
    ({"replicas": -1}, "minimum"),
    ({"image.pullPolicy": "Sometimes"}, "'Always', 'IfNotPresent', 'Never'"),
    ({"image.digest": "latest"}, "pattern"),
    ({"log.level": "loud"}, "'debug', 'info', 'warning', 'error'"),
    ({"watchNamespaces": "mqtt"}, "got string, want array"),
    ({"watchNamespaces": ["Mqtt"]}, "pattern"),
    ({"networkPolicy.egressPorts": [0]}, "minimum"),
    ({"crds.keep": "yes"}, "got string, want boolean"),
]


@pytest.mark.parametrize(("values", "message"), REFUSED, ids=[str(values) for values, _ in REFUSED])
def test_wrong_values_are_refused(values: Document, message: str) -> None:
    with pytest.raises(Refused) as caught:
        rendered(values)

    (path,) = values
    assert message in str(caught.value)
    assert path.split(".")[0] in str(caught.value)


def test_the_readme_has_every_value() -> None:
    assert gen_chart_readme.main(["--check"]) == 0


def test_the_schema_knows_no_value_that_is_not_there() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    assert set(schema["properties"]) - set(values) == {"global"}
    for name, value in values.items():
        known = schema["properties"][name].get("properties", {})
        assert set(known) == (set(value) if known else set())
