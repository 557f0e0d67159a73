"""Answers of the admin API other than success: JSON of one shape, whatever went wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from aiohttp import web

from isthmus_broker.errors import Mistake


class ApiError(Exception):
    """Becomes `{code, message, ...}` with an HTTP status."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        mistakes: Sequence[Mistake] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.mistakes = mistakes
        self.headers = headers

    def response(self) -> web.Response:
        """The answer."""
        body: dict[str, object] = {"code": self.code, "message": str(self)}
        if self.mistakes:
            body["mistakes"] = [{"key": it.key, "message": it.message} for it in self.mistakes]
        return web.json_response(body, status=self.status, headers=self.headers, dumps=dumps)


def bad_request(message: str, mistakes: Sequence[Mistake] = ()) -> ApiError:
    """The client's mistake."""
    return ApiError(400, "BAD_REQUEST", message, mistakes)


def not_found(name: str) -> ApiError:
    """There is no such link."""
    return ApiError(404, "NOT_FOUND", f'there is no link with the name "{name}"')


def dumps(value: object) -> str:
    """JSON as text, readable as it is."""
    return json.dumps(value, ensure_ascii=False)
