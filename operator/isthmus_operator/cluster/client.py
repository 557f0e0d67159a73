"""One Kubernetes cluster: apply, delete, read, list and watch objects; every call has a deadline.

Objects are plain data. Writing is server-side apply under our own name, so that fields of others
stay theirs. What went wrong is told by `errors`; when to try again is left to those who call.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration

from isthmus_operator import names
from isthmus_operator.access import Access
from isthmus_operator.cluster.answers import document, error_of, is_status, words
from isthmus_operator.cluster.breaker import Breaker, NoBreaker
from isthmus_operator.cluster.watch import OnEvent, Watch
from isthmus_operator.errors import BrokerError, Refused, Terminating, Unauthorized, Unreachable

Manifest = dict[str, Any]
Manifests = list[Manifest]
DEADLINE: Final = 10.0
_CONNECT: Final = 5.0
_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT)  # the rest is DEADLINE's
_PAGE: Final = 500
_MOST: Final = 64 * 1024 * 1024
"""Bytes of an answer; a page of the largest objects has less."""
_KINDS: Final = {
    "ConfigMap": ("api/v1", "configmaps"),
    "Event": ("api/v1", "events"),
    "Namespace": ("api/v1", "namespaces"),
    "Pod": ("api/v1", "pods"),
    "Secret": ("api/v1", "secrets"),
    "Service": ("api/v1", "services"),
    "ServiceAccount": ("api/v1", "serviceaccounts"),
    "StatefulSet": ("apis/apps/v1", "statefulsets"),
    "Certificate": ("apis/cert-manager.io/v1", "certificates"),
    "Lease": ("apis/coordination.k8s.io/v1", "leases"),
    "NetworkPolicy": ("apis/networking.k8s.io/v1", "networkpolicies"),
    "PodDisruptionBudget": ("apis/policy/v1", "poddisruptionbudgets"),
    "BrokerCluster": (f"apis/{names.API_VERSION}", "brokerclusters"),
    "ClusterLink": (f"apis/{names.API_VERSION}", "clusterlinks"),
}
_APPLY: Final = "application/apply-patch+yaml"
_MERGE: Final = "application/merge-patch+json"
_TOKEN_AGE: Final = 60.0


class KubeCluster:
    """A client of one API server."""

    def __init__(
        self, reached: Access, *, deadline: float = DEADLINE, breaker: Breaker | None = None
    ) -> None:
        self._access = reached
        self._deadline = deadline
        self.breaker = breaker or NoBreaker()
        self._api = _client(reached)
        self._bearer = ("", 0.0)
        self.closed = False

    async def close(self) -> None:
        """Close its connections."""
        self.closed = True
        await self._api.close()  # type: ignore[no-untyped-call]

    # -- objects -----------------------------------------------------------------------------------

    async def apply(self, manifest: Manifest) -> Manifest:
        """Make an object be so, as far as the manifest says; returns the whole.

        Raises:
            ClusterError: it did not happen; so for all methods here.
        """
        meta = manifest["metadata"]
        path = _path(manifest["kind"], meta["namespace"], meta["name"])
        query = {"fieldManager": names.FIELD_MANAGER, "force": "true"}
        found = await self._call("PATCH", path, query, manifest, _APPLY)
        assert found is not None  # noqa: S101 - 404 is an error here
        return found

    async def create(self, manifest: Manifest) -> Manifest:
        """Make an object that is not there yet; `Conflict` where it is."""
        meta = manifest["metadata"]
        found = await self._call("POST", _path(manifest["kind"], meta["namespace"]), {}, manifest)
        assert found is not None  # noqa: S101 - 404 is an error here
        return found

    async def replace(self, manifest: Manifest) -> Manifest:
        """Replace an object; `Conflict` where its resourceVersion is another by now."""
        meta = manifest["metadata"]
        path = _path(manifest["kind"], meta["namespace"], meta["name"])
        found = await self._call("PUT", path, {}, manifest)
        assert found is not None  # noqa: S101 - 404 is an error here
        return found

    async def ensure(self, manifest: Manifest) -> None:
        """As `apply`, where something of it is not so already."""
        meta = manifest["metadata"]
        live = await self.get(manifest["kind"], meta["namespace"], meta["name"])
        if live is None or live.get("spec") is None or not _same(manifest["spec"], live["spec"]):
            await self.apply(manifest)

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object, if it is there."""
        await self._call("DELETE", _path(kind, namespace, name), absent=True)

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Read an object; None where there is none."""
        return await self._call("GET", _path(kind, namespace, name), absent=True)

    async def list(self, kind: str, namespace: str, selector: str) -> Manifests:
        """All objects of a kind that have the labels; `namespace` empty: in all."""
        return (await self.list_at(kind, namespace, selector))[0]

    async def annotate_pod(self, namespace: str, name: str, key: str, value: str) -> None:
        """Set an annotation of a pod, if it is there."""
        body = {"metadata": {"annotations": {key: value}}}
        await self._call("PATCH", _path("Pod", namespace, name), {}, body, _MERGE, absent=True)

    async def update_status(
        self, kind: str, namespace: str, name: str, status: Mapping[str, Any]
    ) -> Manifest | None:
        """Make this the status of a resource; None where it is gone."""
        body = {
            "apiVersion": names.API_VERSION,
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace},
            "status": status,
        }
        path = f"{_path(kind, namespace, name)}/status"
        query = {"fieldManager": f"{names.FIELD_MANAGER}-status", "force": "true"}
        return await self._call("PATCH", path, query, body, _APPLY, absent=True)

    async def event(self, about: Mapping[str, Any], type_: str, reason: str, message: str) -> None:
        """Say something about an object, for `kubectl describe`; not where its namespace goes."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        name = f"{about['name'][:220]}.{uuid.uuid4().hex[:16]}"
        body = {
            "metadata": {"name": name, "namespace": about["namespace"]},
            "involvedObject": dict(about),
            "type": type_,
            "reason": reason,
            "message": message[:1000],
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": "isthmus-operator"},
        }
        with contextlib.suppress(Terminating):
            await self._call("POST", _path("Event", about["namespace"]), {}, body)

    async def pod_proxy(
        self, namespace: str, pod: str, port: int, path: str, headers: Mapping[str, str]
    ) -> bytes:
        """GET something of a pod by way of the API server, which drops `Authorization`.

        Raises:
            BrokerError: the pod did not answer, or with an error.
            Unauthorized: we may not ask it.
        """
        whole = f"{_path('Pod', namespace, f'{pod}:{port}')}/proxy{path}"
        status, text = await self._answer("GET", whole, headers=headers, behind=True)
        if status < 400:
            return text
        if is_status(text):
            error = error_of(status, text, f"GET {whole}")
            raise error if isinstance(error, Unauthorized) else BrokerError(str(error))
        raise BrokerError(f"GET {path} of pod {pod}: {status}: {words(text)}")

    # -- watching ----------------------------------------------------------------------------------

    async def watch(
        self, kinds: Sequence[str], namespace: str, selector: str, on_event: OnEvent
    ) -> None:
        """Tell of every change of such objects until cancelled; first of all that are there."""
        async with asyncio.TaskGroup() as group:
            for kind in kinds:
                group.create_task(Watch(self, kind, namespace, selector, on_event).run())

    async def list_at(self, kind: str, namespace: str, selector: str) -> tuple[Manifests, str]:
        """As `list`, and the revision to go on from."""
        found: Manifests = []
        token = ""
        while True:
            query = {"limit": str(_PAGE), "labelSelector": selector, "continue": token}
            filled = {key: value for key, value in query.items() if value}
            page = await self._call("GET", _path(kind, namespace), filled) or {}
            version = page.get("apiVersion", "")  # lists leave it out of their items
            found += [
                {"apiVersion": version, "kind": kind, **one} for one in page.get("items") or ()
            ]
            meta = page.get("metadata") or {}
            token = meta.get("continue") or ""
            if not token:
                return found, str(meta.get("resourceVersion") or "")

    async def lines(
        self, kind: str, namespace: str, query: Mapping[str, str], silence: float
    ) -> AsyncGenerator[bytes, None]:
        """A stream of lines until the other side ends it; an empty one once it is open.

        Close it by `contextlib.aclosing`.

        Raises:
            ClusterError: refused, not reached, or nothing came for `silence` seconds.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=silence)
        path = _path(kind, namespace)
        try:
            answer = await self._send("GET", path, query, timeout=timeout)
            async with answer.response as response:
                if response.status >= 400:
                    raise error_of(response.status, await response.read(), f"watch {path}")
                self.breaker.succeeded()
                yield b""
                async for line in response.content:
                    yield line
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(self._words(error, silence)) from error

    # -- requests ----------------------------------------------------------------------------------

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content: str = "application/json",
        *,
        absent: bool = False,
    ) -> Manifest | None:
        status, text = await self._answer(method, path, query, body, content)
        if status == 404 and absent:
            return None
        if status >= 400:
            raise error_of(status, text, f"{method} {path}")
        found = document(text)
        if found is None or "kind" not in found:
            raise Refused(
                f"{method} {path}: expected an object of the Kubernetes API, and something else"
                f" came; is {self._access.server} an API server?"
            )
        return found

    async def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content: str = "application/json",
        headers: Mapping[str, str] | None = None,
        *,
        behind: bool = False,
    ) -> tuple[int, bytes]:
        """Status and body of an answer; `behind`: a pod's, whose lateness is its own."""
        self.breaker.begin(time.monotonic())
        try:
            async with asyncio.timeout(self._deadline):
                answer = await self._send(method, path, query, body, content, headers)
                async with answer.response as response:
                    text = await _limited(response)
        except (aiohttp.ClientError, OSError) as error:
            said = self._words(error, self._deadline)
            if behind and not isinstance(error, aiohttp.ClientError):
                self.breaker.given_up()
                raise BrokerError(f"{path}: no answer within {self._deadline:g} s") from error
            self.breaker.failed(said, time.monotonic())
            raise Unreachable(said) from error
        except BaseException:
            self.breaker.given_up()
            raise
        self.breaker.succeeded()
        return response.status, text

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content: str = "application/json",
        headers: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout | None = None,  # noqa: ASYNC109 - passed on
    ) -> Any:
        if self.closed:
            raise Unreachable(f"{self._access.server}: not used any more")
        url = f"{self._access.server}{path}" + (f"?{urlencode(query)}" if query else "")
        sent = {"Content-Type": content, "Accept": "application/json", **(headers or {})}
        token = self._token()
        if token or self._access.basic:
            sent["Authorization"] = f"Bearer {token}" if token else f"Basic {self._access.basic}"
        return await self._api.rest_client.request(  # type: ignore[no-untyped-call]
            method, url, headers=sent, body=body, _request_timeout=timeout or _TIMEOUT
        )

    def _words(self, error: Exception, limit: float) -> str:
        """What went wrong on the way; with the server's name, as of several."""
        server = self._access.server
        if isinstance(error, TimeoutError) and not isinstance(
            error, aiohttp.ConnectionTimeoutError
        ):
            return f"{server}: no answer within {limit:g} s"
        return f"{server}: {str(error) or type(error).__name__}"

    def _token(self) -> str:
        token, read_at = self._bearer
        if not token or time.monotonic() - read_at > _TOKEN_AGE:
            token = self._access.bearer()
            self._bearer = (token, time.monotonic())
        return token


def _client(reached: Access) -> ApiClient:
    """The official client for it; a client certificate is on disk for a moment only.

    Raises:
        OSError, ValueError: the certificates can't be used.
    """
    configuration = Configuration(host=reached.server)
    configuration.ca_cert_data = reached.ca or None
    configuration.tls_server_name = reached.server_name or None
    configuration.verify_ssl = reached.verify
    configuration.proxy = reached.proxy or None
    # Python is stricter than kubectl: CAs of many clusters have no key identifiers.
    configuration.disable_strict_ssl_verification = True
    configuration.client_session_kwargs = {"trust_env": False}
    with tempfile.TemporaryDirectory(prefix="isthmus-") as folder:
        if reached.certificate:
            pair = Path(folder) / "pair.pem"
            pair.touch(mode=0o600)
            pair.write_bytes(reached.certificate + b"\n" + reached.key)
            configuration.cert_file = configuration.key_file = str(pair)
        return ApiClient(configuration)


def _path(kind: str, namespace: str, name: str = "") -> str:
    base, plural = _KINDS[kind]
    scope = f"/namespaces/{quote(namespace)}" if namespace and kind != "Namespace" else ""
    return f"/{base}{scope}/{plural}" + (f"/{quote(name, safe=':')}" if name else "")


async def _limited(response: aiohttp.ClientResponse) -> bytes:
    """The body; what stands behind a proxy could send without end."""
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > _MOST:
            raise aiohttp.ClientPayloadError(f"the answer has more than {_MOST} bytes")
        parts.append(part)
    return b"".join(parts)


def _same(wanted: Any, live: Any) -> bool:
    """Whether all of `wanted` is in `live`."""
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        return all(key in live and _same(value, live[key]) for key, value in wanted.items())
    return bool(wanted == live)
