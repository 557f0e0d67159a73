"""A message from one broker to a subscriber at another, by mosquitto's clients; waits for it.

Unlike `clients`, which follows a live view, this is one question with one answer.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from typing import Final

from demonstration.waiting import NotSeen

_SECONDS: Final = 60.0
_ATTEMPT: Final = 10
"""Seconds that one subscriber waits."""
_AGAIN: Final = 0.3
"""Seconds between two messages: the first ones may come before the subscription crossed."""


@dataclass(frozen=True)
class Address:
    """Where clients reach a broker."""

    host: str
    port: int

    def options(self) -> list[str]:
        """As mosquitto's clients want it."""
        return ["-h", self.host, "-p", str(self.port), "-q", "1"]


def cross(sender: Address, receiver: Address, topic: str, text: str) -> None:
    """Publish at one broker until a subscriber at the other has got it.

    Raises:
        NotSeen: it did not come; the text has what the clients said.
    """
    deadline = time.monotonic() + _SECONDS
    said = ""
    while time.monotonic() < deadline:
        heard, said = _attempt(sender, receiver, topic, text)
        if heard:
            return
        time.sleep(_AGAIN)  # a client that is refused ends at once
    raise NotSeen(f"{topic} did not come to {receiver.host} within {_SECONDS:.0f} s: {said}")


def _attempt(sender: Address, receiver: Address, topic: str, text: str) -> tuple[bool, str]:
    subscribe = ["mosquitto_sub", *receiver.options(), "-t", topic, "-C", "1", "-W", str(_ATTEMPT)]
    publish = ["mosquitto_pub", *sender.options(), "-t", topic, "-m", text]
    with subprocess.Popen(
        subscribe, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as subscriber:
        published = ""
        try:
            while subscriber.poll() is None:
                published = _run(publish)
                _wait(subscriber)
        finally:
            subscriber.kill()  # it has nothing to lose
        assert subscriber.stdout is not None  # noqa: S101 - it is a pipe
        heard = subscriber.stdout.read().strip()
    return heard == text, f"mosquitto_sub: {heard or 'nothing'}; mosquitto_pub: {published or 'ok'}"


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_ATTEMPT, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {_ATTEMPT} s"
    return done.stderr.strip()


def _wait(subscriber: subprocess.Popen[str]) -> None:
    try:
        subscriber.wait(_AGAIN)
    except subprocess.TimeoutExpired:
        return
