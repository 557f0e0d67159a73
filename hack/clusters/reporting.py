"""Tells people what happens, and that it still does.

On a terminal each second, else each half minute.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_LINE: Final = "\r\x1b[K"
_QUIET: Final = 30.0
"""Seconds between two lines about the same work, without a terminal."""


def say(text: str) -> None:
    """One line on standard error; standard output is for results."""
    start = _LINE if sys.stderr.isatty() else ""
    sys.stderr.write(f"{start}{text}\n")
    sys.stderr.flush()


@contextmanager
def working(what: str, detail: Callable[[], str] = str) -> Iterator[None]:
    """Tell how long work has been going on, `detail` of it, and at its end how long it took."""
    begun = time.monotonic()
    with ticking(what, detail):
        yield
    say(f"  {what}: {duration(time.monotonic() - begun)}")


@contextmanager
def ticking(what: str, detail: Callable[[], str] = str) -> Iterator[None]:
    """Tell how long work has been going on, and nothing at its end."""
    begun = time.monotonic()
    done = threading.Event()
    ticker = threading.Thread(target=_tick, args=(what, detail, begun, done), daemon=True)
    ticker.start()
    try:
        yield
    finally:
        done.set()
        ticker.join()


def _tick(what: str, detail: Callable[[], str], begun: float, done: threading.Event) -> None:
    terminal = sys.stderr.isatty()
    while not done.wait(1.0 if terminal else _QUIET):
        text = f"  {what} ... {duration(time.monotonic() - begun)}  {detail()}"
        sys.stderr.write(f"{_LINE}{text[:100]}" if terminal else f"{text}\n")
        sys.stderr.flush()
    if terminal:
        sys.stderr.write(_LINE)


def duration(seconds: float) -> str:
    """As people say it: `7.4 s`, `3 min 05 s`."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
