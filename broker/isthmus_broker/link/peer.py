"""Connections to one other cluster that are kept up: one for its actor, one for each lane.

The edge of the link: it opens connections, hands over what the pure parts decide (`actor`, `lane`),
notices when the other side has gone quiet, and waits before it tries again. Which connections there
should be is `links`' business.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from abc import abstractmethod
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Final

import structlog

from isthmus_broker.errors import ConfigurationError
from isthmus_broker.link.actor import Action, Actor, Close, Publish, Subscribe
from isthmus_broker.link.gmqtt_client import Dial, LinkClient, Refused, Unreachable, connect
from isthmus_broker.link.lane import Lane
from isthmus_broker.link.payload import ROUTE_TOPIC
from isthmus_broker.mqtt import packets
from isthmus_broker.mqtt.codes import V5
from isthmus_broker.mqtt.properties import Properties, Property
from isthmus_broker.net.ticker import Ticker

log = structlog.get_logger("isthmus.link")

QUIET: Final = 10.0
"""Seconds without a byte after which a proof of life is asked for."""
SILENT: Final = 20.0
"""Seconds without a byte after which the connection counts as dead."""
_RENEWAL: Final = 5.0
"""Seconds to wait for what is under way, and then for the new connection."""
_STEADY: Final = 10.0
"""Seconds that a connection must last for the next failure to be a first one."""


class Phase(Enum):
    """Where a connection is."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    REFUSED = "refused"
    """By what the two sides are configured to: trying soon is of no use."""


class Backoff:
    """How long to wait before the next try: doubling, with some scatter."""

    def __init__(self, first: float, most: float, scatter: Callable[[], float]) -> None:
        self._first, self._most, self._scatter = first, most, scatter
        self._next = first

    def take(self) -> float:
        """Seconds to wait now."""
        pause, self._next = self._next, min(self._next * 2, self._most)
        return pause * (0.8 + 0.4 * self._scatter())

    def reset(self) -> None:
        """Begin again with the shortest."""
        self._next = self._first


class Peer:
    """One connection, opened again whenever it is lost; a handler of its `LinkClient`."""

    def __init__(self, name: str, dial: Callable[[], Dial], ticker: Ticker) -> None:
        self.name = name
        self.client: LinkClient | None = None
        self.phase = Phase.CONNECTING
        self.reason = ""
        """Why it is not connected; stays, as does the phase, while a new try is under way."""
        self.refusal = ""
        """Why the other side will not have us, though it let us connect; empty: it will."""
        self.since = ticker.now()
        self._dial = dial
        self._ticker = ticker
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._connected = asyncio.Event()
        self._renewing = False
        self._soon = Backoff(0.5, 10.0, random.random)
        self._late = Backoff(5.0, 60.0, random.random)

    def start(self) -> None:
        """Begin to connect."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=self.name)
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Close, for good."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        if self.client is not None:
            self.client.close()
            self.client = None
            self.down()

    def wake(self) -> None:
        """Try again now, as there is reason to hope."""
        self._wake.set()

    async def renew(self) -> None:
        """Connect anew, with what is to be dialled by now; back when that is done, or in vain."""
        client = self.client
        if client is None:
            return
        self._renewing = True
        self.rest()
        try:
            async with asyncio.timeout(_RENEWAL):
                await asyncio.shield(client.closed)
        except TimeoutError:
            client.close()
        self._renewing = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RENEWAL):
                await self._connected.wait()

    def rest(self) -> None:
        """Close as soon as nothing is under way."""
        if self.client is not None:
            self.client.close()

    def check(self, now: float) -> None:
        """Look for signs of life; called about once a second."""
        client = self.client
        if client is None:
            return
        quiet = now - client.last_received
        if quiet >= SILENT:
            client.abort(f"no sign of life for {SILENT:.0f} s")
        elif quiet >= QUIET:
            client.ping()

    @abstractmethod
    def up(self) -> None:
        """`client` is connected."""

    @abstractmethod
    def down(self) -> None:
        """The connection has gone."""

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            phase, reason = await self._once()
            log.debug("link connection lost", connection=self.name, reason=reason)
            self._set(phase, reason)
            backoff = self._late if phase is Phase.REFUSED else self._soon
            try:
                async with asyncio.timeout(backoff.take()):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _once(self) -> tuple[Phase, str]:
        """Connect, and stay so as long as it lasts; returns how it ended."""
        try:
            client = await connect(self._dial(), self)
        except Refused as error:
            return Phase.REFUSED, str(error)
        except (Unreachable, ConfigurationError) as error:
            self.refusal = ""
            return Phase.DISCONNECTED, str(error)
        self.client = client
        opened = self._ticker.now()
        self._set(Phase.CONNECTED, self.refusal)
        self._connected.set()
        self.up()
        reason = await asyncio.shield(client.closed)  # whoever stops this closes it first
        self.client = None
        self._connected.clear()
        self.down()
        if self._renewing:
            self._wake.set()
        if self._ticker.now() - opened >= _STEADY:
            self._soon.reset()
        return (Phase.REFUSED, self.refusal) if self.refusal else (Phase.DISCONNECTED, reason)

    def _set(self, phase: Phase, reason: str) -> None:
        if (phase, reason) != (self.phase, self.reason):
            self.since = self._ticker.now()
        self.phase, self.reason = phase, reason

    def _accepted(self) -> None:
        """The other side has proved to be the one we mean."""
        self.refusal = ""
        self._set(Phase.CONNECTED, "")
        self._soon.reset()
        self._late.reset()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._set(Phase.DISCONNECTED, "an error of our own; see the log")
            log.error("link connection failed", connection=self.name, exc_info=task.exception())

    # -- what the connection tells -----------------------------------------------------------------

    def acknowledged(self, packet_id: int, code: int) -> None:
        """A PUBACK has come."""

    def subscribed(self, code: int) -> None:
        """A SUBACK has come."""

    def received(self, payload: bytes, correlation: bytes) -> None:
        """A message has come on a topic that was subscribed to."""

    def writable(self) -> None:
        """The socket takes bytes again."""


class Replication(Peer):
    """Carries an actor: our routes, to the other cluster."""

    def __init__(self, name: str, dial: Callable[[], Dial], ticker: Ticker, actor: Actor) -> None:
        super().__init__(name, dial, ticker)
        self.actor = actor
        self._topic = ROUTE_TOPIC + actor.names.local.encode()
        self._packet_id = 0
        self._timer: asyncio.TimerHandle | None = None

    def kick(self) -> None:
        """The actor has been told of changes: send them when it is time."""
        if self.client is not None:
            self._arm()

    def up(self) -> None:
        """Start the handshake."""
        self._do(self.actor.connected(self._ticker.now()))

    def down(self) -> None:
        """Note that the connection has gone."""
        self.actor.disconnected()
        self._disarm()

    def acknowledged(self, packet_id: int, code: int) -> None:
        """Pass on a PUBACK; the actor never has more than one packet to be acknowledged."""
        if packet_id == self._packet_id:
            self._do(self.actor.acknowledged(code, self._ticker.now()))

    def subscribed(self, code: int) -> None:
        """Pass on the SUBACK."""
        self._do(self.actor.subscribed(code, self._ticker.now()))

    def received(self, payload: bytes, correlation: bytes) -> None:
        """Pass on an answer."""
        self._do(self.actor.answered(correlation, payload, self._ticker.now()))

    def _do(self, actions: Iterable[Action]) -> None:
        client = self.client
        if client is None:
            return
        if self.actor.is_accepted and self.reason:
            self._accepted()
        for action in actions:
            match action:
                case Subscribe(topic):
                    client.subscribe(topic)
                case Publish():
                    client.write(self._frame(action))
                case Close(reason, inconsistent):
                    self.refusal = reason if inconsistent else ""
                    client.abort(reason)
                    return
        self._arm()

    def _frame(self, action: Publish) -> bytes:
        properties: Properties = {}
        if action.response_topic:
            properties[Property.RESPONSE_TOPIC] = action.response_topic.decode()
            properties[Property.CORRELATION_DATA] = action.correlation
        packet_id = 0
        if action.qos:
            packet_id = self._packet_id = self._packet_id % 65_535 + 1
        packet = packets.Publish(
            self._topic,
            action.payload,
            qos=action.qos,
            packet_id=packet_id,
            properties=properties,
        )
        return packets.encode(packet, V5)

    def _arm(self) -> None:
        self._disarm()
        due = self.actor.due
        if due < math.inf:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, due - self._ticker.now()), self._run_actor)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run_actor(self) -> None:
        self._do(self.actor.run(self._ticker.now()))


class LanePeer(Peer):
    """Carries a lane: messages, to the other cluster."""

    def __init__(
        self,
        name: str,
        dial: Callable[[], Dial],
        ticker: Ticker,
        lane: Lane,
        patience: float,
        held: Callable[[], bool],
    ) -> None:
        super().__init__(name, dial, ticker)
        self.lane = lane
        self._patience = patience
        """Seconds to wait for an acknowledgement."""
        self._held = held
        """Whether nothing is to be sent, as the other side is not who we mean."""
        self._marked = False

    @property
    def is_sending(self) -> bool:
        """Whether messages wait that the connection can carry, or for their acknowledgement."""
        return self.client is not None and not self._held() and len(self.lane) > 0

    def mark(self) -> None:
        """Send what there is at the end of this turn of the loop."""
        if not self._marked and self.client is not None:
            self._marked = True
            self._ticker.mark(self)

    def flush(self) -> None:
        """Send what there is, as far as window and socket allow."""
        self._marked = False
        client = self.client
        if client is None or self._held():
            return
        if self._renewing:
            self.rest()
            return
        room = client.room
        if room > 0:
            packets_now = self.lane.take(self._ticker.now(), room)
            if packets_now:
                client.write(packets_now)
            if self.lane.has_work and client.room > 0:
                self.mark()  # the socket took it all at once, and so will never say `writable`

    def rest(self) -> None:
        """Close once everything that was sent is acknowledged: nothing is to be sent twice."""
        if self.client is not None and not self.lane.in_flight:
            self.client.close()

    def check(self, now: float) -> None:
        """Drop what has waited too long; end a connection on which nothing is acknowledged."""
        super().check(now)
        self.lane.purge(now)
        if self.client is not None and self.lane.overdue(now, self._patience):
            self.client.abort(f"no acknowledgement within {self._patience:g} s")
        elif self.lane.has_work:
            self.mark()

    def up(self) -> None:
        """Go on where the last connection ended."""
        client = self.client
        if client is not None:
            self.lane.connected(client.receive_maximum, client.packet_limit or math.inf)
            self._accepted()
            self.mark()

    def down(self) -> None:
        """Keep what was in flight for the next connection."""
        self.lane.disconnected()

    def acknowledged(self, packet_id: int, code: int) -> None:
        """Settle a message; there is room for another one."""
        if self.lane.acknowledge(packet_id, code, self._ticker.now()) and (
            self.lane.has_work or self._renewing
        ):
            self.mark()

    def writable(self) -> None:
        """Go on: the socket takes bytes again."""
        self.mark()
