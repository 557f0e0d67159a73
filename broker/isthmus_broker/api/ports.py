"""What the admin API needs of the broker: the server implements it, tests stand in for it."""

from __future__ import annotations

from typing import Protocol

from prometheus_client import CollectorRegistry

from isthmus_broker.link.status import Direction, Forwarding, LinkStatus, State
from isthmus_broker.settings import Settings

__all__ = ["Broker", "Direction", "Forwarding", "LinkStatus", "State"]


class Broker(Protocol):
    """The running broker."""

    @property
    def settings(self) -> Settings:
        """The configuration in force."""

    @property
    def registry(self) -> CollectorRegistry:
        """What `/metrics` shows."""

    @property
    def reload_error(self) -> str:
        """Why the configuration file is not in force as it stands; empty where it is."""

    def uptime(self) -> float:
        """Seconds since the start."""

    def not_ready(self) -> str:
        """Why no client should be sent here; empty where it should."""

    def connections(self) -> int:
        """Clients connected now."""

    def link_status(self, name: str) -> LinkStatus | None:
        """Status of a link; None where there is no such link running."""

    def reset_link_metrics(self, name: str) -> None:
        """Set the counters of a link back to zero."""

    async def reload(self) -> None:
        """Read the configuration again and take it up; back when it is in force.

        Raises:
            ConfigurationError: it has mistakes, and the one before stays in force.

        """
