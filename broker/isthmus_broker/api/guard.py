"""Who may use the admin API, and what becomes of errors.

With a key: whoever shows it, as `Authorization: Bearer KEY`, as the password of `Basic`, or in
`X-Isthmus-Key` (the Kubernetes API server's proxy drops `Authorization`). Without one the API
listens on loopback only, and a request must also name a loopback host, so that no page in a
browser on this machine can get here through a name of its own. Probes need no key.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from isthmus_broker.api.errors import ApiError
from isthmus_broker.settings import Settings
from isthmus_broker.settings.values import is_loopback, split_address

OPEN_PATHS: Final = frozenset(("/healthz", "/readyz"))
KEY_HEADER: Final = "X-Isthmus-Key"
_CODES: Final = {
    400: "BAD_REQUEST",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "PAYLOAD_TOO_LARGE",
}

log = structlog.get_logger("isthmus.api")


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error as JSON; what we did not foresee is logged, and told without details."""
    try:
        return await handler(request)
    except ApiError as error:
        return error.response()
    except web.HTTPException as error:
        if error.status < 400:
            raise
        code = _CODES.get(error.status, "BAD_REQUEST")
        allowed = error.headers.get("Allow")
        headers = {"Allow": allowed} if allowed else None
        message = f"{request.method} {request.path}: {error.reason}"
        return ApiError(error.status, code, message, headers=headers).response()
    except Exception:
        log.exception("request failed", method=request.method, path=request.path)
        return ApiError(500, "INTERNAL_ERROR", "see the broker's log").response()


def key_required(settings: Callable[[], Settings]) -> Middleware:
    """Make the middleware that lets in who may come in, by the settings in force."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in OPEN_PATHS:
            key = settings().api.api_key
            if key is None:
                _check_host(request)
            elif not _same(_shown(request), key.get_secret_value()):
                raise ApiError(
                    401,
                    "UNAUTHORIZED",
                    f"expected the API key as Authorization: Bearer KEY or {KEY_HEADER}: KEY",
                    headers={"WWW-Authenticate": 'Bearer realm="isthmus"'},
                )
        return await handler(request)

    return guard


def _check_host(request: web.Request) -> None:
    try:
        host, _ = split_address(request.host)
    except ValueError:
        host = ""
    if not is_loopback(host):
        raise ApiError(
            403, "FORBIDDEN", "without an API key, only requests to localhost or 127.0.0.1 count"
        )


def _shown(request: web.Request) -> str:
    ours = request.headers.get(KEY_HEADER)
    if ours is not None:
        return ours
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def _same(shown: str, key: str) -> bool:
    return hmac.compare_digest(shown.encode(errors="replace"), key.encode())
