"""As much of a client of the API server as bringing up a cluster needs; JSON in, JSON out."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clusters.certificates import Identity
from clusters.errors import Failed

Document = dict[str, Any]

_MANAGER: Final = "isthmus-clusters"
_APPLY: Final = "application/apply-patch+yaml"  # JSON is YAML
_MERGE: Final = "application/merge-patch+json"


@dataclass(frozen=True)
class Api:
    """One API server, and who one is there."""

    server: str
    ca: Path
    identity: Identity

    def ready(self) -> bool:
        """Whether it says that it is ready."""
        try:
            return self._request("GET", "/readyz", seconds=2.0)[0] == http.HTTPStatus.OK
        except OSError:
            return False

    def get(self, path: str) -> Document:
        """Read an object or a list.

        Raises:
            Failed: refused, or nothing is there.
            OSError: no answer.
        """
        return self._json("GET", path)

    def exists(self, path: str) -> bool:
        """Whether an object is there; errors as `get`."""
        status, answer = self._request("GET", path)
        if status not in (http.HTTPStatus.OK, http.HTTPStatus.NOT_FOUND):
            raise Failed(f"GET {self.server}{path}: {status}: {answer[:1000].decode()}")
        return status == http.HTTPStatus.OK

    def post(self, path: str, body: Mapping[str, Any]) -> Document:
        """Create something; errors as `get`."""
        return self._json("POST", path, body)

    def apply(self, path: str, body: Mapping[str, Any]) -> Document:
        """Make an object be as said, by server-side apply; errors as `get`."""
        query = f"?fieldManager={_MANAGER}&force=true"
        return self._json("PATCH", path + query, body, _APPLY)

    def merge(self, path: str, body: Mapping[str, Any]) -> Document:
        """Change fields of an object; errors as `get`."""
        return self._json("PATCH", f"{path}?fieldManager={_MANAGER}", body, _MERGE)

    def watch(self, path: str, seconds: int) -> Iterator[Document]:
        """Events about what `path` lists, first one for each that is there, for some seconds.

        Raises:
            OSError: the connection broke; begin again.
        """
        connection = self._connect(seconds + 10.0)
        try:
            connection.request("GET", f"{path}?watch=true&timeoutSeconds={seconds}")
            answer = connection.getresponse()
            for line in answer:
                yield json.loads(line)
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    def _connect(self, seconds: float) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(self.identity.certificate, self.identity.key)
        address = urllib.parse.urlsplit(self.server).netloc
        return http.client.HTTPSConnection(address, timeout=seconds, context=context)

    def _json(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        kind: str = "application/json",
    ) -> Document:
        status, answer = self._request(method, path, body, kind)
        if status >= http.HTTPStatus.BAD_REQUEST:
            raise Failed(f"{method} {self.server}{path}: {status}: {answer[:1000].decode()}")
        document: Document = json.loads(answer)
        return document

    def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        kind: str = "application/json",
        seconds: float = 30.0,
    ) -> tuple[int, bytes]:
        connection = self._connect(seconds)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()
