"""What a broker's admin API answers as plain values, and what is not taken from it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from isthmus_operator.brokerapi import parsed
from isthmus_operator.errors import BrokerError

_HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_STATUS = {
    "version": "0.1.0",
    "node": "isthmus@127.0.0.1",
    "configuration": {"file": "/x", "source_hash": _HASH, "error": "", "warnings": []},
}
_SIDE = {
    "state": "running",
    "reason": "",
    "since": 1764000000.0,
    "last_seen": 1764000071,
    "lag": None,
}
_LINK = {
    "name": "eu",
    "status": "running",
    "node_status": [{"node": "n", "incoming": {**_SIDE, "routes": 3}, "outgoing": _SIDE}],
}


def _parsed(status: Any = _STATUS, links: Any = (_LINK,)) -> Any:
    texts = [x if isinstance(x, bytes) else json.dumps(x).encode() for x in (status, links)]
    return parsed("us-0", texts[0], texts[1], 5.0)


def test_a_broker_that_keeps_to_it() -> None:
    found = _parsed()
    assert (found.pod, found.at, found.version, found.source_hash) == ("us-0", 5.0, "0.1.0", _HASH)
    incoming = found.links["eu"].incoming
    assert (incoming.state, incoming.since, incoming.last_seen, incoming.routes) == (
        "running", 1764000000.0, 1764000071, 3,
    )  # fmt: skip


def test_a_broker_that_has_just_started() -> None:
    side = {"state": "connecting", "reason": "", "since": None, "last_seen": None, "routes": 0}
    link = {**_LINK, "node_status": [{"incoming": side, "outgoing": side}]}
    assert _parsed(links=[link]).links["eu"].outgoing.last_seen is None
    assert _parsed(links=[]).links == {}


def _side(**change: Any) -> list[Any]:
    return [{**_LINK, "node_status": [{"incoming": {**_SIDE, **change}, "outgoing": _SIDE}]}]


@pytest.mark.parametrize(
    ("status", "links", "where"),
    [
        (b"<html>nginx</html>", [], "/api/v5/status"),
        (b"", [], "/api/v5/status"),
        ([], [], "/api/v5/status"),
        ({**_STATUS, "version": 5}, [], "version"),
        ({**_STATUS, "configuration": None}, [], "configuration"),
        ({**_STATUS, "configuration": {"source_hash": "x"}}, [], "configuration.source_hash"),
        (_STATUS, {"data": []}, "/api/v5/cluster/links"),
        (_STATUS, [{**_LINK, "node_status": []}], "0.node_status"),
        (_STATUS, _side(since="yesterday"), "incoming.since"),
        (_STATUS, _side(since=1e300), "incoming.since"),
        (_STATUS, _side(since=-1), "incoming.since"),
        (_STATUS, json.dumps(_side(last_seen=float("nan"))).encode(), "/api/v5/cluster/links"),
        (_STATUS, _side(routes=-1), "incoming.routes"),
        (_STATUS, _side(routes="3"), "incoming.routes"),
        (_STATUS, _side(reason="x" * 100_000), "incoming.reason"),
    ],
)
def test_refuses_what_is_not_as_agreed(status: Any, links: Any, where: str) -> None:
    with pytest.raises(BrokerError, match="is the image an Isthmus broker") as raised:
        _parsed(status, links)
    assert where in str(raised.value)
    assert len(str(raised.value)) < 500
