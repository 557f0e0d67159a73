"""How the failure of a connection is told: what happened, in words, and what may be behind it.

What the link protocol's own refusals mean is `actor`'s to say.
"""

from __future__ import annotations

import socket
import ssl
from typing import Final

from isthmus_broker.mqtt.codes import ReasonCode

GONE: Final = "the other side closed the connection"


def reason_text(code: int) -> str:
    """A reason code as people read it."""
    try:
        return f"{ReasonCode(code).name.lower().replace('_', ' ')} (0x{code:02X})"
    except ValueError:
        return f"reason code 0x{code:02X}"


def told(error: BaseException) -> str:
    """What went wrong, without the parts of a message that only repeat the address."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    if isinstance(error, socket.gaierror):
        return error.strerror or str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or (GONE if isinstance(error, ConnectionError) else type(error).__name__)


def doubt(error: Exception) -> str:
    """What may be behind it that a connection was closed where TLS was wanted: no more is told."""
    refused = isinstance(error, ConnectionRefusedError)
    closed = isinstance(error, ConnectionError) or str(error) == GONE
    if refused or not closed:
        return ""
    return " (does it speak TLS there, and accept this side's certificate?)"
