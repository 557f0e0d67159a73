"""Resource in, manifests out: golden files, and the broker's own parser as the judge.

`ISTHMUS_UPDATE_GOLDEN=1 pytest tests/operator/test_render.py` writes the golden files anew.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from isthmus_broker.settings.hocon import loads
from isthmus_broker.settings.loading import load as load_configuration
from isthmus_operator.errors import ResourceError
from isthmus_operator.model import BrokerCluster
from isthmus_operator.render.config import FILE, checked_fragment, config, hocon
from isthmus_operator.render.manifests import manifests
from isthmus_operator.render.secrets import decoded
from rendered import CASES, DEFAULTS, GOLDEN, Authorities, entries, load, of_case, plain


@pytest.fixture(scope="module")
def authorities() -> Authorities:
    return Authorities()


def one(found: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (manifest,) = (it for it in found if it["kind"] == kind)
    return manifest


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_manifests_are_those_of_the_golden_files(case: Path, authorities: Authorities) -> None:
    for name, found in of_case(case, authorities).items():
        text = yaml.safe_dump_all(plain(found), sort_keys=False, width=100, allow_unicode=True)
        file = case / f"{name}.manifests.yaml"
        if os.environ.get("ISTHMUS_UPDATE_GOLDEN"):
            file.write_text(text)
        assert text == file.read_text()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_broker_takes_every_golden_configuration(
    case: Path, authorities: Authorities, tmp_path: Path
) -> None:
    for name, found in of_case(case, authorities).items():
        folder = tmp_path / name
        folder.mkdir()
        for file, content in decoded(one(found, "Secret")).items():
            (folder / file).write_bytes(content)
        (folder / FILE).write_text(one(found, "ConfigMap")["data"][FILE])
        settings = load_configuration(folder / FILE, {"POD_NAME": f"{name}-0"})
        assert settings.warnings == ()
        assert settings.node.name == f"{name}-0"
        assert settings.api.read_only


@pytest.mark.parametrize(
    "change",
    [
        {"config": "mqtt.max_inflight = 5"},
        {"authentication": {"anonymous": True}},
        {"authentication": {"users_secret_ref": {"name": "users"}}},
        {"authorization": {"no_match": "deny"}},
        {"listeners": {"link": {"service": {"type": "NodePort"}}}},
        {"listeners": {"mqtt": {"service": {"type": "LoadBalancer"}}}},
    ],
    ids=str,
)
def test_what_a_running_broker_takes_up_leaves_the_pod_template(
    change: dict[str, Any], authorities: Authorities
) -> None:
    meta = {"name": "us", "namespace": "mqtt", "uid": "1"}
    before = BrokerCluster.model_validate({"metadata": meta})
    after = BrokerCluster.model_validate({"metadata": meta, "spec": change})
    templates = [
        one(manifests(it, [], authorities.material(it), DEFAULTS), "StatefulSet")
        for it in (before, after)
    ]
    assert templates[0] == templates[1]


def test_links_leave_the_pod_template(authorities: Authorities) -> None:
    clusters, links = load(GOLDEN / "two-ends/resources.yaml")
    credentials = {name: authorities.credentials(link) for name, link in links.items()}
    linked = entries(clusters["us"], clusters, links, authorities, credentials)
    material = authorities.material(clusters["us"])
    with_link = one(manifests(clusters["us"], linked, material, DEFAULTS), "StatefulSet")
    without = one(manifests(clusters["us"], [], material, DEFAULTS), "StatefulSet")
    assert with_link == without


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_survives_hocon(text: str) -> None:
    assert loads(f"key = {hocon(text)}\n", {}).root.plain() == {"key": text}


@pytest.mark.parametrize(
    "fragment",
    [
        "api.read_only = false",
        "cluster { name = x }",
        'node.name = "x"',
        '"api" { enable = false }',
        "mqtt { max_inflight = 1 }, api { enable = false }",
        'include "other.conf"',
        'mqtt { include "other.conf" }',
        'mqtt { include file("other.conf") }',
        '"a # b" = 1, api.read_only = false',
    ],
)
def test_a_fragment_leaves_the_operators_keys_alone(fragment: str) -> None:
    with pytest.raises(ResourceError) as refused:
        checked_fragment(fragment)
    assert refused.value.reason == "ConfigRefused"


@pytest.mark.parametrize(
    "fragment",
    [
        'log.file = "api"  # cluster\nmqtt { max_inflight = 1 }',
        "# mqtt, api: both\nmqtt.max_inflight = 1",
        "// cluster: x, node = y\nmqtt.max_inflight = 1",
        'authorization.rules += { permit = deny, topics = ["x"\n"node"] }',
    ],
)
def test_a_fragment_may_speak_of_them(fragment: str) -> None:
    assert checked_fragment(fragment) == fragment


def test_credentials_of_a_link_are_no_good_for_ordinary_clients(authorities: Authorities) -> None:
    """Also where the other end needs none: what was handed out must not open more."""
    clusters, links = load(GOLDEN / "open/resources.yaml")
    credentials = {name: authorities.credentials(link) for name, link in links.items()}
    found = entries(clusters["us"], clusters, links, authorities, credentials)
    text = config(clusters["us"], found)
    for link in found:
        assert [line.rpartition(":")[0] for line in link.users] == [link.logins[0]]
        assert f'permit = deny, username = "{link.logins[0]}", topics = ["#"]' in text
