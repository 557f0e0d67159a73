"""Client id -> session: who is connected, take-over, expiry, delayed wills.

Everything that happens to a session between two connections happens here. What a connection says
and does is `connection`'s business.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from isthmus_broker.mqtt.codes import ReasonCode
from isthmus_broker.mqtt.deadlines import Deadlines
from isthmus_broker.mqtt.publish import Message
from isthmus_broker.mqtt.session import QueueLimits, Session
from isthmus_broker.routing.router import Router


class Connected(Protocol):
    """A connection, as the registry sees it."""

    def displace(self, code: ReasonCode, now: float) -> None:
        """Disconnect: somebody else takes the session, or an administrator ends it."""


@dataclass(frozen=True, slots=True)
class Will:
    """A Will Message, its Will Delay and Message Expiry Intervals (3.1.3.2) in seconds."""

    message: Message
    delay: float = 0.0
    expiry: int | None = None


class Registry:
    """The sessions of one node.

    `publish_will` sends a Will Message (it knows the client's rights); `max_sessions` bounds what
    clients with ever new ids can make us keep.
    """

    def __init__(
        self,
        router: Router,
        deadlines: Deadlines,
        publish_will: Callable[[Message, float], object],
        *,
        max_sessions: int = 1_000_000,
    ) -> None:
        self.sessions: dict[str, Session] = {}
        self.connections: dict[str, Connected] = {}
        self._router = router
        self._deadlines = deadlines
        self._publish_will = publish_will
        self._max_sessions = max_sessions
        self._wills: dict[str, tuple[Will, float]] = {}
        self._ends: dict[str, float] = {}

    @property
    def full(self) -> bool:
        """Whether no further session can be made."""
        return len(self.sessions) >= self._max_sessions

    def open(
        self,
        client_id: str,
        connection: Connected,
        limits: QueueLimits,
        now: float,
        *,
        clean_start: bool,
    ) -> tuple[Session, bool]:
        """Give `connection` the session of a client id; whoever had it is disconnected.

        Returns the session, and whether it was present (3.2.2.1.1) [MQTT-3.1.4-3].
        """
        before = self.connections.pop(client_id, None)
        if before is not None:
            before.displace(ReasonCode.SESSION_TAKEN_OVER, now)
        self._ends.pop(client_id, None)
        session = self.sessions.get(client_id)
        if session is not None and clean_start:
            self._end(client_id, session, now)  # [MQTT-3.1.2-4]
            session = None
        self._wills.pop(client_id, None)  # [MQTT-3.1.3-9]
        present = session is not None
        if session is None:
            session = self.sessions[client_id] = Session(client_id, limits)
        session.limits = limits
        self.connections[client_id] = connection
        return session, present

    def close(self, session: Session, connection: Connected, will: Will | None, now: float) -> None:
        """Note that a connection has ended; `will` is None after a normal DISCONNECT."""
        client_id = session.client_id
        if self.connections.get(client_id) is connection:
            del self.connections[client_id]
        session.detach()
        if will is not None:
            self._keep_will(client_id, will, session, now)
        if session.expiry_interval <= 0:
            self._end(client_id, session, now)  # [MQTT-3.1.2-23]
            return
        if session.limits.queue_qos0:
            self._router.refresh(session)  # runs must not be handed to who is away
        if session.expiry_interval < math.inf:
            self._ends[client_id] = due = now + session.expiry_interval
            self._deadlines.add(due, partial(self._expire, client_id), ("expiry", client_id))

    def end(self, client_id: str, code: ReasonCode, now: float) -> bool:
        """Disconnect a client and end its session, by an administrator's will."""
        session = self.sessions.get(client_id)
        connection = self.connections.get(client_id)
        if connection is not None:
            connection.displace(code, now)
        if session is None:
            return False
        if client_id in self.sessions:
            self._end(client_id, session, now)
        return True

    def _end(self, client_id: str, session: Session, now: float) -> None:
        """A session ends: its subscriptions go, and a delayed will is due [MQTT-3.1.2-10]."""
        self.sessions.pop(client_id, None)
        self._ends.pop(client_id, None)
        self._router.forget(session)
        will = self._wills.pop(client_id, None)
        if will is not None:
            self._send_will(will[0], now)

    def _expire(self, client_id: str, now: float) -> float | None:
        due = self._ends.get(client_id)
        if due is None or due > now:
            return due
        self._end(client_id, self.sessions[client_id], now)
        return None

    def _keep_will(self, client_id: str, will: Will, session: Session, now: float) -> None:
        delay = min(will.delay, session.expiry_interval)
        if delay <= 0:
            self._send_will(will, now)
            return
        self._wills[client_id] = will, now + delay
        self._deadlines.add(now + delay, partial(self._will_due, client_id), ("will", client_id))

    def _will_due(self, client_id: str, now: float) -> float | None:
        will, due = self._wills.get(client_id, (None, 0.0))
        if will is None:
            return None
        if due > now:
            return due
        del self._wills[client_id]
        self._send_will(will, now)
        return None

    def _send_will(self, will: Will, now: float) -> None:
        if will.expiry is not None:
            will.message.expires_at = now + will.expiry  # counts from its publication, 3.1.3.2.4
        self._publish_will(will.message, now)
