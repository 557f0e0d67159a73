"""Messages a second, from samples of a total."""

from __future__ import annotations

from collections import deque
from typing import Final

_SMOOTHING: Final = 0.3
_LONG: Final = 300.0


class Rates:
    """A rate now, over the last five minutes, and the highest; times are monotonic seconds."""

    __slots__ = ("_last", "_samples", "highest", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self.highest = 0.0
        self._last: tuple[float, int] | None = None
        self._samples: deque[tuple[float, int]] = deque()

    def sample(self, total: int, now: float) -> None:
        """Note the total; about once a second."""
        if self._last is not None and now > self._last[0]:
            rate = (total - self._last[1]) / (now - self._last[0])
            self.now += _SMOOTHING * (rate - self.now)
            if self.now < 0.05:
                self.now = 0.0
            self.highest = max(self.highest, self.now)
        self._last = now, total
        self._samples.append((now, total))
        while now - self._samples[0][0] > _LONG:
            self._samples.popleft()

    def last_5m(self, now: float) -> float:
        """The rate over the last five minutes, or since the first sample."""
        if len(self._samples) < 2:
            return 0.0
        (start, before), (_, total) = self._samples[0], self._samples[-1]
        return (total - before) / max(1.0, now - start)
