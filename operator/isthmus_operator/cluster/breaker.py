"""Fail fast for a few seconds after a call has failed, so that nobody waits for the same again.

Afterwards one call tries; as long as it is under way, the others still fail. For other Kubernetes
clusters only: at home, one late answer must not keep the Lease from being renewed.
"""

from __future__ import annotations

from typing import Final

from isthmus_operator.errors import Unreachable

PAUSE: Final = 5.0
"""Seconds."""


class Breaker:
    """Of one API server; instants are of any clock that only goes forward."""

    def __init__(self) -> None:
        self._problem: str | None = None
        self._until = 0.0
        self._trying = False

    @property
    def problem(self) -> str:
        """What is wrong; empty where nothing is known to be."""
        return self._problem or ""

    def begin(self, now: float) -> None:
        """Ask for a call; it is followed by one of `succeeded`, `failed`, `given_up`.

        Raises:
            Unreachable: what the last one raised.
        """
        if self._problem is None:
            return
        if self._trying or now < self._until:
            raise Unreachable(self._problem)
        self._trying = True

    def succeeded(self) -> None:
        """It has answered."""
        self._problem, self._trying = None, False

    def failed(self, problem: str, now: float) -> None:
        """It has not."""
        self._problem, self._until, self._trying = problem, now + PAUSE, False

    def given_up(self) -> None:
        """Nobody waited for the answer: nothing is known."""
        self._trying = False


class NoBreaker(Breaker):
    """Lets every call through."""

    def begin(self, now: float) -> None:
        """Nothing is refused."""
