"""The live view: looks at the link again and again, keeps messages going, and takes keys."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from rich.console import Console, RenderableType
from rich.live import Live

from demonstration.clients import Message
from demonstration.keyboard import END, Keyboard
from demonstration.sides import Side
from demonstration.story import PAUSE, Story
from demonstration.view import Arrival, Screen, screen
from demonstration.waiting import NotSeen

Chapter = Callable[[], Awaitable[None]]

_LOOK: Final = 0.25
"""Seconds between two looks."""
_OUTAGE: Final = 10.0
"""Seconds."""


class Heard:
    """The last message that each side has received from elsewhere."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[Message, float | None]] = {}

    def note(self, story: Story, side: Side, message: Message) -> None:
        """Take a message that a side has received; its own greetings are nothing new."""
        if not side.is_own(message):
            latencies = (other.latency(message) for other in story.sides)
            self._last[side.short] = message, next((it for it in latencies if it is not None), None)

    def arrival(self, side: Side, now: float) -> Arrival:
        """What is shown of a side."""
        if side.short not in self._last:
            return Arrival(side.short)
        message, latency = self._last[side.short]
        return Arrival(side.short, message.topic, message.text, now - message.at, latency)


class Show:
    """A story whose chapters begin at the press of a key."""

    def __init__(
        self,
        story: Story,
        heard: Heard,
        console: Console,
        hints: Sequence[str],
        failed: Callable[[NotSeen], None],
    ) -> None:
        self._story = story
        self._heard = heard
        self._hints = hints
        self._failed = failed
        self._live = Live(console=console, auto_refresh=False)
        self._chapters: asyncio.Queue[Chapter] = asyncio.Queue()
        self._busy = False

    async def run(self) -> None:
        """Show it until it is to end."""
        with Keyboard() as keyboard, self._live:
            parts = (self._look(), self._talk(), self._play(), self._obey(keyboard))
            tasks = [asyncio.create_task(part) for part in parts]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                self._live.update(await self._screen(ended=True), refresh=True)
            for task in done:
                task.result()  # raises what went wrong

    async def _look(self) -> None:
        while True:
            self._live.update(await self._screen(), refresh=True)
            for side in self._story.sides:
                if not side.cluster.runs and not self._busy:
                    self._begin(functools.partial(self._story.revive, side))
            await asyncio.sleep(_LOOK)

    async def _screen(self, *, ended: bool = False) -> RenderableType:
        directions, now = await self._story.directions(), time.monotonic()
        return screen(
            Screen(
                directions,
                [self._heard.arrival(side, now) for side in self._story.sides],
                self._hints,
                asymmetric=self._story.asymmetric,
                busy=self._busy,
                ended=ended,
            )
        )

    async def _talk(self) -> None:
        while True:
            if not self._busy:
                for side in self._story.sides:
                    side.greet()
            await asyncio.sleep(PAUSE)

    async def _obey(self, keyboard: Keyboard) -> None:
        chapters: dict[str, Chapter] = {
            "a": self._story.turn,
            "k": functools.partial(self._story.outage, _OUTAGE),
        }
        async for key in keyboard:
            if key == END:
                return
            if key in chapters and self._chapters.empty():  # one may wait for what goes on
                self._begin(chapters[key])

    def _begin(self, chapter: Chapter) -> None:
        self._busy = True
        self._chapters.put_nowait(chapter)

    async def _play(self) -> None:
        while True:
            chapter = await self._chapters.get()
            try:
                await chapter()
            except NotSeen as error:
                self._failed(error)
            self._busy = not self._chapters.empty()
