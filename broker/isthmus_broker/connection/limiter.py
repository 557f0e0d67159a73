"""A token bucket: how much a client, or a listener, may do in a second."""

from __future__ import annotations


class Bucket:
    """Allows `rate` a second on average, and a burst of one second's worth."""

    __slots__ = ("_rate", "_tokens", "_updated")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._tokens = rate
        self._updated = now

    def take(self, count: float, now: float) -> float:
        """Spend `count`; returns the seconds to wait before spending more (0: none).

        Debt is allowed, since what is spent has already come; the wait pays it off.
        """
        self._tokens = min(self._rate, self._tokens + (now - self._updated) * self._rate) - count
        self._updated = now
        return -self._tokens / self._rate if self._tokens < 0 else 0.0

    def allow(self, now: float) -> bool:
        """Spend one if there is one."""
        tokens = min(self._rate, self._tokens + (now - self._updated) * self._rate)
        self._updated = now
        self._tokens = tokens - 1 if tokens >= 1 else tokens
        return tokens >= 1
