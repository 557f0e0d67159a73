"""The operator against real API servers: what it makes, repairs, tells and leaves alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clusters import Cluster
from waiting import wait_for
from worlds import REMOTE, World, cluster, link

CHILDREN = [
    ("statefulset", "{}"),
    ("service", "{}"),
    ("service", "{}-link"),
    ("service", "{}-pods"),
    ("configmap", "{}-config"),
    ("secret", "{}-broker"),
    ("poddisruptionbudget", "{}"),
    ("networkpolicy", "{}"),
    ("serviceaccount", "{}"),
]


def linked(world: World) -> None:
    """One BrokerCluster here, one there, and a link between them."""
    world.apply(cluster("us-east"), cluster("eu-west", **REMOTE), link("l", "us-east", "eu-west"))
    world.wait_reason("clink", "l", "PodsNotReady")
    wait_for(lambda: entry(world, world.home, "us-east"), 20.0, "the link's configuration")
    wait_for(lambda: entry(world, world.other, "eu-west"), 20.0, "the link's configuration")


def config(world: World, at: Cluster, name: str) -> str:
    found = world.get("configmap", f"{name}-config", at=at)
    return str(found["data"]["isthmus.conf"]) if found else ""


def entry(world: World, at: Cluster, name: str) -> bool:
    return "ClusterLink l" in config(world, at, name)


def test_makes_all_children_on_both_clusters_and_says_that_no_broker_runs(world: World) -> None:
    linked(world)
    for at, name in ((world.home, "us-east"), (world.other, "eu-west")):
        for kind, pattern in CHILDREN:
            found = world.get(kind, pattern.format(name), at=at)
            assert found is not None, (kind, name)
            has_owner = bool(found["metadata"].get("ownerReferences"))
            assert has_owner is (at is world.home)
    assert world.get("secret", "eu-west-authority") is not None
    assert world.get("secret", "eu-west-authority", at=world.other) is None
    found = world.get("clink", "l")
    assert found is not None
    assert found["status"]["clusters"] == "us-east ⇄ eu-west"
    assert world.condition("clink", "l", "Accepted")[:2] == ("True", "Accepted")
    assert world.condition("clink", "l", "Connected")[0] == "Unknown"
    assert world.condition("bc", "eu-west")[:2] == ("False", "PodsNotReady")
    assert "0 of 1 brokers" in world.condition("clink", "l")[2]


def test_repairs_each_kind_of_child_on_both_clusters(world: World) -> None:
    linked(world)
    for at, name in ((world.home, "us-east"), (world.other, "eu-west")):
        before = {}
        for kind, pattern in CHILDREN:
            found = world.get(kind, pattern.format(name), at=at)
            assert found is not None
            before[kind, pattern] = found["metadata"]["uid"]
            world.delete(kind, pattern.format(name), "--wait=false", at=at)

        def back(at: Cluster = at, name: str = name, before: Any = before) -> bool:
            found = [
                (world.get(kind, pattern.format(name), at=at), uid)
                for (kind, pattern), uid in before.items()
            ]
            return all(one is not None and one["metadata"]["uid"] != uid for one, uid in found)

        wait_for(back, 20.0, "all children are back")


def test_takes_back_what_somebody_changed_and_leaves_what_somebody_added(world: World) -> None:
    linked(world)
    text = config(world, world.other, "eu-west")
    world.patch(
        "configmap",
        "eu-west-config",
        {"data": {"isthmus.conf": "x"}, "metadata": {"annotations": {"theirs": "1"}}},
        at=world.other,
    )
    wait_for(lambda: config(world, world.other, "eu-west") == text, 20.0, "the configuration")
    found = world.get("configmap", "eu-west-config", at=world.other)
    assert found is not None
    assert found["metadata"]["annotations"]["theirs"] == "1"
    world.patch("service", "us-east-link", {"spec": {"type": "ClusterIP"}})
    wait_for(
        lambda: (world.get("service", "us-east-link") or {})["spec"]["type"] == "LoadBalancer",
        20.0,
        "type of the Service",
    )


def test_changed_topics_change_only_one_configuration(world: World) -> None:
    linked(world)
    before = world.versions()
    ends = [
        {"cluster": {"name": "us-east"}, "topics": ["only/#"]},
        {"cluster": {"name": "eu-west"}, "topics": ["#"]},
    ]
    world.patch("clink", "l", {"spec": {"ends": ends}})
    wait_for(lambda: "only/#" in config(world, world.home, "us-east"), 20.0, "the topics")
    wait_for(
        lambda: (world.get("clink", "l") or {})["status"]["observedGeneration"] == 2, 20.0, "status"
    )
    after = world.versions()
    changed = {name.partition("/")[2] for name, at in after.items() if before.get(name) != at}
    kinds = {name for name in changed if not name.startswith(("Event/", "ClusterLink/"))}
    assert kinds <= {"ConfigMap/us-east-config", "BrokerCluster/us-east", "BrokerCluster/eu-west",
                     "ConfigMap/eu-west-config"}  # fmt: skip
    assert "ConfigMap/us-east-config" in kinds
    assert "StatefulSet/us-east" not in changed


def test_a_restarted_operator_writes_nothing(world: World) -> None:
    linked(world)
    world.operator.stop()
    before = world.versions()
    world.operator.start()
    marker = cluster("marker")
    world.apply(marker)
    world.wait_reason("bc", "marker", "PodsNotReady")
    after = {name: at for name, at in world.versions().items() if "marker" not in name}
    assert after == before


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        (lambda w: w.delete("bc", "eu-west"), "ClusterNotFound", "no BrokerCluster eu-west"),
        (
            lambda w: w.patch("clink", "l", {"spec": {"ends": [
                {"cluster": {"name": "us-east"}, "topics": ["a/#", "a/b"]},
                {"cluster": {"name": "eu-west"}, "topics": []}]}}),
            "TopicOverlap",
            '"a/#" covers "a/b"',
        ),
        (
            lambda w: w.apply(link("second", "eu-west", "us-east")),
            "LinkConflict",
            "ClusterLink l links",
        ),
    ],
)  # fmt: skip
def test_says_what_can_not_be_accepted(world: World, change: Any, reason: str, words: str) -> None:
    linked(world)
    change(world)
    name = "second" if reason == "LinkConflict" else "l"
    assert words in world.wait_reason("clink", name, reason)
    assert world.condition("clink", name, "Accepted")[0] == "False"
    assert entry(world, world.home, "us-east")  # what runs stays in force


def test_says_what_is_wrong_with_a_kubeconfig(world: World) -> None:
    placement = {"placement": {"kubeconfigSecretRef": {"name": "nowhere"}}}
    world.apply(cluster("lost", **placement))
    assert "no Secret nowhere" in world.wait_reason("bc", "lost", "SecretMissing")
    world.home.kubectl(
        "-n", world.namespace, "create", "secret", "generic", "nowhere",
        "--from-literal=kubeconfig=no: kubeconfig",
    )  # fmt: skip
    world.wait_reason("bc", "lost", "KubeconfigInvalid")
    world.delete("bc", "lost", "--wait=false")
    found = world.get("bc", "lost")
    if found is not None:
        gone = {"metadata": {"annotations": {"isthmus.dev/remote-gone": "true"}}}
        world.patch("bc", "lost", gone)
    wait_for(lambda: world.get("bc", "lost") is None, 90.0, "lost is gone")


def test_a_deleted_link_leaves_no_trace(world: World) -> None:
    linked(world)
    world.delete("clink", "l")
    assert not entry(world, world.home, "us-east")
    assert not entry(world, world.other, "eu-west")
    assert world.get("secret", "l-clink") is None
    secret = world.get("secret", "eu-west-broker", at=world.other)
    assert secret is not None
    assert not [key for key in secret["data"] if key.startswith("link-")]
    world.delete("bc", "eu-west")
    assert world.get("statefulset", "eu-west", at=world.other) is None
    assert world.get("secret", "eu-west-broker", at=world.other) is None


def test_a_deletion_waits_for_an_operator_that_is_down(world: World) -> None:
    linked(world)
    world.operator.stop()
    for kind, name in (("clink", "l"), ("bc", "eu-west")):
        world.delete(kind, name, "--wait=false")
    assert world.get("clink", "l") is not None
    world.operator.start()
    for kind, name in (("clink", "l"), ("bc", "eu-west")):
        wait_for(lambda kind=kind, name=name: world.get(kind, name) is None, 40.0, name)
    assert not entry(world, world.home, "us-east")
    assert world.get("statefulset", "eu-west", at=world.other) is None


def test_an_orphan_goes_on_until_its_secret_is_deleted(world: World) -> None:
    linked(world)
    world.patch("clink", "l", {"spec": {"deletionPolicy": "Orphan"}})
    wait_for(
        lambda: (world.get("clink", "l") or {})["status"]["observedGeneration"] == 2, 20.0, "status"
    )
    world.delete("clink", "l")
    kept = world.get("secret", "l-clink")
    assert kept is not None
    assert not kept["metadata"].get("ownerReferences")
    world.operator.stop()
    world.operator.start()
    world.apply(cluster("marker"))
    world.wait_reason("bc", "marker", "PodsNotReady")
    assert entry(world, world.home, "us-east")
    assert entry(world, world.other, "eu-west")
    world.delete("secret", "l-clink")
    wait_for(lambda: not entry(world, world.home, "us-east"), 20.0, "the orphan's end")
    wait_for(lambda: not entry(world, world.other, "eu-west"), 20.0, "the orphan's end")


def test_paused_means_that_nothing_is_written(world: World) -> None:
    linked(world)
    paused = {"metadata": {"annotations": {"isthmus.dev/paused": "true"}}}
    world.patch("bc", "us-east", paused)
    world.wait_reason("bc", "us-east", "Paused")
    assert world.condition("bc", "us-east")[0] == "Unknown"
    world.delete("service", "us-east")
    world.apply(cluster("marker"))
    world.wait_reason("bc", "marker", "PodsNotReady")
    assert world.get("service", "us-east") is None
    world.patch("bc", "us-east", {"metadata": {"annotations": {"isthmus.dev/paused": None}}})
    wait_for(lambda: world.get("service", "us-east"), 20.0, "the Service is back")


def test_an_external_end_is_given_what_it_needs(world: World) -> None:
    world.home.kubectl(
        "-n", world.namespace, "create", "secret", "generic", "login",
        "--from-literal=username=us", "--from-literal=password=pw",
    )  # fmt: skip
    external = {
        "name": "emqx",
        "server": "mqtts://emqx.example.net:8883",
        "credentialsSecretRef": {"name": "login"},
    }
    ends = [{"cluster": {"name": "us-east"}, "topics": ["#"]}, {"external": external}]
    spec = {"ends": ends}
    world.apply(
        cluster("us-east"), {"kind": "ClusterLink", "metadata": {"name": "l"}, "spec": spec}
    )
    wait_for(lambda: entry(world, world.home, "us-east"), 20.0, "the link's configuration")
    text = config(world, world.home, "us-east")
    assert '"mqtts://emqx.example.net:8883"' in text
    assert 'username = "us"' in text
    given = world.get("secret", "l-for-external")
    assert given is not None
    assert set(given["data"]) == {"username", "password", "server", "ca.crt", "server-name"}


def test_nothing_secret_is_told(world: World) -> None:
    linked(world)
    texts = [
        json.dumps(world.get(kind, name))
        for kind, name in (("bc", "us-east"), ("bc", "eu-west"), ("clink", "l"))
    ]
    texts.append(world.home.kubectl("-n", world.namespace, "get", "events", "-o", "json"))
    texts.append(world.operator.log())
    for text in texts:
        assert "PRIVATE KEY" not in text
        assert "api-key" not in text


def test_a_remote_cluster_that_is_away_holds_up_nobody(world: World) -> None:
    linked(world)
    world.other.stop_api()
    try:
        world.apply(cluster("other-one"))
        world.wait_reason("bc", "other-one", "PodsNotReady")
        message = world.wait_reason("bc", "eu-west", "RemoteUnreachable")
        assert "does not answer" in message
        world.wait_reason("clink", "l", "PodsNotReady")
        world.delete("clink", "l")
        gone = {"metadata": {"annotations": {"isthmus.dev/remote-gone": "true"}}}
        world.patch("bc", "eu-west", gone)
        world.delete("bc", "eu-west")
        events = world.home.kubectl("-n", world.namespace, "get", "events")
        assert "RevokeIncomplete" in events
        assert "LeftBehind" in events
    finally:
        world.other.start_api()


@pytest.mark.slow
def test_goes_on_after_its_api_server_was_away(world: World) -> None:
    linked(world)
    world.home.stop_api()
    world.home.start_api()
    wait_for(lambda: _answers(world), 60.0, "the API server")
    world.patch("bc", "us-east", {"spec": {"listeners": {"mqtt": {"port": 1999}}}})
    wait_for(lambda: ":1999" in config(world, world.home, "us-east"), 60.0, "the port")
    assert world.operator.running


def _answers(world: World) -> bool:
    from clusters import Failed

    try:
        return world.get("bc", "us-east") is not None
    except Failed:
        return False
