"""Waiting for what is to happen, with a deadline: the tests' only way to let time pass."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

DEADLINE: Final = 15.0
"""Seconds after which something is not going to happen any more, on a busy machine, too."""
_STEP: Final = 0.01


def wait_for(condition: Callable[[], T], timeout: float = DEADLINE, what: str = "") -> T:
    """Call `condition` until it returns something true, and return that.

    Raises:
        AssertionError: it has not within `timeout` seconds.
    """
    end = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(_late(condition, timeout, what))
        time.sleep(_STEP)


async def wait_for_async(
    condition: Callable[[], T],
    timeout: float = DEADLINE,  # noqa: ASYNC109 - as in `wait_for`
    what: str = "",
) -> T:
    """Do as `wait_for`, while the event loop goes on."""
    end = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(_late(condition, timeout, what))
        await asyncio.sleep(_STEP)


def _late(condition: object, timeout: float, what: str) -> str:
    return f"not within {timeout:g} s: {what or getattr(condition, '__name__', condition)}"
