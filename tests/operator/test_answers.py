"""What an API server's answers mean: whose fault it was, and what it said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from isthmus_operator import errors
from isthmus_operator.cluster.answers import TooOld, error_of, is_status
from isthmus_operator.cluster.breaker import PAUSE, Breaker

_ENDING = "because it is being terminated"


def _status(message: str, **rest: Any) -> bytes:
    return json.dumps({"kind": "Status", "apiVersion": "v1", "message": message, **rest}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, _status("bad"), errors.Refused),
        (401, _status("Unauthorized"), errors.Unauthorized),
        (403, _status('pods is forbidden: User "x" cannot list resource'), errors.Unauthorized),
        (
            403,
            _status(f"unable to create new content in namespace x {_ENDING}"),
            errors.Terminating,
        ),
        (
            403,
            _status("no", details={"causes": [{"reason": "NamespaceTerminating"}]}),
            errors.Terminating,
        ),
        (403, _status('pods "a" is forbidden: exceeded quota: few'), errors.Refused),
        (403, _status('pods "a" is forbidden: violates PodSecurity "x"'), errors.Refused),
        (403, b"<html>a proxy</html>", errors.Unauthorized),
        (404, _status('namespaces "x" not found'), errors.Refused),
        (409, _status("the object has been modified"), errors.Conflict),
        (409, _status(f"object is being changed {_ENDING}"), errors.Terminating),
        (410, _status("too old resource version"), TooOld),
        (413, b"", errors.Refused),
        (422, _status("spec.ports: Required value"), errors.Refused),
        (429, _status("slow down"), errors.Unreachable),
        (500, _status("etcdserver: request timed out"), errors.Unreachable),
        (500, _status("failed calling webhook x"), errors.Refused),
        (503, b"", errors.Unreachable),
        (599, b"", errors.Unreachable),
    ],
)
def test_says_whose_fault_it_was(status: int, body: bytes, kind: type[errors.ClusterError]) -> None:
    found = error_of(status, body, "PATCH /x")
    assert type(found) is kind
    assert str(found).startswith("PATCH /x: ")
    assert str(status) in str(found)


def test_tells_the_server_s_words_and_not_too_many() -> None:
    assert "Required value" in str(error_of(422, _status("Required value"), "x"))
    assert len(str(error_of(422, _status("y" * 10_000), "x"))) < 1000


@pytest.mark.parametrize(
    ("body", "found"),
    [(_status("x"), True), (b'{"code": "NOT_FOUND"}', False), (b"[1]", False), (b"\xff", False)],
)
def test_tells_the_api_server_from_who_is_behind_it(body: bytes, found: bool) -> None:
    assert is_status(body) is found


def test_after_a_failure_calls_fail_at_once_for_a_while_and_then_one_tries() -> None:
    breaker = Breaker()
    breaker.begin(0.0)
    breaker.failed("c: no answer", 0.0)
    for now in (0.0, PAUSE - 0.1):
        with pytest.raises(errors.Unreachable, match="c: no answer"):
            breaker.begin(now)
    breaker.begin(PAUSE)
    with pytest.raises(errors.Unreachable):
        breaker.begin(PAUSE + 1)  # the one that tries is still under way
    breaker.succeeded()
    breaker.begin(PAUSE + 1)
    assert not breaker.problem


def test_a_call_that_was_given_up_says_nothing() -> None:
    breaker = Breaker()
    breaker.failed("c: no answer", 0.0)
    breaker.begin(PAUSE)
    breaker.given_up()
    breaker.begin(PAUSE)
    breaker.failed("still", PAUSE)
    with pytest.raises(errors.Unreachable, match="still"):
        breaker.begin(PAUSE + 1)
