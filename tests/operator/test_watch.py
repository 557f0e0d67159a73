"""A watch leaves nothing out: streams that end, break, are too old; lists that differ."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest

from isthmus_operator.cluster import watch
from isthmus_operator.errors import Unreachable

Step = list[bytes | Exception]


def _object(name: str, revision: int, uid: str = "") -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": uid or name, "resourceVersion": str(revision)}}


def _line(type_: str, found: Mapping[str, Any]) -> bytes:
    return json.dumps({"type": type_, "object": found}).encode()


_GONE = _line("ERROR", {"kind": "Status", "apiVersion": "v1", "code": 410, "message": "too old"})


class Played:
    """A cluster that gives these lists and streams in turn, and then is closed."""

    def __init__(self, lists: list[Any], streams: list[Step]) -> None:
        self._lists = lists
        self._streams = streams
        self.asked: list[str] = []
        self.closed = False

    async def list_at(self, *_: str) -> tuple[list[dict[str, Any]], str]:
        found = self._lists.pop(0)
        if isinstance(found, Exception):
            raise found
        objects, revision = found
        return objects, str(revision)

    async def lines(
        self, _kind: str, _namespace: str, query: Mapping[str, str], _silence: float
    ) -> AsyncGenerator[bytes, None]:
        self.asked.append(query["resourceVersion"])
        step = self._streams.pop(0)
        self.closed = not self._streams
        yield b""
        for one in step:
            if isinstance(one, Exception):
                raise one
            yield one


async def _told(played: Played, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    monkeypatch.setattr(watch, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(watch, "_LONGEST_PAUSE", 0.002)
    told: list[tuple[str, str]] = []
    one = watch.Watch(
        played,
        "Pod",
        "n",
        "",
        lambda _, type_, found: told.append((type_, found["metadata"]["name"])),
    )
    async with asyncio.timeout(10):
        await one.run()
    return told


_A, _B = _object("a", 1), _object("b", 2)


async def test_goes_on_from_the_last_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(
        [([_A], 5)],
        [
            [_line("ADDED", _object("b", 6))],
            [_line("BOOKMARK", _object("", 9))],
            [Unreachable("reset"), b""],
            [_line("DELETED", _object("a", 11))],
        ],
    )
    assert await _told(played, monkeypatch) == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")]
    assert played.asked == ["5", "6", "9", "9"]


@pytest.mark.parametrize(
    ("later", "told"),
    [
        ([_A, _B], []),
        ([_A], [("DELETED", "b")]),
        ([_A, _object("b", 8)], [("MODIFIED", "b")]),
        ([_A, _object("b", 8, uid="another")], [("DELETED", "b"), ("MODIFIED", "b")]),
        ([_A, _B, _object("c", 8)], [("ADDED", "c")]),
    ],
)
async def test_tells_what_happened_while_it_could_not_hear(
    later: list[Any], told: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Played([([_A, _B], 5), Unreachable("down"), (later, 20)], [[_GONE], []])
    assert (await _told(played, monkeypatch))[2:] == told
    assert played.asked == ["5", "20"]


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"type": "ADDED"}'])
async def test_survives_a_stream_of_something_else(
    line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Played([([_A], 5)], [[line], [_line("MODIFIED", _object("a", 7))]])
    assert await _told(played, monkeypatch) == [("ADDED", "a"), ("MODIFIED", "a")]
    assert played.asked == ["5", "5"]
