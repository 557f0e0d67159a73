"""The CRDs: made from the models, taken by a real API server, and what they refuse."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import gen_crds
from clusters import Cluster, Failed, temporary
from isthmus_operator.crds import definitions, missing_fields, structural
from isthmus_operator.model import BrokerCluster, ClusterLink
from isthmus_operator.status_schema import ClusterLinkStatus

Document = dict[str, Any]

CHECKOUT = Path(__file__).parents[2]
API_VERSION = "isthmus.dev/v1alpha1"
LINK_ENDS: list[Document] = [
    {"cluster": {"name": "us-east"}, "topics": ["#"]},
    {"cluster": {"name": "eu-west"}, "topics": ["a/+/b", "/#"]},
]
EXTERNAL: Document = {"external": {"name": "emqx-1", "server": "mqtts://emqx.example.net:8883"}}


def cluster(name: str = "us-east", **spec: Any) -> Document:
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": API_VERSION, "kind": "BrokerCluster", "metadata": meta, "spec": spec}


def link(*ends: Document, name: str = "atlantic", **spec: Any) -> Document:
    meta = {"name": name, "namespace": "default"}
    spec = {"ends": list(ends or LINK_ENDS), **spec}
    return {"apiVersion": API_VERSION, "kind": "ClusterLink", "metadata": meta, "spec": spec}


def listeners(**kinds: Any) -> Document:
    return cluster(listeners=kinds)


@pytest.fixture(scope="module")
def api_server() -> Iterator[Cluster]:
    with temporary(["crds"], control_plane=True) as found:
        server = found["crds"]
        server.kubectl("apply", "-f", str(CHECKOUT / "crds"))
        server.kubectl("wait", "--for=condition=Established", "crd", "--all")
        yield server


def create(server: Cluster, document: Document, *arguments: str) -> Document:
    """As the API server keeps it, with its defaults."""
    answer = server.kubectl(
        "create",
        "--validate=strict",
        "-f",
        "-",
        "-o",
        "json",
        *arguments,
        stdin=json.dumps(document),
    )
    found: Document = json.loads(answer)
    return found


def refusal(server: Cluster, document: Document) -> str:
    with pytest.raises(Failed) as caught:
        create(server, document, "--dry-run=server")
    return str(caught.value)


def test_written_crds_are_what_the_models_make() -> None:
    stale = [path for path, text in gen_crds.files().items() if path.read_text() != text]

    assert stale == []


def test_the_check_tells_a_stale_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = {path: text + "# changed\n" for path, text in gen_crds.files().items()}
    monkeypatch.setattr(gen_crds, "files", lambda: changed)

    assert gen_crds.main(["--check"]) == 1
    assert "crds/isthmus.dev_clusterlinks.yaml is stale" in capsys.readouterr().out


def every_field(schema: Document, path: str) -> Iterator[tuple[str, Document]]:
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field
        yield from every_field(field, f"{path}.{name}")
    if "items" in schema:
        yield from every_field(schema["items"], f"{path}[]")


POD_PARTS = ("resources", "affinity", "tolerations", "topologySpreadConstraints")


@pytest.mark.parametrize("plural", definitions())
def test_every_field_is_described_and_none_is_open(plural: str) -> None:
    (version,) = definitions()[plural]["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    fields = [
        (path, field)
        for path, field in every_field(schema, "")
        if path.startswith((".spec", ".status"))
        and not path.startswith(tuple(f".spec.{part}." for part in POD_PARTS))
        and not path.startswith(tuple(f".spec.{part}[]" for part in POD_PARTS))
    ]

    assert [path for path, field in fields if not field.get("description")] == []
    assert "x-kubernetes-preserve-unknown-fields" not in json.dumps(schema)


def test_missing_fields_are_named_by_their_paths() -> None:
    (version,) = definitions()["clusterlinks"]["spec"]["versions"]
    older = copy.deepcopy(version["schema"]["openAPIV3Schema"])
    del older["properties"]["spec"]["properties"]["buffer"]
    del older["properties"]["spec"]["properties"]["ends"]["items"]["properties"]["external"]
    del older["properties"]["status"]

    assert missing_fields(version["schema"]["openAPIV3Schema"], "clusterlinks") == []
    missing = missing_fields(older, "clusterlinks")
    assert missing[:2] == ["spec.ends[].external", "spec.buffer"]
    assert "status.conditions" in missing


def test_from_is_a_field_of_a_direction() -> None:
    directions = structural(ClusterLinkStatus)["properties"]["directions"]["items"]

    assert directions["required"] == ["from", "to", "state"]


REFUSED = [
    # ends
    (link(LINK_ENDS[0]), "spec.ends in body should have at least 2 items"),
    (link(*LINK_ENDS, LINK_ENDS[0]), "must have at most 2 items"),
    (link(LINK_ENDS[0], LINK_ENDS[0]), "the two ends are the same cluster"),
    (link({"cluster": {"name": "emqx-1"}, "topics": []}, EXTERNAL), "the same cluster"),
    (link(EXTERNAL, EXTERNAL), "at least one end is a BrokerCluster"),
    (link(LINK_ENDS[0], {"topics": []}), "an end has either cluster or external"),
    (link(LINK_ENDS[0], {**LINK_ENDS[1], **EXTERNAL}), "an end has either cluster or external"),
    (link(LINK_ENDS[0], {"cluster": {"name": "b"}}), "topics belong to an end with cluster"),
    (link(LINK_ENDS[0], {**EXTERNAL, "topics": ["#"]}), "topics belong to an end with cluster"),
    (
        link(LINK_ENDS[0], {"cluster": {"name": "B!"}, "topics": []}),
        '"B!": not a name in Kubernetes',
    ),
    # topics
    *(
        (
            link(LINK_ENDS[0], {"cluster": {"name": "b"}, "topics": [topic]}),
            f'spec.ends[1].topics[0]: Invalid value: "string": "{topic}": not a topic filter',
        )
        for topic in ("a/#/b", "a#", "#/a", "a+/b", "a/b+", "++", "a/+#")
    ),
    (link(LINK_ENDS[0], {"cluster": {"name": "b"}, "topics": [""]}), "at least 1 chars long"),
    # external
    (
        link(LINK_ENDS[0], {"external": {"name": "x", "server": "http://x"}}),
        '"http://x": expected host:port, mqtt://host[:port] or mqtts://host[:port]',
    ),
    (
        link(LINK_ENDS[0], {"external": {"name": "a b", "server": "x:1883"}}),
        '"a b": not a name of a cluster',
    ),
    # the rest of a link
    (link(tls={"mode": "CertManager"}), "issuerRef belongs to mode CertManager"),
    (link(tls={"issuerRef": {"name": "x"}}), "issuerRef belongs to mode CertManager"),
    (link(tls={"mode": "Secret"}), "secretRef belongs to mode Secret"),
    (
        link(tls={"mode": "Disabled", "secretRef": {"name": "x"}}),
        "secretRef belongs to mode Secret",
    ),
    (link(tls={"mode": "None"}), 'supported values: "Generated", "CertManager", "Secret"'),
    (link(poolSize=0), "spec.poolSize in body should be greater than or equal to 1"),
    (link(maxInflight=65536), "should be less than or equal to 65535"),
    (link(retryInterval="5 minutes"), '"5 minutes": not a duration'),
    (link(buffer={"maxBytes": "1G"}), '"1G": not an amount of bytes'),
    (link(ordering="none"), 'supported values: "per_clientid", "random"'),
    (link(deletionPolicy="Keep"), 'supported values: "Revoke", "Orphan"'),
    (link(pool_size=8), 'unknown field "spec.pool_size"'),
    ({**link(), "spec": {}}, "spec.ends: Required value"),
    # what the broker can't do yet
    (cluster(replicas=2), 'unknown field "spec.replicas"'),
    (cluster(persistence={"enabled": True}), 'unknown field "spec.persistence"'),
    (link(buffer={"persistent": True}), 'unknown field "spec.buffer.persistent"'),
    # broker clusters
    (cluster(clusterName="us east"), '"us east": not a name of a cluster'),
    (cluster(placement={"kubeconfigSecretRef": {}}), "kubeconfigSecretRef.name: Required value"),
    (cluster(placement={"namespace": "Mqtt"}), '"Mqtt": not a name in Kubernetes'),
    (cluster("us.east"), "Services and pods are named after it"),
    (cluster("1st"), "Services and pods are named after it"),
    (cluster("x" * 64), "Services and pods are named after it"),
    (listeners(mqtts={"port": 1883}), "mqtt and mqtts have the same port"),
    (listeners(ws={"port": 80}, wss={"port": 80}), "ws and wss have the same port"),
    (listeners(ws={"port": 18083}), "are those of links and of the admin API"),
    (listeners(link={"port": 65535}), "should be less than or equal to 65534"),
    (listeners(mqtt={"port": 0}), "should be greater than or equal to 1"),
    (listeners(link={"advertised": "eu-west"}), '"eu-west": expected host:port'),
    (listeners(mqtt={"service": {"nodePort": 30000}}), "nodePort needs type NodePort or LoadBala"),
    (
        listeners(link={"service": {"type": "NodePort", "loadBalancerClass": "x"}}),
        "loadBalancerClass needs type LoadBalancer",
    ),
    (
        listeners(mqtt={"service": {"externalTrafficPolicy": "Local"}}),
        "externalTrafficPolicy needs type NodePort or LoadBalancer",
    ),
    (listeners(mqtt={"service": {"type": "ExternalName"}}), 'supported values: "ClusterIP"'),
    (cluster(authorization={"rules": [{"permit": "maybe"}]}), 'supported values: "allow", "deny"'),
    (cluster(tolerations=[{"efect": "NoSchedule"}]), 'unknown field "spec.tolerations[0].efect"'),
    (cluster(affinity={"nodeAfinity": {}}), 'unknown field "spec.affinity.nodeAfinity"'),
    (cluster(resources={"limits": {"memory": True}}), "must be of type integer"),
]


@pytest.mark.kube
@pytest.mark.parametrize(("document", "message"), REFUSED, ids=[text for _, text in REFUSED])
def test_refused_with_a_message(api_server: Cluster, document: Document, message: str) -> None:
    said = refusal(api_server, document)

    assert message in said.replace("\\", "")


ACCEPTED = [
    cluster(),
    {key: value for key, value in cluster().items() if key != "spec"},
    cluster(clusterName="US_east.1", placement={"kubeconfigSecretRef": {"name": "eu"}}),
    listeners(
        mqtt={"enable": False},
        mqtts={"dnsNames": ["mqtt.example.net"]},
        ws={},
        wss={"secretRef": {"name": "wss"}},
        link={"advertised": "[fd00::1]:11883", "service": {"type": "NodePort", "nodePort": 31883}},
    ),
    cluster(
        resources={"limits": {"memory": "1Gi", "cpu": 1}},
        tolerations=[{"key": "a", "operator": "Exists", "effect": "NoSchedule"}],
        topologySpreadConstraints=[
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"a": "b"}},
            }
        ],
        affinity={
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 1, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname"}}
                ]
            }
        },
    ),
    cluster("x" * 63),
    listeners(mqtt={"enable": False, "port": 8883}, mqtts={}),
    link(),
    link({"cluster": {"name": "a"}, "topics": []}, EXTERNAL),
    link({"cluster": {"name": "a"}, "topics": []}, EXTERNAL, tls={"mode": "Disabled"}),
    link(tls={"mode": "CertManager", "issuerRef": {"name": "ca", "kind": "ClusterIssuer"}}),
    link(retryInterval="1m30s", buffer={"maxBytes": "1Gi"}, ordering="random"),
    link(*[{"cluster": {"name": name}, "topics": ["x" * 1024] * 128} for name in ("a", "b")]),
]


@pytest.mark.kube
@pytest.mark.parametrize("document", ACCEPTED, ids=range(len(ACCEPTED)))
def test_accepted_and_read_by_the_models(api_server: Cluster, document: Document) -> None:
    found = create(api_server, document, "--dry-run=server")

    kind = {"BrokerCluster": BrokerCluster, "ClusterLink": ClusterLink}[document["kind"]]
    read = kind.model_validate(found)
    asked = kind.model_validate(document | {"metadata": found["metadata"]})
    assert read.spec == asked.spec, "the API server's defaults and the models' are the same"


NAME_MESSAGE = "clusterName can't be changed"
PLACE_MESSAGE = "placement can't be changed"
CHANGES: list[tuple[Document, Document, str]] = [
    ({}, {"clusterName": "x"}, NAME_MESSAGE),
    ({"clusterName": "x"}, {"clusterName": None}, NAME_MESSAGE),
    ({"clusterName": "x"}, {"clusterName": "y"}, NAME_MESSAGE),
    ({}, {"placement": {"namespace": "x"}}, PLACE_MESSAGE),
    ({"placement": {"namespace": "x"}}, {"placement": None}, PLACE_MESSAGE),
    ({"placement": {"namespace": "x"}}, {"placement": {"namespace": None}}, PLACE_MESSAGE),
    ({"placement": {"namespace": "x"}}, {"placement": {"namespace": "y"}}, PLACE_MESSAGE),
    (
        {"placement": {"kubeconfigSecretRef": {"name": "x"}}},
        {"placement": {"kubeconfigSecretRef": {"key": "y"}}},
        PLACE_MESSAGE,
    ),
    ({"clusterName": "x", "placement": {"namespace": "x"}}, {"config": "a = 1"}, ""),
    (
        {"placement": {"kubeconfigSecretRef": {"name": "x"}}},
        {"placement": {"kubeconfigSecretRef": {"key": "kubeconfig"}}},
        "",
    ),
    ({"listeners": {"ws": {}}}, {"listeners": {"ws": None}}, ""),
]


@pytest.mark.kube
@pytest.mark.parametrize(("before", "patch", "message"), CHANGES, ids=range(len(CHANGES)))
def test_what_can_be_changed(
    api_server: Cluster, before: Document, patch: Document, message: str
) -> None:
    document = cluster("changed", **before)
    create(api_server, document)
    arguments = ("patch", "bc", "changed", "--type=merge", "-p", json.dumps({"spec": patch}))
    try:
        if not message:
            api_server.kubectl(*arguments)
            return
        with pytest.raises(Failed, match=message):
            api_server.kubectl(*arguments)
    finally:
        api_server.kubectl("delete", "bc", "changed")


@pytest.mark.kube
def test_a_stored_cluster_shows_what_holds(api_server: Cluster) -> None:
    found = create(api_server, cluster(), "--dry-run=server")

    assert found["spec"] == {
        "authentication": {"anonymous": False},
        "authorization": {"noMatch": "allow"},
        "listeners": {
            "mqtt": {"enable": True, "port": 1883, "service": {"type": "ClusterIP"}},
            "link": {"port": 11883, "service": {"type": "LoadBalancer"}},
        },
    }


@pytest.mark.kube
@pytest.mark.parametrize(
    ("path", "texts"),
    [
        ("bc.spec.listeners.link", ["advertised", "host:port under which other clusters reach it"]),
        ("clink.spec", ["ends\t<[]Object> -required-", "enum: Revoke, Orphan"]),
        ("clink.spec.ends", ["What this end receives from the other"]),
        ("clink.status.directions", ["The cluster that forwards"]),
        ("bc.spec.affinity.nodeAffinity", ["requiredDuringScheduling"]),
    ],
)
def test_explain_reads_well(api_server: Cluster, path: str, texts: list[str]) -> None:
    said = " ".join(api_server.kubectl("explain", path).split(" "))

    assert [text for text in texts if text not in " ".join(said.split("\n    "))] == []


STATUS: Document = {
    "observedGeneration": 1,
    "clusters": "us-east ⇄ eu-west",
    "forward": "running",
    "backward": "disconnected",
    "conditions": [
        {
            "type": "Ready",
            "status": "False",
            "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "reason": "AddressPending",
            "message": "Service eu-west-link has no address yet.",
        }
    ],
    "ends": [
        {
            "cluster": "us-east",
            "server": "us-east-link.default.svc:11883",
            "nodes": [{"name": "us-east-0", "state": "running", "since": "2026-01-01T00:00:00Z"}],
        }
    ],
    "directions": [
        {"from": "us-east", "to": "eu-west", "topics": ["#"], "state": "running", "routes": 3}
    ],
    "tls": {"notAfter": "2026-04-01T00:00:00Z", "revision": "1f"},
}


@pytest.fixture
def link_with_status(api_server: Cluster) -> Iterator[Cluster]:
    create(api_server, link())
    patch = json.dumps({"status": STATUS})
    api_server.kubectl(
        "patch", "clink", "atlantic", "--subresource=status", "--type=merge", "-p", patch
    )
    yield api_server
    api_server.kubectl("delete", "clink", "atlantic")


@pytest.mark.kube
def test_the_whole_status_is_kept(link_with_status: Cluster) -> None:
    found = json.loads(link_with_status.kubectl("get", "clink", "atlantic", "-o", "json"))

    assert found["status"] == STATUS


@pytest.mark.kube
def test_columns_say_what_is_the_matter(link_with_status: Cluster) -> None:
    heads, row = link_with_status.kubectl("get", "clink").splitlines()

    assert heads.split() == ["NAME", "CLUSTERS", "READY", "REASON", "->", "<-", "AGE"]
    assert row.split()[:8] == [
        *(
            "atlantic",
            "us-east",
            "⇄",
            "eu-west",
            "False",
            "AddressPending",
            "running",
            "disconnected",
        )
    ]
    assert "has no address yet" in link_with_status.kubectl("get", "clink", "-o", "wide")


@pytest.mark.kube
def test_both_kinds_are_in_one_category(link_with_status: Cluster) -> None:
    create(link_with_status, cluster("in-category"))

    said = link_with_status.kubectl("get", "isthmus", "-o", "name").split()

    link_with_status.kubectl("delete", "bc", "in-category")
    assert said == [
        "brokercluster.isthmus.dev/in-category",
        "clusterlink.isthmus.dev/atlantic",
    ]


@pytest.mark.kube
def test_what_the_api_server_publishes_lacks_nothing(api_server: Cluster) -> None:
    published = json.loads(api_server.kubectl("get", "--raw", f"/openapi/v3/apis/{API_VERSION}"))
    schemas = {
        schema["x-kubernetes-group-version-kind"][0]["kind"]: schema
        for schema in published["components"]["schemas"].values()
        if "x-kubernetes-group-version-kind" in schema
    }

    assert missing_fields(schemas["BrokerCluster"], "brokerclusters") == []
    assert missing_fields(schemas["ClusterLink"], "clusterlinks") == []


def test_plain_and_templated_crds_say_the_same() -> None:
    for plural, definition in definitions().items():
        plain = yaml.safe_load((gen_crds.PLAIN / f"isthmus.dev_{plural}.yaml").read_text())
        templated = (gen_crds.CHART / f"{plural}.yaml").read_text()

        assert plain == definition
        assert yaml.safe_load(
            "spec:" + templated.split("\nspec:")[1].replace("{{- end }}", "")
        ) == {"spec": definition["spec"]}
