"""One heap for everything that is due at some time: keep-alives, expiries, delayed wills.

Pure: it is told the time. An action that is asked too early, because what it guards has moved on,
answers when it wants to be asked again; so nothing on a hot path ever touches the heap.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Hashable
from itertools import count

Action = Callable[[float], float | None]
"""Called with the time now; returns when to be called again, or None."""


class Deadlines:
    """Actions by time, in monotonic seconds."""

    __slots__ = ("_armed", "_heap", "_serial")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Hashable, Action]] = []
        self._armed: dict[Hashable, float] = {}
        self._serial = count()

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next(self) -> float | None:
        """When the first action is due; None where there is none."""
        return self._heap[0][0] if self._heap else None

    def add(self, when: float, action: Action, key: Hashable = None) -> None:
        """Call `action` at `when` or soon after.

        With a `key`, at most one action of that key waits: where one is due no later, it stays
        (it will ask again); an earlier time replaces it. So whoever comes and goes all the time
        does not fill the heap.
        """
        if key is not None:
            if self._armed.get(key, math.inf) <= when:
                return
            self._armed[key] = when
        heapq.heappush(self._heap, (when, next(self._serial), key, action))

    def run(self, now: float, most: int = 1000) -> None:
        """Call what is due by `now`, at most `most` actions, so that others get their turn."""
        heap = self._heap
        for _ in range(most):
            if not heap or heap[0][0] > now:
                return
            when, _serial, key, action = heapq.heappop(heap)
            if key is not None:
                if self._armed.get(key) != when:
                    continue  # replaced by an earlier one
                del self._armed[key]
            again = action(now)
            if again is not None:
                self.add(again, action, key)
