"""What every connection of this node shares: the parts it talks to, and what is in force now.

`server` builds it, and puts new settings in on a reload; connections read it afresh each time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from isthmus_broker.auth.rules import Rules
from isthmus_broker.auth.verify import Outcome
from isthmus_broker.mqtt.deadlines import Deadlines
from isthmus_broker.mqtt.packets import Connect
from isthmus_broker.mqtt.session import QueueLimits
from isthmus_broker.routing.counters import Counters
from isthmus_broker.routing.ports import Ingress
from isthmus_broker.routing.registry import Registry
from isthmus_broker.routing.router import Router
from isthmus_broker.settings import MqttSettings


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection, before it has said who it is."""

    address: str
    listener: str
    """As in `tcp:default`."""
    certificate_cn: str | None = None
    """Common name of the client certificate that TLS has verified."""


class Authenticator(Protocol):
    """Finds out who a client is."""

    def __call__(self, connect: Connect, peer: Peer, done: Callable[[Outcome], None]) -> None:
        """Call `done` with the outcome, at once or later."""


@dataclass(slots=True)
class Node:
    """The parts and settings of this node."""

    router: Router
    registry: Registry
    deadlines: Deadlines
    counters: Counters
    authenticate: Authenticator
    rules: Rules
    mqtt: MqttSettings
    queue_limits: QueueLimits
    repeat: Callable[[Callable[[float], float | None]], None]
    """Runs long work in slices (`net.ticker.Ticker.repeat`)."""
    new_client_id: Callable[[], str]
    ingress: Ingress | None = None
    draining: bool = field(default=False)
    """Whether the node is about to stop and takes no new clients."""
