"""Waiting for a condition with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from clusters.errors import Failed

_PAUSE: Final = 0.05
"""Seconds between two looks."""


def until(condition: Callable[[], bool], seconds: float, failure: Callable[[], str]) -> None:
    """Look again and again until the condition holds.

    Raises:
        Failed: it does not within `seconds`; `failure` says what that means.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(failure())
        time.sleep(_PAUSE)
