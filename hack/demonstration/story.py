"""What the demo shows, step by step; whatever is not seen ends a chapter with `NotSeen`.

The same steps with a terminal and without. How they look is in `view`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from demonstration.clients import Message
from demonstration.clusters import Cluster
from demonstration.ports import EU, US
from demonstration.reading import Direction, Told, direction
from demonstration.sides import Greeting, Side
from demonstration.view import Step
from demonstration.waiting import until

_ASYMMETRIC: Final = "-asymmetric"
_NOTHING_FOR: Final = 1.0
"""Seconds after which a message is taken not to come."""
PAUSE: Final = 0.5
"""Seconds between two messages."""


class Story:
    """Both sides, and the chapters: what is done with them."""

    def __init__(
        self,
        directory: Path,
        offset: int,
        tell: Callable[[Step], None],
        heard: Callable[[Side, Message], None],
    ) -> None:
        us = Cluster("us-east", "eu-west", US.moved(offset), directory)
        eu = Cluster("eu-west", "us-east", EU.moved(offset), directory)
        us.copy(offset)
        eu.copy(offset, (_ASYMMETRIC,))
        self.us = Side(us, "linked/1", "Hello from US!", directory, heard)
        self.eu = Side(eu, "linked/42", "Hello from the other side!", directory, heard)
        self.asymmetric = False
        self._tell = tell

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both."""
        return self.us, self.eu

    async def directions(self) -> tuple[Direction, Direction]:
        """Both directions of the link, as they are now."""
        us, eu = await asyncio.gather(self.us.cluster.told(), self.eu.cluster.told())
        us_name, eu_name = self.us.cluster.name, self.eu.cluster.name
        return direction(eu_name, us_name, eu, us), direction(us_name, eu_name, us, eu)

    async def close(self) -> None:
        """End everything."""
        await asyncio.gather(*(side.close() for side in self.sides))

    # -- chapters ----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Start both clusters; a message crosses in each direction."""
        for side in self.sides:
            took, ports = await side.cluster.start(), side.cluster.ports
            where = f"mqtt 127.0.0.1:{ports.mqtt}   link 127.0.0.1:{ports.link}"
            self._done(f"{side.cluster.name}   {where}", took)
        await self._linked(time.monotonic())
        for side in self.sides:
            await side.open()
        await self._knows(self.eu, self.us)
        await self._knows(self.us, self.eu)
        await self._greetings()

    async def turn(self) -> None:
        """Make the link asymmetric, or symmetric again."""
        await (self._make_symmetric() if self.asymmetric else self._make_asymmetric())

    async def outage(self, seconds: float) -> None:
        """Kill eu-west; what us-east publishes meanwhile waits, and goes there once it is back."""
        await self._settled()
        await self.eu.cluster.kill()
        self._done(f"eu-west  killed (kill -9), back in {seconds:g} s")
        killed = time.monotonic()
        told, took = await self._sees(
            self.us, "us-east notices that eu-west is away", lambda it: bool(it.outgoing["reason"])
        )
        self._done(f"us-east  {told.outgoing['state']}: {told.outgoing['reason']}", took)
        published = await self._talk_until(killed + seconds)
        waiting = [] if self.asymmetric else published
        await self._sees(
            self.us,
            f"{len(waiting)} messages wait",
            lambda it: it.waiting >= len(waiting),  # and those of others
        )
        what = f"{len(waiting)} messages wait" if waiting else "nothing waits"
        self._done(f"us-east  {what} for eu-west")
        await self._revive(self.eu)
        await self._settled()
        if waiting:
            # Its broker has lost its sessions: what comes before they are there again is lost.
            seen = sum(self.eu.has(self.us, greeting) for greeting in waiting)
            reached = (
                f"{seen} reached its subscriber" if seen else "its subscriber was not back yet"
            )
            self._done(f"eu-west  took all {len(waiting)}; {reached}")
        await self._greetings()

    async def revive(self, side: Side) -> None:
        """Start a side again that has ended by itself."""
        self._tell(Step(f"{side.short}  has ended", mark="failed"))
        await self._revive(side)

    # -- parts of them -----------------------------------------------------------------------------

    async def _make_asymmetric(self) -> None:
        self.eu.cluster.configure(_ASYMMETRIC)
        told, took = await self._sees(
            self.us, "eu-west asks for nothing", lambda it: it.wanted == 0
        )
        self.asymmetric = True
        self._done("eu-west  asks for nothing: topics = [], taken up while running", took)
        greeting = self._greets(self.us)
        self._received(self.us, self.us, greeting, await self.us.receives(self.us, greeting))
        await self.eu.misses(self.us, greeting, _NOTHING_FOR)
        self._done(f"eu-west  received nothing of it within {_NOTHING_FOR:g} s")
        await self._crosses(self.eu, self.us)
        before = told.forwarding["matched"]
        await self._sees(
            self.us, "nothing is forwarded", lambda it: it.forwarding["matched"] == before
        )

    async def _make_symmetric(self) -> None:
        self.eu.cluster.configure()
        took = await self._knows(self.us, self.eu)
        self.asymmetric = False
        self._done('eu-west  asks for everything again: topics = ["#"]', took)
        await self._greetings()

    async def _revive(self, side: Side) -> None:
        self._done(f"{side.short}  started again", await side.cluster.start())
        begun = time.monotonic()
        await side.open()
        await self._linked(begun)
        await self._knows(self.eu, self.us)
        if not self.asymmetric:
            await self._knows(self.us, self.eu)

    async def _greetings(self) -> None:
        await self._crosses(self.eu, self.us)
        if not self.asymmetric:
            await self._crosses(self.us, self.eu)

    async def _crosses(self, source: Side, target: Side) -> None:
        greeting = self._greets(source)
        self._received(target, source, greeting, await target.receives(source, greeting))

    async def _linked(self, begun: float) -> None:
        for side in self.sides:
            await self._sees(side, "the link runs in both directions", lambda it: it.runs)
        self._done("link up in both directions", time.monotonic() - begun)

    async def _talk_until(self, end: float) -> list[Greeting]:
        """us-east's own clients go on: each message reaches its own subscriber."""
        published = []
        while (left := end - time.monotonic()) > 0:
            published.append(self.us.greet())
            await asyncio.sleep(min(PAUSE, left))
        for greeting in published:
            await self.us.receives(self.us, greeting)
        self._done(f"us-east  goes on: {len(published)} messages published and received there")
        return published

    async def _knows(self, side: Side, other: Side) -> float:
        """Wait until a side knows all that the other one subscribes to."""

        async def ends() -> tuple[Told, Told] | None:
            here, there = await asyncio.gather(side.cluster.told(), other.cluster.told())
            return None if here is None or there is None else (here, there)

        expected = f"{side.short} knows what {other.short} subscribes to"
        _, took = await until(ends, lambda it: it[0].wanted == it[1].announced > 0, expected)
        return took

    async def _settled(self) -> None:
        await self._sees(self.us, "no messages wait", lambda it: it.waiting == 0)

    async def _sees(
        self, side: Side, expected: str, holds: Callable[[Told], bool]
    ) -> tuple[Told, float]:
        return await until(side.cluster.told, holds, f"{side.cluster.name} tells that {expected}")

    # -- telling -----------------------------------------------------------------------------------

    def _greets(self, side: Side) -> Greeting:
        greeting = side.greet()
        self._done(f'{side.short}  published  {side.topic:<9}  "{greeting.text}"')
        return greeting

    def _received(self, side: Side, source: Side, greeting: Greeting, took: float) -> None:
        text = f'{side.short}  received   {source.topic:<9}  "{greeting.text}"'
        self._tell(Step(text, took, mark="more"))

    def _done(self, text: str, took: float | None = None) -> None:
        self._tell(Step(text, took))
