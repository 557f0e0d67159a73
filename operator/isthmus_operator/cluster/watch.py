"""Changes of one kind of objects, as they happen and with none left out.

A list, then a stream from its revision. The server is told to end each stream after a minute: a
longer silence means that the stream is dead, however well its connection looks. A stream that has
ended goes on from the last revision; where that is too old (410), a list comes again, and what has
changed or gone meanwhile is told like any other change.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, Final, Protocol

import structlog

from isthmus_operator.cluster.answers import TooOld, error_of
from isthmus_operator.errors import ClusterError, Unreachable

OnEvent = Callable[[str, str, Mapping[str, Any]], None]
"""Kind, `ADDED`, `MODIFIED` or `DELETED`, object. One that went unseen has only its metadata."""

STREAM: Final = 60.0
"""Seconds after which the server ends a stream."""
_GRACE: Final = 10.0
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 10.0
_KEPT: Final = ("namespace", "name", "uid", "resourceVersion", "labels")

_log = structlog.get_logger()

Manifest = dict[str, Any]
Identity = tuple[str, str]
"""Namespace and name."""


class Source(Protocol):
    """What is needed of a cluster."""

    closed: bool

    async def list_at(self, kind: str, namespace: str, selector: str) -> tuple[list[Manifest], str]:
        """All objects, and their revision."""

    def lines(
        self, kind: str, namespace: str, query: Mapping[str, str], silence: float
    ) -> AsyncGenerator[bytes, None]:
        """A stream of events; first an empty line."""


class Watch:
    """Of one kind of objects, in one namespace (empty: in all)."""

    def __init__(
        self,
        source: Source,
        kind: str,
        namespace: str,
        selector: str,
        on_event: OnEvent,
        *,
        stream: float = STREAM,
    ) -> None:
        self._source = source
        self._kind = kind
        self._namespace = namespace
        self._selector = selector
        self._on_event = on_event
        self._stream = stream
        self._revision = ""
        self._told: dict[Identity, Manifest] = {}

    async def run(self) -> None:
        """Tell each change until cancelled, or until the cluster is closed."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE
        while not self._source.closed:
            begun = loop.time()
            try:
                if not self._revision:
                    await self._list()
                await self._follow()
            except TooOld:
                self._revision = ""
            except ClusterError as error:
                _log.debug("watch interrupted", kind=self._kind, error=str(error))
            else:
                if loop.time() - begun > _FIRST_PAUSE:
                    pause = _FIRST_PAUSE
                    continue
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - only spreads
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _list(self) -> None:
        """Tell what differs from what has been told."""
        objects, revision = await self._source.list_at(self._kind, self._namespace, self._selector)
        before, self._told = self._told, {_identity(one): _stub(one) for one in objects}
        for identity, stub in before.items():
            now = self._told.get(identity)
            if now is None or now["metadata"]["uid"] != stub["metadata"]["uid"]:
                self._on_event(self._kind, "DELETED", stub)
        for one in objects:
            stub = self._told[_identity(one)]
            known = before.get(_identity(one))
            if known != stub:
                self._on_event(self._kind, "MODIFIED" if known else "ADDED", one)
        self._revision = revision

    async def _follow(self) -> None:
        """One stream, to its end."""
        seconds = self._stream * random.uniform(0.8, 1.0)  # noqa: S311 - only spreads
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._revision,
            "timeoutSeconds": str(max(1, round(seconds))),
            "labelSelector": self._selector,
        }
        lines = self._source.lines(self._kind, self._namespace, query, self._stream + _GRACE)
        async with aclosing(lines):
            async for line in lines:
                if line.strip():
                    self._take(_event(line))

    def _take(self, event: Mapping[str, Any]) -> None:
        found, type_ = event["object"], event["type"]
        if type_ == "ERROR":
            status = int(found.get("code") or HTTPStatus.INTERNAL_SERVER_ERROR)
            raise error_of(status, json.dumps(found).encode(), f"watch of {self._kind}")
        self._revision = found["metadata"]["resourceVersion"]
        if type_ == "BOOKMARK":
            return
        if type_ == "DELETED":
            self._told.pop(_identity(found), None)
        else:
            self._told[_identity(found)] = _stub(found)
        self._on_event(self._kind, type_, found)


def _event(line: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise Unreachable("the stream broke within an event") from error
    if not isinstance(found, dict) or not isinstance(found.get("object"), dict):
        raise Unreachable("expected an event in the stream, and something else came")
    return found


def _identity(found: Mapping[str, Any]) -> Identity:
    meta = found["metadata"]
    return meta.get("namespace", ""), meta["name"]


def _stub(found: Mapping[str, Any]) -> Manifest:
    """What has to be remembered: enough to tell a change, and whose it was once it is gone."""
    return {"metadata": {key: found["metadata"][key] for key in _KEPT if key in found["metadata"]}}
