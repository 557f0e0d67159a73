"""The error tree: every error says whose fault it was.

- `ConfigurationError`: the operator's. The configuration file, or a body sent to the admin API.
- `PeerError`: the other end of one connection. Costs that connection at most.
  - `MalformedPacket`: bytes that are no MQTT control packet (reason code 0x81).
  - `ProtocolError`: a packet that the specification forbids here (0x82, or a code of its own).
- `LinkError`: the other cluster's. Costs one link connection, or one forwarded message.
  - `UndecodablePayload`: an Erlang term that is none, or none that the link protocol knows.
- `StoreError`: ours, the disk's or the machine's.

What is left to others: the texts of reason codes (`mqtt.codes`) and how an error is told to the
peer (`mqtt.connection`) or the log.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ConfigurationError",
    "IsthmusError",
    "LinkError",
    "MalformedPacket",
    "Mistake",
    "PeerError",
    "ProtocolError",
    "StoreError",
    "UndecodablePayload",
]


class IsthmusError(Exception):
    """Base of every error that Isthmus raises on purpose."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in a configuration: where it stands, and what was expected instead."""

    key: str
    """Path of the key, as in `cluster.links[0].topics[1]`; empty for the file as a whole."""
    message: str
    """What came and what was expected."""
    file: str = ""
    line: int | None = None
    """1-based; None where it is not known."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        what = f"{self.key}: {self.message}" if self.key else self.message
        return "  ".join(part for part in (place, what) if part)


class ConfigurationError(IsthmusError):
    """A configuration that can't be used; carries every mistake found, not only the first."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = mistakes


class PeerError(IsthmusError):
    """The other end of a connection did something wrong; `code` is the MQTT 5.0 reason code."""

    def __init__(self, message: str, code: int = 0x80) -> None:
        super().__init__(message)
        self.code = code


class MalformedPacket(PeerError):
    """Bytes that can't be parsed as an MQTT control packet (MQTT 5.0, 1.2 "Malformed Packet")."""

    def __init__(self, message: str, code: int = 0x81) -> None:
        super().__init__(message, code)


class ProtocolError(PeerError):
    """A well-formed packet that must not come here, or not now (1.2 "Protocol Error")."""

    def __init__(self, message: str, code: int = 0x82) -> None:
        super().__init__(message, code)


class LinkError(IsthmusError):
    """The other cluster broke the link protocol."""


class UndecodablePayload(LinkError):
    """A payload on `$LINK/cluster/...` that can't be decoded; the text says at which byte."""


class StoreError(IsthmusError):
    """State could not be read or written."""
