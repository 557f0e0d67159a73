"""When credentials are made, kept and renewed; an old authority stays as long as it is needed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from isthmus_operator import credentials, names, pki
from isthmus_operator.model import BrokerCluster, ClusterLink

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def cluster(name: str) -> BrokerCluster:
    meta = {"name": name, "namespace": "mqtt", "uid": f"uid-{name}"}
    return BrokerCluster.model_validate({"metadata": meta})


def link(**spec: Any) -> ClusterLink:
    ends = [{"cluster": {"name": name}, "topics": ["#"]} for name in ("a", "b")]
    meta = {"name": "l", "namespace": "mqtt", "uid": "uid-l"}
    return ClusterLink.model_validate({"metadata": meta, "spec": {"ends": ends, **spec}})


def authorities(now: datetime = NOW) -> dict[str, credentials.Authority]:
    return {
        name: credentials.authority(credentials.renewed_authority(cluster(name), {}, now))
        for name in ("a", "b")
    }


def test_an_authority_is_made_once() -> None:
    first = credentials.renewed_authority(cluster("a"), {}, NOW)
    assert credentials.renewed_authority(cluster("a"), first, NOW + 30 * DAY) == first
    found = credentials.authority(first)
    assert pki.signed_by(found.server.certificate, found.bundle)
    assert pki.dns_names(found.server.certificate) == (names.server_name("mqtt", "a"),)


def test_a_server_certificate_is_renewed_when_two_thirds_are_gone() -> None:
    first = credentials.renewed_authority(cluster("a"), {}, NOW)
    later = credentials.renewed_authority(cluster("a"), first, NOW + 61 * DAY)
    assert later["server.crt"] != first["server.crt"]
    assert later["ca.crt"] == first["ca.crt"]


def test_a_new_authority_signs_nothing_for_a_day_and_the_old_one_stays_trusted() -> None:
    first = credentials.renewed_authority(cluster("a"), {}, NOW)
    then = NOW + 2500 * DAY
    second = credentials.renewed_authority(cluster("a"), first, then)
    assert second["ca.crt"] != first["ca.crt"]
    found = credentials.authority(second)
    assert pki.signed_by(found.server.certificate, first["ca.crt"])
    assert second["ca.crt"] in found.bundle
    assert first["ca.crt"] in found.bundle
    third = credentials.renewed_authority(cluster("a"), second, then + 2 * DAY)
    assert pki.signed_by(third["server.crt"], second["ca.crt"])
    assert first["ca.crt"] in credentials.authority(third).bundle
    fourth = credentials.renewed_authority(cluster("a"), third, NOW + 3651 * DAY)
    assert first["ca.crt"] not in credentials.authority(fourth).bundle


def test_each_end_is_certified_by_the_other_ends_authority() -> None:
    both = authorities()
    data = credentials.renewed_link(link(), {}, both, NOW)
    assert set(data) == {"a.crt", "a.key", "b.crt", "b.key"}
    assert pki.signed_by(data["a.crt"], both["b"].bundle)
    assert pki.signed_by(data["b.crt"], both["a"].bundle)
    assert pki.common_name(data["a.crt"]) == names.link_identity("mqtt", "l", "a")
    assert credentials.renewed_link(link(), data, both, NOW + DAY) == data
    later = credentials.renewed_link(link(), data, both, NOW + 61 * DAY)
    assert credentials.revision(later) != credentials.revision(data)


def test_another_authority_means_another_certificate() -> None:
    data = credentials.renewed_link(link(), {}, authorities(), NOW)
    assert credentials.renewed_link(link(), data, authorities(), NOW)["a.crt"] != data["a.crt"]


def test_credentials_outlive_the_broker_cluster_at_the_other_end() -> None:
    both = authorities()
    data = credentials.renewed_link(link(), {}, both, NOW)
    assert credentials.renewed_link(link(), data, {"a": both["a"]}, NOW) == data


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"tls": {"mode": "Disabled"}}, {"a.password", "a.hash", "b.password", "b.hash"}),
        ({"tls": {"mode": "Secret", "secretRef": {"name": "s"}}}, set()),
        (
            {"ends": [
                {"cluster": {"name": "a"}, "topics": []},
                {"external": {"name": "x", "server": "x.example.net"}},
            ]},
            {"external.password", "external.hash"},
        ),
    ],
)  # fmt: skip
def test_makes_what_the_link_wants_and_keeps_it(spec: Any, expected: set[str]) -> None:
    data = credentials.renewed_link(link(**spec), {}, authorities(), NOW)
    assert set(data) == expected
    assert credentials.renewed_link(link(**spec), data, authorities(), NOW) == data
