"""What authorities and links keep: made where it is missing, renewed where it is due."""

from __future__ import annotations

import pytest

from isthmus_operator import credentials
from isthmus_operator.model import ClusterLink, LinkAuthentication, LinkTls
from rendered import GOLDEN, NOW, load

CLUSTERS, LINKS = load(GOLDEN / "two-ends/resources.yaml")
AUTHORITIES = {
    name: credentials.authority(credentials.renewed_authority(cluster, {}, NOW))
    for name, cluster in CLUSTERS.items()
}


def link(mode: str, proof: str) -> ClusterLink:
    found = LINKS["atlantic"]
    changes = {"tls": LinkTls(mode=mode), "authentication": LinkAuthentication(mode=proof)}
    return found.model_copy(update={"spec": found.spec.model_copy(update=changes)})


@pytest.mark.parametrize("proof", ["Generated", "Disabled"])
@pytest.mark.parametrize(
    ("mode", "kept"), [("Generated", ("crt", "key")), ("Disabled", ("hash", "password"))]
)
def test_each_end_can_log_in_at_the_other(mode: str, kept: tuple[str, str], proof: str) -> None:
    """Also where anybody may speak for it: the broker lets in nobody without credentials."""
    found = credentials.renewed_link(link(mode, proof), {}, AUTHORITIES, NOW)

    assert sorted(found) == sorted(f"{end}.{part}" for end in ("us", "eu") for part in kept)


def test_what_is_not_due_stays() -> None:
    for mode in ("Generated", "Disabled"):
        found = credentials.renewed_link(link(mode, "Generated"), {}, AUTHORITIES, NOW)
        assert credentials.renewed_link(link(mode, "Generated"), found, AUTHORITIES, NOW) == found
