"""mosquitto's clients: a subscriber and a publisher of a cluster.

Programs of somebody else, so that what is shown is what any client sees.
"""

from __future__ import annotations

import asyncio
import signal
import time
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from demonstration import processes

FILTER: Final = "linked/#"
_QOS: Final = "1"
_END: Final = signal.SIGKILL
"""They have nothing to lose, and one that is connecting anew does not heed SIGTERM."""
_KEPT: Final = 1000
"""Messages that are remembered."""
_LENGTH: Final = 200
"""Characters of a message that are remembered."""


@dataclass(frozen=True)
class Message:
    """A message that has arrived."""

    topic: str
    text: str
    at: float
    """Monotonic seconds."""


class Subscriber:
    """A `mosquitto_sub` of `linked/#`; `heard` is called with each message."""

    def __init__(self, port: int, log: Path, heard: Callable[[Message], None]) -> None:
        self.messages: deque[Message] = deque(maxlen=_KEPT)
        self._port = port
        self._log = log
        self._heard = heard
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._came = asyncio.Event()

    async def open(self) -> None:
        """Start it; anew where it runs."""
        await self.close()
        command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(self._port), "-q", _QOS]
        command += ["-t", FILTER, "-F", "%t %p"]
        self._process = await processes.spawn(command, self._log, stdout=PIPE)
        self._reading = asyncio.create_task(self._read(self._process))

    async def close(self) -> None:
        """End it."""
        if self._process is not None and self._reading is not None:
            await processes.end(self._process, _END)
            await self._reading
            self._process = self._reading = None

    async def wait(self, topic: str, text: str, seconds: float) -> Message | None:
        """Wait for a message; None where it does not come in time."""
        deadline = time.monotonic() + seconds
        while (found := self.find(topic, text)) is None:
            self._came.clear()
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    await self._came.wait()
            except TimeoutError:
                return None
        return found

    def find(self, topic: str, text: str) -> Message | None:
        """A message that has come."""
        return next((it for it in self.messages if (it.topic, it.text) == (topic, text)), None)

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        async for line in process.stdout:
            topic, _, text = line.decode("utf-8", "replace").rstrip("\n").partition(" ")
            message = Message(topic, text[:_LENGTH], time.monotonic())
            self.messages.append(message)
            self._came.set()
            self._heard(message)


class Publisher:
    """A `mosquitto_pub` that publishes lines on one topic, over one connection."""

    def __init__(self, port: int, topic: str, log: Path) -> None:
        self.topic = topic
        self._port = port
        self._log = log
        self._process: Process | None = None

    async def open(self) -> None:
        """Start it; anew where it runs."""
        await self.close()
        command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(self._port), "-q", _QOS]
        command += ["-t", self.topic, "-l"]
        self._process = await processes.spawn(command, self._log, stdin=PIPE)

    async def close(self) -> None:
        """End it."""
        if self._process is not None:
            await processes.end(self._process, _END)
            self._process = None

    def publish(self, text: str) -> float:
        """Publish a line; returns when: monotonic seconds."""
        assert self._process is not None  # noqa: S101 - it has been opened
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        at = time.monotonic()
        self._process.stdin.write(f"{text}\n".encode())
        return at
