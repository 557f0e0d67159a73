"""What the status says, for each thing that can be the matter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from isthmus_operator.model import BrokerCluster, ClusterLink
from isthmus_operator.observation import (
    ClusterFacts,
    Direction,
    LinkReport,
    NodeReport,
    PodState,
)
from isthmus_operator.status import (
    Finding,
    LinkView,
    Reason,
    Side,
    address_pending,
    arrow,
    cluster_status,
    link_status,
)
from isthmus_operator.status.reasons import of_link
from isthmus_operator.status_schema import BrokerClusterStatus, ClusterLinkStatus

NOW = 1_800_000_000.0
HASH = "f" * 64


def direction(state: str = "running", reason: str = "", **more: Any) -> Direction:
    return Direction(
        **{"state": state, "reason": reason, "since": NOW - 60, "last_seen": NOW - 1, **more}
    )


def node(pod: str, other: str, **more: Any) -> NodeReport:
    links = {other: LinkReport(direction(), direction())}
    return NodeReport(
        **{"pod": pod, "at": NOW, "version": "0.1.0", "source_hash": HASH, "links": links, **more}
    )


def facts(name: str, other: str, **more: Any) -> ClusterFacts:
    pod = f"{name}-0"
    found = {
        "at": NOW,
        "wanted_hash": HASH,
        "links": {"uid-link": 1},
        "replicas": 1,
        "ready": 1,
        "pods": (PodState(pod, ready=True),),
        "nodes": (node(pod, other),),
        "mqtt_endpoint": f"{name}.mqtt.svc:1883",
        "link_endpoint": "192.0.2.1:11883",
    }
    return ClusterFacts(**{**found, **more})


def link(status: Any = None, **spec: Any) -> ClusterLink:
    ends = [{"cluster": {"name": name}, "topics": ["#"]} for name in ("a", "b")]
    return ClusterLink.model_validate(
        {
            "metadata": {"name": "l", "namespace": "mqtt", "uid": "uid-link"},
            "spec": {"ends": ends, **spec},
            "status": status or {},
        }
    )


def cluster(status: Any = None, **spec: Any) -> BrokerCluster:
    meta = {"name": "a", "namespace": "mqtt", "uid": "uid-a"}
    return BrokerCluster.model_validate({"metadata": meta, "spec": spec, "status": status or {}})


def view(
    a: ClusterFacts | None = None,
    b: ClusterFacts | None = None,
    topics: tuple[Any, Any] = (("#",), ("#",)),
    **more: Any,
) -> LinkView:
    return LinkView(
        sides=(
            Side("a", "a", "192.0.2.1:11883", topics[0], a or facts("a", "b")),
            Side("b", "b", "192.0.2.2:11883", topics[1], b or facts("b", "a")),
        ),
        **more,
    )


def conditions(status: Any) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["reason"]) for one in status["conditions"]}


def message(status: Any, kind: str = "Ready") -> str:
    found: str = next(one["message"] for one in status["conditions"] if one["type"] == kind)
    return found


def told(which: str, state: str, reason: str = "", **more: Any) -> tuple[NodeReport, ...]:
    """What broker b says of its link with a."""
    both = {"incoming": direction(), "outgoing": direction()}
    both[which] = direction(state, reason, **more)
    return (node("b-0", "a", links={"a": LinkReport(**both)}),)


def test_a_link_that_works_is_ready_and_says_so_once() -> None:
    first = link_status(link(), view(), NOW)
    assert first.status is not None
    assert conditions(first.status) == {
        "Accepted": ("True", "Accepted"),
        "Programmed": ("True", "Programmed"),
        "Connected": ("True", "Connected"),
        "Synced": ("True", "Synced"),
        "Ready": ("True", "Linked"),
    }
    assert ClusterLinkStatus.model_validate(first.status)  # the CRD drops what it does not name
    assert first.status["clusters"] == "a ⇄ b"
    assert (first.status["forward"], first.status["backward"]) == ("running", "running")
    assert first.status["directions"][0]["from"] == "a"
    assert [(event.type, event.reason) for event in first.events] == [("Normal", "Linked")]
    later = NOW + 40
    fresh = replace(facts("a", "b"), at=later, nodes=(node("a-0", "b", at=later),))
    other = replace(facts("b", "a"), at=later, nodes=(node("b-0", "a", at=later),))
    again = link_status(link(first.status), view(fresh, other), later)
    assert again.status is None
    assert not again.events


BOTH_WAYS = "a → b"
CASES: list[tuple[str, LinkView, str, tuple[str, str], str]] = [
    ("no facts yet", replace(view(), sides=(Side("a", "a", topics=("#",)), view().sides[1])),
     "Programmed", ("Unknown", "ConfigPending"), "not been looked at"),
    ("stale", view(a=facts("a", "b", at=NOW - 91)), "Programmed", ("Unknown", "Stale"), "90 s"),
    ("remote away", view(b=ClusterFacts(at=NOW, problem_reason="RemoteUnreachable", problem="no")),
     "Programmed", ("Unknown", "RemoteUnreachable"), "no"),
    ("secret gone", view(b=ClusterFacts(at=NOW, problem_reason="SecretMissing", problem="no s")),
     "Programmed", ("False", "SecretMissing"), "no s"),
    ("no pods", view(b=facts("b", "a", ready=0, pods=(), nodes=())),
     "Programmed", ("False", "PodsNotReady"), "0 of 1 brokers of b ready"),
    ("pod crashes", view(b=facts("b", "a", ready=0, pods=(
        PodState("b-0", ready=False, waiting="CrashLoopBackOff: x"),))),
     "Programmed", ("False", "PodsNotReady"), "pod b-0: CrashLoopBackOff: x"),
    ("no image", view(b=facts("b", "a", ready=0, pods=(
        PodState("b-0", ready=False, waiting="ImagePullBackOff: x"),))),
     "Programmed", ("False", "ImageUnavailable"), "spec.image"),
    ("older generation", view(b=facts("b", "a", links={"uid-link": 0})),
     "Programmed", ("False", "ConfigPending"), "not written yet"),
    ("not taken up", view(b=facts("b", "a", wanted_hash="0")),
     "Programmed", ("False", "ConfigPending"), "not taken up"),
    ("refused", view(b=facts("b", "a", nodes=(node("b-0", "a", error="line 3"),))),
     "Programmed", ("False", "ConfigRefused"), "line 3"),
    ("broker silent", view(b=facts("b", "a", nodes=(NodeReport("b-0", NOW, problem="no way"),))),
     "Programmed", ("Unknown", "BrokerUnreachable"), "no way"),
    ("pending", view(pending=Finding("False", Reason.ADDRESS_PENDING, "no address")),
     "Programmed", ("False", "AddressPending"), "no address"),
    ("refused spec", view(refused=Finding("False", Reason.TOPIC_OVERLAP, "# covers a")),
     "Accepted", ("False", "TopicOverlap"), "# covers a"),
    ("link not told", view(b=facts("b", "a", nodes=(node("b-0", "a", links={}),))),
     "Connected", ("Unknown", "ConfigPending"), "tells of its link"),
    ("connecting", view(b=facts("b", "a", nodes=told("incoming", "connecting", last_seen=None))),
     "Connected", ("False", "Connecting"), BOTH_WAYS),
    ("bootstrap", view(b=facts("b", "a", nodes=told("incoming", "connecting"))),
     "Synced", ("False", "Bootstrapping"), BOTH_WAYS),
    ("down", view(b=facts("b", "a", nodes=told("incoming", "disconnected", "no sign of life"))),
     "Connected", ("False", "Disconnected"), "no sign of life"),
    ("name", view(b=facts("b", "a", nodes=told("incoming", "inconsistent",
        'the cluster at x:1 is called "y", not "a"'))),
     "Connected", ("False", "NameMismatch"), "correct the address"),
    ("paused", view(paused=True), "Ready", ("Unknown", "Paused"), "isthmus.dev/paused"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "kind", "expected", "words"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_says_what_is_the_matter(
    seen: LinkView, kind: str, expected: tuple[str, str], words: str
) -> None:
    status = link_status(link(), seen, NOW).status
    assert status is not None
    assert conditions(status)[kind] == expected
    assert words in message(status, kind)
    assert conditions(status)["Ready"] == expected
    assert message(status) == message(status, kind)


def test_a_disabled_link_is_not_ready_and_says_why() -> None:
    stopped = LinkReport(direction("stopped"), direction("stopped"))
    a = facts("a", "b", nodes=(node("a-0", "b", links={"b": stopped}),))
    b = facts("b", "a", nodes=(node("b-0", "a", links={"a": stopped}),))
    found = link_status(link(enable=False), view(a, b), NOW)
    assert found.status is not None
    assert conditions(found.status)["Ready"] == ("False", "Disabled")
    assert [event.type for event in found.events] == ["Normal"]
    assert found.status["forward"] == "stopped"


def test_a_direction_without_topics_need_not_run() -> None:
    a = facts("a", "b", nodes=(node("a-0", "b", links={
        "b": LinkReport(direction("disconnected", "x"), direction()),
    }),))  # fmt: skip
    found = link_status(link(), view(a=a, topics=((), ("#",))), NOW).status
    assert found is not None
    assert conditions(found)["Ready"] == ("True", "Linked")
    assert (found["clusters"], found["forward"], found["backward"]) == ("a → b", "running", "off")


def test_numbers_alone_are_written_at_most_every_thirty_seconds() -> None:
    before = link_status(link(), view(), NOW).status
    links = {"a": LinkReport(direction(routes=5), direction())}
    changed = facts("b", "a", nodes=(node("b-0", "a", links=links),))
    assert link_status(link(before), view(b=changed, written_at=NOW - 29), NOW).status is None
    written = link_status(link(before), view(b=changed, written_at=NOW - 31), NOW)
    assert written.status is not None
    assert written.status["directions"][0]["routes"] == 5
    assert not written.events


def test_the_time_of_a_condition_moves_only_with_its_status() -> None:
    before = link_status(link(), view(), NOW).status
    b = facts("b", "a", at=NOW + 9, nodes=told("incoming", "disconnected", "Connection refused"))
    after = link_status(link(before), view(b=b), NOW + 9)
    assert before is not None
    assert after.status is not None
    times = {one["type"]: one["lastTransitionTime"] for one in after.status["conditions"]}
    then = {one["type"]: one["lastTransitionTime"] for one in before["conditions"]}
    assert times["Accepted"] == then["Accepted"]
    assert times["Connected"] != then["Connected"]
    assert [(e.type, e.reason) for e in after.events] == [("Warning", "PeerUnreachable")]


def test_jitter_of_a_clock_changes_nothing() -> None:
    before = link_status(link(), view(), NOW).status
    links = {"a": LinkReport(direction(since=NOW - 60.4), direction(since=NOW - 59.7))}
    b = facts("b", "a", nodes=(node("b-0", "a", links=links),))
    assert link_status(link(before), view(b=b), NOW).status is None


def test_waiting_for_an_address_is_told_in_steps() -> None:
    waiting = "Service b-link in eu-west has no load balancer address yet. If that cluster has none"
    since = facts("b", "a", link_waiting=waiting, waiting_since=NOW)
    at = {age: address_pending(since, NOW + age) for age in (0, 9, 10, 125, 130, 7300)}
    assert at[0] == at[9]
    assert at[125] == at[130]
    assert "yet (waiting for more than 2 min). If that cluster" in at[125].message
    assert "2 h" in at[7300].message


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (("#",), ("#",), "a ⇄ b"),
        ((), ("#",), "a → b"),
        (("#",), (), "b → a"),
        ((), (), "a – b"),
        (("#",), None, "a ⇄ b"),
    ],
)
def test_shows_the_ends_in_one_line(first: Any, second: Any, expected: str) -> None:
    assert arrow((Side("a", topics=first), Side("b", topics=second))) == expected


@pytest.mark.parametrize(
    ("state", "words", "expected"),
    [
        ("disconnected", "x.example: Name or service not known", Reason.NAME_NOT_RESOLVED),
        ("disconnected", "x: the name was not resolved in time", Reason.NAME_NOT_RESOLVED),
        ("disconnected", "192.0.2.1:1: Connection refused", Reason.PEER_UNREACHABLE),
        ("disconnected", "192.0.2.1:1: no answer within 5 s", Reason.PEER_UNREACHABLE),
        ("inconsistent", "connection refused: Not authorized", Reason.AUTHENTICATION_REFUSED),
        ("disconnected", "connection refused: Bad User Name or Password",
         Reason.AUTHENTICATION_REFUSED),
        ("disconnected", "connection refused: Server busy", Reason.DISCONNECTED),
        ("disconnected", "192.0.2.1:1: TLS: self-signed certificate", Reason.TLS_FAILED),
        ("inconsistent", '"b" has no link to "a"', Reason.PEER_LINK_MISSING),
        ("inconsistent", '"b" has disabled its link to "a"', Reason.PEER_LINK_DISABLED),
        ("inconsistent", 'x:1 is this cluster itself, "a": server must', Reason.SELF_LINK),
        ("inconsistent", 'announce: "b" does not accept this client as "a"',
         Reason.AUTHENTICATION_REFUSED),
        ("connecting", '"b" has not introduced itself: does it', Reason.CONNECTING),
        ("disconnected", "no acknowledgement within 15 s", Reason.DISCONNECTED),
        ("stopped", "", Reason.DISABLED),
    ],
)  # fmt: skip
def test_understands_what_brokers_say(state: str, words: str, expected: Reason) -> None:
    assert of_link(state, words) is expected


CLUSTERS: list[tuple[ClusterFacts, dict[str, tuple[str, str]]]] = [
    (facts("a", "b"), {
        "Accepted": ("True", "Accepted"), "Available": ("True", "Available"),
        "Progressing": ("False", "Settled"), "Ready": ("True", "Available")}),
    (facts("a", "b", wanted_hash="0"), {
        "Accepted": ("True", "Accepted"), "Available": ("True", "Available"),
        "Progressing": ("True", "ConfigPending"), "Ready": ("False", "ConfigPending")}),
    (facts("a", "b", nodes=(node("a-0", "b", error="line 3"),)), {
        "Accepted": ("True", "Accepted"), "Available": ("True", "Available"),
        "Progressing": ("False", "Settled"), "Ready": ("False", "ConfigRefused")}),
    (facts("a", "b", ready=0, pods=(), nodes=()), {
        "Accepted": ("True", "Accepted"), "Available": ("False", "PodsNotReady"),
        "Progressing": ("False", "Settled"), "Ready": ("False", "PodsNotReady")}),
    (ClusterFacts(at=NOW, problem_reason="RemoteForbidden", problem="may not list"), {
        "Accepted": ("True", "Accepted"), "Available": ("Unknown", "RemoteForbidden"),
        "Progressing": ("Unknown", "RemoteForbidden"), "Ready": ("Unknown", "RemoteForbidden")}),
    (ClusterFacts(at=NOW, problem_reason="KubeconfigInvalid", problem="not YAML"), {
        "Accepted": ("False", "KubeconfigInvalid"),
        "Available": ("Unknown", "KubeconfigInvalid"),
        "Progressing": ("Unknown", "KubeconfigInvalid"),
        "Ready": ("False", "KubeconfigInvalid")}),
]  # fmt: skip


@pytest.mark.parametrize(("seen", "expected"), CLUSTERS)
def test_says_of_a_cluster_what_is_so(
    seen: ClusterFacts, expected: dict[str, tuple[str, str]]
) -> None:
    found = cluster_status(cluster(), seen, NOW)
    assert BrokerClusterStatus.model_validate(found.status)
    assert found.status is not None
    assert conditions(found.status) == expected
    assert cluster_status(cluster(found.status), seen, NOW + 5).status is None


def test_a_cluster_that_is_away_keeps_what_was_seen_last() -> None:
    before = cluster_status(cluster(), facts("a", "b"), NOW).status
    away = ClusterFacts(at=NOW, problem_reason="RemoteUnreachable", problem="no answer")
    after = cluster_status(cluster(before), away, NOW).status
    assert after is not None
    assert after["endpoints"] == {"mqtt": "a.mqtt.svc:1883", "link": "192.0.2.1:11883"}
    assert after["version"] == "0.1.0"
