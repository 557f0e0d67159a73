"""Secrets beside the resources: read once, kept until somebody changes them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from isthmus_operator import names
from isthmus_operator.cluster import KubeCluster
from isthmus_operator.errors import ResourceError
from isthmus_operator.status import Reason

Key = tuple[str, str]
Data = dict[str, bytes]


class Vault:
    """The Secrets of the home cluster, as far as the operator needs them."""

    def __init__(self, home: KubeCluster) -> None:
        self._home = home
        self._known: dict[Key, Mapping[str, Any] | None] = {}

    def forget(self, key: Key | None = None) -> None:
        """Read a Secret anew when it is needed next; without `key`, each."""
        if key is None:
            self._known.clear()
        else:
            self._known.pop(key, None)

    async def find(self, namespace: str, name: str) -> Data | None:
        """The data of a Secret; None where there is none.

        Raises:
            ClusterError: the API server did not answer.
        """
        found = await self._find(namespace, name)
        return None if found is None else decoded(found)

    async def read(self, namespace: str, name: str, *keys: str, what: str) -> Data:
        """The data of a Secret that a user has named; it has `keys`.

        Raises:
            ResourceError: there is none, or it lacks a key; `what` says what names it.
            ClusterError: the API server did not answer.
        """
        data = await self.find(namespace, name)
        if data is None:
            message = f"{what}: there is no Secret {name} in namespace {namespace}; create it"
            raise ResourceError(Reason.SECRET_MISSING, message)
        missing = [key for key in keys if not data.get(key)]
        if missing:
            has = ", ".join(sorted(data)) or "none"
            message = f"{what}: Secret {name} has no key {missing[0]}; its keys are: {has}"
            raise ResourceError(Reason.SECRET_INVALID, message)
        return data

    async def ours(self, namespace: str, name: str) -> Data:
        """The data of a Secret that the operator has made; empty where there is none yet.

        Raises:
            ResourceError: there is one of that name, and it is somebody else's.
        """
        found = await self._find(namespace, name)
        if found is None:
            return {}
        if (found["metadata"].get("labels") or {}).get(names.MANAGED_BY) != "isthmus":
            message = f"Secret {name} in namespace {namespace} is not the operator's, which needs"
            raise ResourceError(Reason.NAME_TAKEN, f"{message} that name; rename it")
        return decoded(found)

    async def write(self, manifest: Mapping[str, Any]) -> None:
        """Write a Secret of ours.

        Raises:
            ClusterError: the API server did not take it.
        """
        meta = manifest["metadata"]
        self.forget((meta["namespace"], meta["name"]))
        await self._home.apply(dict(manifest))

    async def delete(self, namespace: str, name: str) -> None:
        """Delete a Secret of ours, if it is there."""
        self.forget((namespace, name))
        await self._home.delete("Secret", namespace, name)

    async def _find(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        key = (namespace, name)
        if key not in self._known:
            self._known[key] = await self._home.get("Secret", namespace, name)
        return self._known[key]


def manifest(
    namespace: str,
    name: str,
    labels: Mapping[str, str],
    owner: Mapping[str, Any] | None,
    data: Data,
) -> dict[str, Any]:
    """A Secret of ours beside the resource `owner` (its ownerReference), if it goes with it."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": dict(labels),
            **({"ownerReferences": [dict(owner)]} if owner else {}),
        },
        "type": "Opaque",
        "data": {key: base64.b64encode(data[key]).decode() for key in sorted(data)},
    }


def owner_reference(kind: str, name: str, uid: str) -> dict[str, Any]:
    """What lets Kubernetes delete an object with its resource."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def decoded(secret: Mapping[str, Any]) -> Data:
    """The data of a Secret as an API server gives it."""
    return {key: base64.b64decode(text) for key, text in (secret.get("data") or {}).items()}
