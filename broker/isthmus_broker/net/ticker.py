"""Flushes what has been written once per turn of the event loop, and runs what is due.

Under load, what many reads bring is joined and written once. A read that comes alone is answered
at once, before the turn ends: that is what a message that nothing goes before waits for least.

The one owner of the loop's timers in the broker's data path; the heap itself is
`mqtt.deadlines`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from isthmus_broker.mqtt.deadlines import Deadlines

RESOLUTION: Final = 0.1
"""Seconds between two looks at the deadlines: how late an expiry may be noticed."""

_CLOSE: Final = 0.0005
"""Seconds between two reads that are likely to share a flush; uvloop's clock has milliseconds."""


class Flushable(Protocol):
    """Something that gathers output during a turn of the loop."""

    def flush(self) -> None:
        """Hand on what has been gathered."""


class Ticker:
    """Turns of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, deadlines: Deadlines) -> None:
        self.now: Callable[[], float] = loop.time
        self.deadlines = deadlines
        self._loop = loop
        self._dirty: list[Flushable] = []
        self.prompt = False
        """Whether the first outbox that is offered something may write it without `flush`."""
        self._last_read = 0.0
        self._alone = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look at the deadlines."""
        self._look()

    def stop(self) -> None:
        """Stop looking at the deadlines."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def mark(self, outbox: Flushable) -> None:
        """Flush `outbox` at the end of this turn."""
        if not self._dirty and not self._alone:
            self._loop.call_soon(self._flush)
        self._dirty.append(outbox)

    def begin_read(self) -> float:
        """Note that bytes have come, to be handled until `end_read`; returns the time."""
        now = self.now()
        self._alone = self.prompt = now - self._last_read > _CLOSE and not self._dirty
        self._last_read = now
        return now

    def end_read(self) -> None:
        """Flush now, if this was the only read for a while."""
        if self._alone:
            self._alone = self.prompt = False
            if self._dirty:
                self._flush()

    def repeat(self, step: Callable[[float], float | None]) -> None:
        """Call `step` at once and then as many seconds later as it answers, until that is None.

        For long work in short slices: other connections get their turn in between.
        """
        pause = step(self.now())
        if pause is not None:
            self._loop.call_later(pause, self.repeat, step)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for outbox in dirty:
            outbox.flush()

    def _look(self) -> None:
        self._timer = self._loop.call_later(RESOLUTION, self._look)
        self.deadlines.run(self.now())
