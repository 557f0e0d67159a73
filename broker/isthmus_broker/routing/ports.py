"""The doors of routing: what the link, and whoever else stands above, plugs into the router.

Routing knows nothing of links or sockets; it knows these shapes. The implementations live in
`link` and `net`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from isthmus_broker.mqtt.codes import ReasonCode
from isthmus_broker.mqtt.properties import Properties
from isthmus_broker.mqtt.publish import Message


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """Who is on the other end of a connection, as far as it has proved it."""

    client_id: str
    username: str | None
    peer: str
    """IP address."""
    listener: str
    """Name of the listener it came in by, as in `tcp:default`."""
    level: int
    """Protocol level: 4 (MQTT 3.1.1) or 5."""
    certificate_cn: str | None = None
    link: str | None = None
    """Name of the cluster for which this client authenticated as a link, if it did."""


class SubscriptionListener(Protocol):
    """Hears when the first local subscription of a filter appears, and when the last one goes."""

    def subscribed(self, filter: bytes, group: bytes | None) -> None:
        """The first local subscription of `filter` (within the shared group) has appeared."""

    def unsubscribed(self, filter: bytes, group: bytes | None) -> None:
        """The last local subscription of `filter` (within the shared group) has gone."""


class RemoteRoutes(Protocol):
    """The routes that other clusters have announced."""

    def match(self, topic: bytes) -> Collection[str]:
        """Names of the clusters where somebody subscribes to `topic`."""


class RemoteCluster(Protocol):
    """A linked cluster to which messages can be forwarded; never blocks, never raises."""

    def forward(self, message: Message, now: float) -> None:
        """Queue one message for that cluster."""

    def forward_run(
        self,
        topic: bytes,
        payloads: Sequence[bytes],
        publisher: str,
        username: str | None,
        now: float,
    ) -> None:
        """Queue many messages of QoS 0 without properties and of one publisher."""


class Ingress(Protocol):
    """Takes what a client publishes to `$LINK/cluster/...`: never routed to subscribers."""

    def receive(
        self,
        client: ClientInfo,
        topic: bytes,
        payload: bytes,
        properties: Properties,
        now: float,
    ) -> ReasonCode:
        """Handle one PUBLISH; the code goes into its PUBACK.

        Raises:
            PeerError: the client is to be disconnected with the error's reason code.
        """

    def receive_messages(
        self, client: ClientInfo, topic: bytes, payloads: Sequence[bytes], now: float
    ) -> None:
        """Handle many PUBLISH packets of QoS 0 to `$LINK/cluster/msg/NAME`."""

    def closed(self, client: ClientInfo) -> None:
        """The connection of a client that spoke on `$LINK/...` is gone."""
