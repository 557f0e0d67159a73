"""Waiting for what is to be seen, with a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

T = TypeVar("T")

DEADLINE: Final = 20.0
"""Seconds after which something is not going to happen any more, on a busy machine, too."""
_STEP: Final = 0.02


class NotSeen(Exception):
    """What the demo shows did not happen; the text says what was expected, and what was seen."""


async def until(
    ask: Callable[[], Awaitable[T | None]], holds: Callable[[T], bool], expected: str
) -> tuple[T, float]:
    """Ask until an answer holds; None is no answer. Returns it, and the seconds that it took.

    Raises:
        NotSeen: it does not in time.
    """
    begun = time.monotonic()
    while True:
        answer = await ask()
        took = time.monotonic() - begun
        if answer is not None and holds(answer):
            return answer, took
        if took > DEADLINE:
            raise NotSeen(f"{expected}: not within {DEADLINE:g} s, but {answer or 'no answer'}")
        await asyncio.sleep(_STEP)
