"""A cluster and its two clients: one side of what is shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from demonstration.clients import Message, Publisher, Subscriber
from demonstration.clusters import Cluster
from demonstration.waiting import DEADLINE, NotSeen, until

_PATIENCE: Final = 0.2
"""Seconds before something is said again."""


@dataclass(frozen=True)
class Greeting:
    """A message that a side has published."""

    text: str
    at: float
    """Monotonic seconds."""


class Side:
    """A cluster, a publisher on one topic, and a subscriber of `linked/#`."""

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        words: str,
        directory: Path,
        heard: Callable[[Side, Message], None],
    ) -> None:
        self.cluster = cluster
        self.topic = topic
        self._words = words
        self._here = f"{cluster.short} is here"
        self._number = 0
        self._opened = 0
        self._last = Greeting("", 0.0)
        log = directory / f"{cluster.short}-clients.log"
        self._publisher = Publisher(cluster.ports.mqtt, topic, log)
        self._subscriber = Subscriber(cluster.ports.mqtt, log, lambda it: heard(self, it))

    @property
    def short(self) -> str:
        """Its name."""
        return self.cluster.short

    async def open(self) -> None:
        """Start its clients, anew where they run; back when one hears the other.

        Raises:
            NotSeen: it does not.
        """
        await self._subscriber.open()
        await self._publisher.open()
        self._opened += 1
        text = f"{self._here} ({self._opened})"

        async def heard() -> bool:
            self._publisher.publish(text)
            return await self._subscriber.wait(self.topic, text, _PATIENCE) is not None

        await until(heard, bool, f"{self.short} receives its own messages")

    async def close(self) -> None:
        """End everything."""
        await self._publisher.close()
        await self._subscriber.close()
        await self.cluster.stop()

    def greet(self) -> Greeting:
        """Publish a greeting, whose text is new each time."""
        self._number += 1
        text = self._words + (f" ({self._number})" if self._number > 1 else "")
        self._last = Greeting(text, time.monotonic())
        self._publisher.publish(text)
        return self._last

    def is_own(self, message: Message) -> bool:
        """Whether a message is from the publisher of this side."""
        return message.topic == self.topic and message.text.startswith((self._words, self._here))

    def latency(self, message: Message) -> float | None:
        """Seconds that our last greeting took; None: it is another message."""
        if self.is_own(message) and message.text == self._last.text:
            return message.at - self._last.at
        return None

    async def receives(self, source: Side, greeting: Greeting, seconds: float = DEADLINE) -> float:
        """Wait for a greeting; returns the seconds that it took.

        Raises:
            NotSeen: it does not come.
        """
        message = await self._subscriber.wait(source.topic, greeting.text, seconds)
        if message is None:
            raise NotSeen(
                f'{self.short} receives {source.topic} "{greeting.text}" of {source.short}: '
                f"not within {seconds:g} s"
            )
        return message.at - greeting.at

    def has(self, source: Side, greeting: Greeting) -> bool:
        """Whether a greeting has come."""
        return self._subscriber.find(source.topic, greeting.text) is not None

    async def misses(self, source: Side, greeting: Greeting, seconds: float) -> None:
        """Make sure that a greeting does not come.

        Raises:
            NotSeen: it does.
        """
        if await self._subscriber.wait(source.topic, greeting.text, seconds) is not None:
            raise NotSeen(f'{self.short} does not receive "{greeting.text}": it did')
