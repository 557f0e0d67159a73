"""Who leads: one of several operators, by a Lease (coordination.k8s.io).

Clocks of machines differ, so a leader counts as gone when its Lease has not *changed* for its
duration, by our own clock.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from isthmus_operator.cluster import KubeCluster
from isthmus_operator.errors import ClusterError, Refused

DURATION: Final = 10.0
"""Seconds after which another may lead."""
RENEW: Final = 2.5
GIVE_UP: Final = 8.0
"""Seconds without renewal after which the leader itself stops: before another begins."""

_log = structlog.get_logger()


class Lease:
    """One operator's part in it."""

    def __init__(self, cluster: KubeCluster, namespace: str, name: str, identity: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._seen = ("", 0.0)

    async def acquire(self) -> None:
        """Wait until we lead."""
        while not await self._try():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(RENEW)
        _log.info("leading", lease=f"{self._namespace}/{self._name}", identity=self._identity)

    async def hold(self) -> None:
        """Keep it; returns when it is lost."""
        renewed = time.monotonic()
        while time.monotonic() - renewed < GIVE_UP:
            await asyncio.sleep(RENEW)
            if await self._try():
                renewed = time.monotonic()
        _log.warning("lost the lease", lease=f"{self._namespace}/{self._name}")

    async def release(self) -> None:
        """Let another lead at once."""
        try:
            found = await self._cluster.get("Lease", self._namespace, self._name)
            if found is not None and found["spec"].get("holderIdentity") == self._identity:
                found["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._cluster.replace(found)
        except ClusterError as error:
            _log.debug("lease not released", error=str(error))

    async def _try(self) -> bool:
        """Take or renew it; whether it is ours now."""
        try:
            found = await self._cluster.get("Lease", self._namespace, self._name)
            if found is None:
                await self._cluster.create(self._manifest())
                return True
            if not self._free(found):
                return False
            found["spec"] = self._spec(found["spec"])
            await self._cluster.replace(found)
        except Refused:
            return False  # somebody was faster
        except ClusterError as error:
            _log.debug("lease not renewed", error=str(error))
            return False
        return True

    def _free(self, found: dict[str, Any]) -> bool:
        holder = found["spec"].get("holderIdentity")
        if not holder or holder == self._identity:
            return True
        version = found["metadata"]["resourceVersion"]
        if version != self._seen[0]:
            self._seen = (version, time.monotonic())
        return time.monotonic() - self._seen[1] >= DURATION

    def _manifest(self) -> dict[str, Any]:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": self._spec({}),
        }

    def _spec(self, before: dict[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        ours = before.get("holderIdentity") == self._identity
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(DURATION),
            "renewTime": now,
            "acquireTime": before.get("acquireTime", now) if ours else now,
            "leaseTransitions": int(before.get("leaseTransitions", 0)) + (0 if ours else 1),
        }
