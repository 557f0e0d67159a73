"""What an API server's answer means, as one of our errors. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from isthmus_operator.errors import (
    ClusterError,
    Conflict,
    Refused,
    Terminating,
    Unauthorized,
    Unreachable,
)

_SHOWN: Final = 600
_ADMISSION: Final = re.compile(
    r"exceeded quota|violates PodSecurity|denied (the|this) request|failed quota"
)
_WEBHOOK: Final = re.compile(r"failed calling webhook")
_TERMINATING: Final = re.compile(r"because it is being terminated")


class TooOld(Refused):
    """The revision that was asked for is not known any more: 410."""


def document(body: bytes) -> dict[str, Any] | None:
    """The body, where it is a JSON object."""
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def is_status(body: bytes) -> bool:
    """Whether it is the API server that speaks, and not what is behind its proxy."""
    found = document(body)
    return found is not None and found.get("kind") == "Status" and "apiVersion" in found


def error_of(status: int, body: bytes, what: str) -> ClusterError:
    """The error that a status of 400 and above means; `what` was asked, `PATCH secrets/a`, say."""
    found = document(body) or {}
    said = found.get("message")
    message = said if isinstance(said, str) and said else words(body) or _phrase(status)
    text = f"{what}: {message[:_SHOWN]} ({status})"
    if status == HTTPStatus.UNAUTHORIZED:
        return Unauthorized(f"{text}: expected credentials that it knows; they may have expired")
    if status == HTTPStatus.FORBIDDEN:
        return _forbidden(message, found, text)
    if status == HTTPStatus.CONFLICT:
        return _forbidden(message, found, text) if _terminating(message, found) else Conflict(text)
    if status == HTTPStatus.GONE:
        return TooOld(text)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Unreachable(text)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Refused(text) if _WEBHOOK.search(message) else Unreachable(text)
    return Refused(text)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no words"


def _forbidden(message: str, found: Mapping[str, Any], text: str) -> ClusterError:
    if _terminating(message, found):
        return Terminating(text)
    return Refused(text) if _ADMISSION.search(message) else Unauthorized(text)


def _terminating(message: str, found: Mapping[str, Any]) -> bool:
    details = found.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    reasons = [cause.get("reason") for cause in causes or [] if isinstance(cause, dict)]
    return "NamespaceTerminating" in reasons or bool(_TERMINATING.search(message))


def words(body: bytes) -> str:
    """The beginning of a body, for a message."""
    return " ".join(body[:_SHOWN].decode(errors="replace").split())
