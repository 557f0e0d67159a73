"""Route replication of one link as a state machine: it introduces itself, bootstraps, keeps up.

Sans-IO: `peer` tells it what happened and when, and carries out what it answers. What is announced
comes from `exports`. The rules and times are the link protocol's, version 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from isthmus_broker.errors import UndecodablePayload
from isthmus_broker.link import payload
from isthmus_broker.link.exports import Exports, PendingOps
from isthmus_broker.link.payload import ActorInit, ActorInitAck, Heartbeat, Routes
from isthmus_broker.link.routes import RouteOp

BATCH: Final = 2000
"""Operations in one packet: half of what the protocol allows, so that nobody waits long for it."""
BATCH_PAUSE: Final = 0.01
RETRY_PAUSE: Final = 0.2
ANSWER_TIMEOUT: Final = 5.0
"""Seconds to wait for SUBACK, the answer to `actor_init`, or a PUBACK."""
HEARTBEAT_INTERVAL: Final = 10.0
REFUSED: Final = 0x80
"""Reason codes from here on are failures (2.4)."""


class State(Enum):
    """Where the actor is with the other side."""

    DISCONNECTED = "disconnected"
    SUBSCRIBING = "subscribing"
    HANDSHAKING = "handshaking"
    BOOTSTRAPPING = "bootstrapping"
    ONLINE = "online"


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Subscribe to the topic on which the other side answers, at QoS 1."""

    topic: bytes


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish one control packet."""

    payload: bytes
    qos: int = 1
    response_topic: bytes = b""
    correlation: bytes = b""


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection; try again later."""

    reason: str
    inconsistent: bool = False
    """Whether the two sides' configurations contradict each other: trying soon is of no use."""


Action: TypeAlias = Subscribe | Publish | Close


@dataclass(frozen=True, slots=True)
class Names:
    """Who speaks, to whom."""

    local: str
    """Our own cluster."""
    remote: str
    """What we call the other one."""
    server: str
    """Where we take it to be; for messages only."""
    actor: bytes
    """Unique in our cluster: our node."""

    @property
    def response_topic(self) -> bytes:
        """Where answers to this actor go."""
        return payload.RESPONSE_TOPIC + self.local.encode() + b"/" + self.actor


class Actor:
    """One incarnation of our actor for one link. Times are monotonic seconds."""

    def __init__(
        self,
        names: Names,
        incarnation: int,
        exports: Exports,
        new_correlation: Callable[[], bytes],
    ) -> None:
        self.names = names
        self.incarnation = incarnation
        self.exports = exports
        self.state = State.DISCONNECTED
        self.last_answer: float | None = None
        """When the other side last answered anything."""
        self._new_correlation = new_correlation
        self._pending = PendingOps()
        self._bootstrapped = False
        self._ever_accepted = False
        self._correlation = b""
        self._deadline = math.inf
        """When the answer that we wait for is overdue."""
        self._next_batch = 0.0
        self._next_heartbeat = math.inf
        self._in_flight = False

    @property
    def due(self) -> float:
        """When `run` has something to do; infinite where nothing is."""
        when = min(self._deadline, self._next_heartbeat)
        if self._may_send and (self._pending.waiting or self.state is State.BOOTSTRAPPING):
            when = min(when, self._next_batch)
        return when

    @property
    def unconfirmed(self) -> int:
        """Operations that the other side has not confirmed."""
        return len(self._pending)

    def changed(self, ops: Iterable[RouteOp]) -> None:
        """Note changes to announce; `run` sends them.

        Before the other side has accepted us there is nothing to change.
        """
        if self._ever_accepted:
            self._pending.add(ops)

    def connected(self, now: float) -> list[Action]:
        """The connection is up."""
        self.state = State.SUBSCRIBING
        self._deadline = now + ANSWER_TIMEOUT
        return [Subscribe(self.names.response_topic)]

    def subscribed(self, code: int, now: float) -> list[Action]:
        """The SUBACK has come: introduce ourselves."""
        if self.state is not State.SUBSCRIBING:
            return []
        if code >= REFUSED:
            return [self._refused(f"subscription to its answers refused, reason code 0x{code:02X}")]
        self.state = State.HANDSHAKING
        self._deadline = now + ANSWER_TIMEOUT
        self._correlation = self._new_correlation()
        names = self.names
        init = ActorInit(names.actor, self.incarnation, names.remote, names_wanted=True)
        self._in_flight = True
        return [
            Publish(
                payload.encode_control(init),
                response_topic=names.response_topic,
                correlation=self._correlation,
            )
        ]

    def answered(self, correlation: bytes, data: bytes, now: float) -> list[Action]:
        """A message has come on the response topic."""
        if self.state is not State.HANDSHAKING or correlation != self._correlation:
            return []
        self.last_answer = now
        try:
            ack = payload.decode_control(data)
        except UndecodablePayload as error:
            return [Close(f"an answer that can't be understood: {error}")]
        if not isinstance(ack, ActorInitAck):
            return []
        if ack.error:
            return [self._explain(ack)]
        self._go_on(ack.need_bootstrap, now)
        return self.run(now)

    def acknowledged(self, code: int, now: float) -> list[Action]:
        """A PUBACK has come: of `actor_init`, or of the batch in flight."""
        self.last_answer = now
        self._in_flight = False
        if self.state is State.HANDSHAKING:
            if code >= REFUSED:
                return [self._refused(f"introduction refused, reason code 0x{code:02X}")]
            return []
        self._deadline = math.inf
        if code >= REFUSED:
            self._pending.retry()
            self._next_batch = now + RETRY_PAUSE
        else:
            self._pending.confirm()
        return self.run(now)

    def disconnected(self) -> None:
        """The connection has gone."""
        self.state = State.DISCONNECTED
        self._deadline = self._next_heartbeat = math.inf
        self._in_flight = False
        self._pending.retry()

    def run(self, now: float) -> list[Action]:
        """Do what is due."""
        if now >= self._deadline:
            return [Close(f"no answer within {ANSWER_TIMEOUT:.0f} s while {self.state.value}")]
        if not self.is_accepted:
            return []
        actions: list[Action] = []
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + HEARTBEAT_INTERVAL
            actions.append(self._publish(Heartbeat(self.names.actor, self.incarnation), qos=0))
        if self._may_send and now >= self._next_batch:
            actions += self._batch(now)
        return actions

    @property
    def is_accepted(self) -> bool:
        """Whether the other side has accepted us on this connection."""
        return self.state in (State.BOOTSTRAPPING, State.ONLINE)

    @property
    def _may_send(self) -> bool:
        return self.is_accepted and not self._in_flight

    def _batch(self, now: float) -> list[Action]:
        """Send the next operations; where there are none left, we are online."""
        ops = self._pending.take(BATCH)
        if not ops:
            self.state = State.ONLINE
            self._bootstrapped = True
            return []
        self._in_flight = True
        self._next_batch = now + BATCH_PAUSE
        self._deadline = now + ANSWER_TIMEOUT
        return [self._publish(Routes(self.names.actor, self.incarnation, ops))]

    def _publish(self, control: payload.Control, qos: int = 1) -> Publish:
        return Publish(payload.encode_control(control), qos)

    def _go_on(self, need_bootstrap: bool, now: float) -> None:
        """We are accepted: say everything, or only what has changed since the last connection."""
        self._ever_accepted = True
        self._next_heartbeat = now + HEARTBEAT_INTERVAL
        self._next_batch = now
        self._deadline = now + ANSWER_TIMEOUT if self._in_flight else math.inf
        if self._bootstrapped and not need_bootstrap:
            self.state = State.ONLINE
            return
        self.state = State.BOOTSTRAPPING
        self._bootstrapped = False
        if need_bootstrap:
            self._pending.clear()
        # Otherwise it may hold part of a bootstrap that broke off: deletes since then still count.
        self._pending.add(self.exports)

    def _explain(self, ack: ActorInitAck) -> Close:
        """What a refusal means, and for whom."""
        names = self.names
        if ack.cluster == names.local:
            text = (
                f'{names.server} is this cluster itself, "{names.local}":'
                f' expected the address of "{names.remote}"'
            )
        elif ack.error == payload.MISNAMED or ack.cluster not in (None, names.remote):
            called = f'"{ack.cluster}"' if ack.cluster else "something else"
            text = f'the cluster at {names.server} is called {called}, not "{names.remote}"'
        elif ack.error == payload.UNKNOWN_CLUSTER:
            text = f'"{names.remote}" has no link to "{names.local}"'
        elif ack.error == payload.DISABLED:
            text = f'"{names.remote}" has disabled its link to "{names.local}"'
        else:
            text = f'"{names.remote}" refuses the link: {ack.error}'
        return Close(text, inconsistent=True)

    def _refused(self, what: str) -> Close:
        return Close(
            f'{what}: "{self.names.remote}" does not accept this client as "{self.names.local}"',
            inconsistent=True,
        )
