"""What this node has done, as plain integers; `metrics` shows them to Prometheus and `$SYS`."""

from __future__ import annotations


class Counters:
    """Totals since the start; only ever grow. One object a node."""

    __slots__ = (
        "bytes_received",
        "bytes_sent",
        "connects",
        "disconnects",
        "dropped",
        "messages_received",
        "messages_sent",
        "refused",
    )

    def __init__(self) -> None:
        self.bytes_received = 0
        self.bytes_sent = 0
        self.connects = 0
        self.disconnects: dict[str, int] = {}
        """Ended connections, by reason."""
        self.dropped: dict[str, int] = {}
        """Messages that a subscriber should have had, by reason."""
        self.messages_received = 0
        """PUBLISH packets from clients."""
        self.messages_sent = 0
        """Deliveries: PUBLISH packets for clients, resends not counted."""
        self.refused: dict[str, int] = {}
        """Connections that were never opened, by reason."""

    def drop(self, reason: str, count: int = 1) -> None:
        """Count messages that were not delivered."""
        self.dropped[reason] = self.dropped.get(reason, 0) + count

    def refuse(self, reason: str) -> None:
        """Count a connection that was refused."""
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def disconnect(self, reason: str) -> None:
        """Count a connection that has ended."""
        self.disconnects[reason] = self.disconnects.get(reason, 0) + 1
