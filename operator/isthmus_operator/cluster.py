"""One Kubernetes cluster: apply, delete, read, list and watch objects; every call has a deadline.

Objects are plain data. Writing is server-side apply under our own name, so that fields of others
stay theirs. What went wrong is told by `errors`; when to try again is left to those who call.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration

from isthmus_operator import access, names
from isthmus_operator.access import Access
from isthmus_operator.errors import (
    ClusterError,
    Refused,
    ResourceError,
    Terminating,
    Unauthorized,
    Unreachable,
)

Manifest = dict[str, Any]
OnEvent = Callable[[str, str, Mapping[str, Any]], None]
"""Kind, `ADDED`, `MODIFIED` or `DELETED`, object."""

DEADLINE: Final = 10.0
_WATCH: Final = 240
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
_REFUSALS: Final = {400, 404, 405, 409, 413, 415, 422}
_TOKEN_AGE: Final = 60.0


class KubeCluster:
    """A client of one API server."""

    def __init__(self, reached: Access) -> None:
        self._access = reached
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
        """Make an object that is not there yet; `Refused` where it is."""
        meta = manifest["metadata"]
        found = await self._call("POST", _path(manifest["kind"], meta["namespace"]), {}, manifest)
        assert found is not None  # noqa: S101 - 404 is an error here
        return found

    async def replace(self, manifest: Manifest) -> Manifest:
        """Replace an object; `Refused` where its resourceVersion is another by now."""
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

    async def list(self, kind: str, namespace: str, selector: str) -> list[Manifest]:
        """All objects of a kind that have the labels; `namespace` empty: in all."""
        query = {"labelSelector": selector} if selector else {}
        found = await self._call("GET", _path(kind, namespace), query) or {}
        version = found.get("apiVersion", "")  # lists leave it out of their items
        items = found.get("items") or ()
        return [{"apiVersion": version, "kind": kind, **one} for one in items]

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
    ) -> Manifest:
        """GET something of a pod by way of the API server; the answer is a JSON document.

        Raises:
            ClusterError: also where the pod did not answer.
        """
        base = _path("Pod", namespace, f"{pod}:{port}")
        found = await self._call("GET", f"{base}/proxy{path}", headers=headers)
        assert found is not None  # noqa: S101 - 404 is an error here
        return found

    # -- watching ----------------------------------------------------------------------------------

    async def watch(
        self, kinds: Sequence[str], namespace: str, selector: str, on_event: OnEvent
    ) -> None:
        """Tell of every change of such objects until cancelled; first of all that are there."""
        await asyncio.gather(*(self._watch(kind, namespace, selector, on_event) for kind in kinds))

    async def _watch(self, kind: str, namespace: str, selector: str, on_event: OnEvent) -> None:
        pause = 1.0
        while not self.closed:
            begun = time.monotonic()
            with contextlib.suppress(ClusterError):
                await self._stream(kind, namespace, selector, on_event)
            pause = 1.0 if time.monotonic() - begun > 30 else min(pause * 2, 30.0)
            await asyncio.sleep(pause)

    async def _stream(self, kind: str, namespace: str, selector: str, on_event: OnEvent) -> None:
        query = {"watch": "true", "labelSelector": selector, "timeoutSeconds": str(_WATCH)}
        timeout = aiohttp.ClientTimeout(total=_WATCH + 30, connect=DEADLINE)
        answer = await self._send("GET", _path(kind, namespace), query, timeout=timeout)
        response: aiohttp.ClientResponse = answer.response
        try:
            if response.status >= 400:
                raise _error(response.status, await response.text())
            async for line in response.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                on_event(kind, event["type"], event["object"])
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unreachable(_words(error)) from error
        finally:
            response.close()

    # -- requests ----------------------------------------------------------------------------------

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content: str = "application/json",
        *,
        headers: Mapping[str, str] | None = None,
        absent: bool = False,
    ) -> Manifest | None:
        try:
            async with asyncio.timeout(DEADLINE):
                answer = await self._send(method, path, query, body, content, headers)
                text = (await answer.read()).decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(_words(error)) from error
        if answer.status == 404 and absent:
            return None
        if answer.status >= 400:
            raise _error(answer.status, text)
        try:
            found: Manifest = json.loads(text)
        except ValueError as error:
            raise Unreachable("the answer is no JSON") from error
        return found

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
        url = f"{self._access.server}{path}" + (f"?{urlencode(query)}" if query else "")
        sent = {"Content-Type": content, "Accept": "application/json", **(headers or {})}
        token = self._token()
        if token:
            sent["Authorization"] = f"Bearer {token}"
        try:
            return await self._api.rest_client.request(  # type: ignore[no-untyped-call]
                method,
                url,
                headers=sent,
                body=body,
                _request_timeout=timeout or aiohttp.ClientTimeout(total=DEADLINE),
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(_words(error)) from error

    def _token(self) -> str:
        token, read_at = self._bearer
        if not token or time.monotonic() - read_at > _TOKEN_AGE:
            token = self._access.bearer()
            self._bearer = (token, time.monotonic())
        return token


class Clusters:
    """Home, and the other Kubernetes clusters as long as somebody needs them."""

    def __init__(self, home: KubeCluster) -> None:
        self.home = home
        self._clusters: dict[str, KubeCluster] = {}
        self._users: dict[tuple[str, str], str] = {}

    async def remote(self, user: tuple[str, str], kubeconfig: bytes) -> KubeCluster:
        """The cluster of a kubeconfig, for the BrokerCluster `user`; the same for the same content.

        Raises:
            ResourceError: it can't be used.
        """
        reached = access.of_secret(kubeconfig)
        digest = reached.digest
        if digest not in self._clusters:
            try:
                self._clusters[digest] = KubeCluster(reached)
            except (OSError, ValueError) as error:
                message = "the kubeconfig can't be used: its certificates or its key are not PEM"
                raise ResourceError("KubeconfigInvalid", message) from error
        if self._users.get(user) != digest:
            await self.release(user)
            self._users[user] = digest
        return self._clusters[digest]

    async def release(self, user: tuple[str, str]) -> None:
        """A BrokerCluster needs its cluster no more; closed where nobody else does."""
        digest = self._users.pop(user, None)
        if digest is not None and digest not in self._users.values():
            cluster = self._clusters.pop(digest, None)
            if cluster is not None:
                await cluster.close()

    async def close(self) -> None:
        """Close all."""
        for cluster in (self.home, *self._clusters.values()):
            await cluster.close()


def _client(reached: Access) -> ApiClient:
    """The official client for it; a client certificate is on disk for a moment only.

    Raises:
        OSError, ValueError: the certificates can't be used.
    """
    configuration = Configuration(host=reached.server)
    configuration.ca_cert_data = reached.ca or None
    configuration.tls_server_name = reached.server_name or None
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


def _error(status: int, text: str) -> ClusterError:
    try:
        document = json.loads(text)
        message = str(document.get("message") or text)
        cause = str(document.get("details", {}).get("causes", ""))
    except (ValueError, AttributeError):
        message, cause = text, ""
    message = f"{status}: {message[:500]}"
    if "NamespaceTerminating" in cause or "because it is being terminated" in message:
        return Terminating(message)
    if status in (401, 403):
        return Unauthorized(message)
    return Refused(message) if status in _REFUSALS else Unreachable(message)


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {DEADLINE:.0f} s"
    return str(error) or type(error).__name__


def _same(wanted: Any, live: Any) -> bool:
    """Whether all of `wanted` is in `live`."""
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        return all(key in live and _same(value, live[key]) for key, value in wanted.items())
    return bool(wanted == live)
