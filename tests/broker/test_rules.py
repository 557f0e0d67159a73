"""Authorisation rules: who may publish to, and subscribe to, what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_broker.auth.rules import Rules
from isthmus_broker.mqtt.topics import match
from isthmus_broker.routing.ports import ClientInfo
from isthmus_broker.settings import AuthorizationSettings, LinkSettings, parse_link


def client(client_id: str = "c1", **more: Any) -> ClientInfo:
    known: dict[str, Any] = {"username": "alice", "peer": "10.1.2.3", "listener": "tcp:default"}
    return ClientInfo(client_id=client_id, level=5, **{**known, **more})


def rules(
    *given: dict[str, Any], no_match: str = "deny", links: Sequence[LinkSettings] = ()
) -> Rules:
    settings = AuthorizationSettings.model_validate({"no_match": no_match, "rules": list(given)})
    return Rules(settings, links)


ALLOW = {"permit": "allow"}
DENY = {"permit": "deny"}


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        ({}, True),
        ({"username": "alice"}, True),
        ({"user": "alice"}, True),
        ({"username": "bob"}, False),
        ({"clientid": "c1"}, True),
        ({"clientid": "c2"}, False),
        ({"ipaddr": "10.0.0.0/8"}, True),
        ({"ipaddr": "10.1.2.3"}, True),
        ({"ipaddr": "10.1.2.4"}, False),
        ({"ipaddr": "::/0"}, False),
        ({"action": "publish"}, True),
        ({"action": "subscribe"}, False),
        ({"topics": ["a/+"]}, True),
        ({"topics": ["b/#", "a/b"]}, True),
        ({"topics": ["eq a/+"]}, False),
        ({"topics": ["${username}/b"]}, False),
        ({"username": "alice", "clientid": "c2"}, False),
    ],
)
def test_a_rule_fits_when_all_that_it_names_fits(rule: dict[str, Any], fits: bool) -> None:
    assert rules({**ALLOW, **rule}).allowed(client(), "publish", b"a/b") == fits


def test_the_first_rule_that_fits_decides() -> None:
    these = rules({**DENY, "topics": ["a/secret"]}, {**ALLOW, "topics": ["a/#"]})
    assert not these.allowed(client(), "publish", b"a/secret")
    assert these.allowed(client(), "publish", b"a/other")
    assert not these.allowed(client(), "publish", b"b")
    assert rules(no_match="allow").allowed(client(), "publish", b"b")


@pytest.mark.parametrize(
    ("wanted", "allowed"),
    [
        (b"a/b", True),
        (b"a/b/#", True),
        (b"a/+", False),  # It matches a/secret, and a/secret/# does, too.
        (b"a/+/x/y", False),
        (b"a/#", False),
        (b"a/secret/x", False),
        (b"#", False),
        (b"+/b", False),
    ],
)
def test_a_subscription_is_allowed_where_all_of_it_is(wanted: bytes, allowed: bool) -> None:
    these = rules({**DENY, "topics": ["a/secret/#"]}, {**ALLOW, "topics": ["a/#"]})
    assert these.allowed(client(), "subscribe", wanted) == allowed


def test_what_an_earlier_rule_allows_no_later_one_denies() -> None:
    these = rules({**ALLOW, "topics": ["a/+"]}, {**DENY, "topics": ["a/secret/#"]})
    assert these.allowed(client(), "subscribe", b"a/+")


def test_eq_is_meant_literally() -> None:
    these = rules({**DENY, "topics": ["eq #"]}, {**ALLOW, "topics": ["#"]})
    assert not these.allowed(client(), "subscribe", b"#")
    assert these.allowed(client(), "subscribe", b"a/#")
    assert these.allowed(client(), "publish", b"a")


@pytest.mark.parametrize("topic", [b"$SYS/broker/uptime", b"$SYS/#", b"$SYS", b"$LINK/x"])
def test_reserved_topics_must_be_granted_by_name(topic: bytes) -> None:
    action = "subscribe"
    assert not rules(no_match="allow").allowed(client(), action, topic)
    assert not rules(ALLOW).allowed(client(), action, topic)
    assert not rules({**ALLOW, "topics": ["+/#"]}).allowed(client(), action, topic)
    granted = rules({**ALLOW, "topics": ["$SYS/#", "$LINK/#"]})
    assert granted.allowed(client(), action, topic)


def test_a_mapped_address_is_the_address() -> None:
    these = rules({**ALLOW, "ipaddr": "10.0.0.0/8"})
    assert these.allowed(client(peer="::ffff:10.1.2.3"), "publish", b"a")
    assert not these.allowed(client(peer="unix"), "publish", b"a")


class TestPlaceholders:
    """`${clientid}` and its kin."""

    def test_they_stand_for_the_client(self) -> None:
        these = rules(
            {**ALLOW, "topics": ["d/${clientid}/#", "u/x-${username}", "${cert_common_name}"]}
        )
        assert these.allowed(client(), "publish", b"d/c1/x")
        assert not these.allowed(client(), "publish", b"d/c2/x")
        assert these.allowed(client(), "publish", b"u/x-alice")
        assert not these.allowed(client(), "publish", b"")
        assert these.allowed(client(certificate_cn="cn"), "publish", b"cn")

    @pytest.mark.parametrize("value", ["+", "#", "a/b", "", "x#", "a\0"])
    def test_values_that_would_change_the_filter_fit_nothing(self, value: str) -> None:
        these = rules({**ALLOW, "topics": ["d/${clientid}/#"]})
        for topic in (b"d/c1/x", b"d/+/x", b"d/a/b", b"d//x"):
            assert not these.allowed(client(value), "publish", topic)
            assert not these.allowed(client(value), "subscribe", topic)

    def test_a_deny_then_fits_whatever_stands_there(self) -> None:
        these = rules({**DENY, "topics": ["d/${clientid}/admin"]}, ALLOW)
        assert not these.allowed(client("a/b"), "publish", b"d/x/admin")
        assert these.allowed(client("c1"), "publish", b"d/x/admin")

    def test_a_value_is_not_expanded_again(self) -> None:
        these = rules({**ALLOW, "topics": ["${clientid}"]})
        assert not these.allowed(client("${username}"), "publish", b"alice")
        assert these.allowed(client("${username}"), "publish", b"${username}")


class TestLinks:
    """`$LINK/cluster/...`: the link's own."""

    GUARDED = parse_link(
        {"name": "b", "server": "h:1", "topics": [], "accept": {"certificate_names": ["b"]}}, Path()
    )
    OPEN = parse_link({"name": "c", "server": "h:1", "topics": []}, Path())

    @pytest.mark.parametrize("extra", [(), ({**ALLOW, "topics": ["$LINK/#", "#"]},)])
    def test_a_guarded_link_is_for_its_identity_only(
        self, extra: tuple[dict[str, Any], ...]
    ) -> None:
        these = rules(*extra, no_match="allow", links=[self.GUARDED])
        link = client(link="b")
        for topic in (b"$LINK/cluster/route/b", b"$LINK/cluster/msg/b"):
            assert these.allowed(link, "publish", topic)
            assert not these.allowed(client(), "publish", topic)
            assert not these.allowed(client(link="c"), "publish", topic)
        assert these.allowed(link, "subscribe", b"$LINK/cluster/resp/b/actor")
        assert not these.allowed(client(), "subscribe", b"$LINK/cluster/resp/b/actor")
        assert not these.allowed(link, "publish", b"$LINK/cluster/resp/b/actor")

    def test_its_identity_needs_no_rules(self) -> None:
        these = rules(no_match="deny", links=[self.GUARDED])
        assert these.allowed(client(link="b"), "publish", b"$LINK/cluster/route/b")
        assert not these.allowed(client(link="b"), "publish", b"a")

    def test_without_identity_whoever_is_let_in(self) -> None:
        these = rules(no_match="allow", links=[self.OPEN])
        assert these.allowed(client(), "publish", b"$LINK/cluster/msg/c")
        assert these.allowed(client(), "subscribe", b"$LINK/cluster/resp/c/actor")
        assert not these.allowed(client(), "subscribe", b"$LINK/#")
        assert not these.allowed(client(), "subscribe", b"$LINK/cluster/resp/#")
        assert not these.allowed(client(), "publish", b"$LINK/cluster/route/c/more")
        assert not rules(no_match="deny", links=[self.OPEN]).allowed(
            client(), "publish", b"$LINK/cluster/msg/c"
        )

    def test_a_stranger_can_ask_and_be_refused_but_not_send(self) -> None:
        these = rules(no_match="allow", links=[self.GUARDED])
        assert these.allowed(client(), "publish", b"$LINK/cluster/route/unknown")
        assert not these.allowed(client(), "publish", b"$LINK/cluster/msg/unknown")


@pytest.mark.parametrize(
    ("given", "no_match", "unrestricted"),
    [
        ([], "allow", True),
        ([], "deny", False),
        ([ALLOW], "deny", True),
        ([{**ALLOW, "topics": ["a/#"]}], "deny", False),
        ([{**DENY, "topics": ["a"]}, ALLOW], "deny", False),
        ([ALLOW, {**DENY, "topics": ["a"]}], "deny", True),
        ([{**DENY, "topics": ["$SYS/#"]}], "allow", True),
        ([{**DENY, "topics": ["${clientid}"]}], "allow", False),
        ([{**DENY, "username": "bob"}], "allow", True),
        ([{**DENY, "action": "subscribe"}], "allow", True),
        ([{**ALLOW, "topics": ["eq #"]}], "deny", False),
    ],
)
def test_unrestricted_publish(
    given: list[dict[str, Any]], no_match: str, unrestricted: bool
) -> None:
    assert rules(*given, no_match=no_match).unrestricted_publish(client()) == unrestricted


_LEVEL = st.sampled_from(["a", "b", "+", "$SYS"])
_FILTER = st.lists(_LEVEL, min_size=1, max_size=3).map("/".join) | st.sampled_from(["#", "a/#"])
_NAME = st.lists(st.sampled_from(["a", "b", "$SYS"]), min_size=1, max_size=4).map("/".join)


@given(
    st.lists(
        st.tuples(st.sampled_from(["allow", "deny"]), st.lists(_FILTER, min_size=1, max_size=2)),
        max_size=4,
    ),
    st.sampled_from(["allow", "deny"]),
    _FILTER,
    _NAME,
)
def test_who_may_subscribe_may_have_every_name_that_matches(
    given_rules: list[tuple[str, list[str]]], no_match: str, wanted: str, name: str
) -> None:
    these = rules(
        *({"permit": permit, "topics": topics} for permit, topics in given_rules), no_match=no_match
    )
    someone = client()
    if these.allowed(someone, "subscribe", wanted.encode()) and match(
        wanted.encode(), name.encode()
    ):
        assert these.allowed(someone, "publish", name.encode())
    if these.unrestricted_publish(someone) and not name.startswith("$"):
        assert these.allowed(someone, "publish", name.encode())
