"""Who leads: one of several operators, by a Lease (coordination.k8s.io).

Clocks of machines differ, so a leader counts as gone when its Lease has not *changed* for its
duration, by our own clock. A leader stops before that, counted from the begin of its last renewal
that succeeded, also where the API server leaves it without an answer.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from isthmus_operator.cluster import KubeCluster
from isthmus_operator.errors import ClusterError, Conflict

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
        self._seen: tuple[Any, float] = (None, 0.0)
        self._until = 0.0
        self._trouble = ""

    async def acquire(self) -> None:
        """Wait until we lead."""
        while not await self._try():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(RENEW)
        _log.info("leading", lease=f"{self._namespace}/{self._name}", identity=self._identity)

    async def hold(self) -> None:
        """Keep it; returns when it is lost."""
        while (left := self._until - time.monotonic()) > 0:
            await asyncio.sleep(min(RENEW, left))
            try:
                async with asyncio.timeout(max(0.0, self._until - time.monotonic())):
                    await self._try()
            except TimeoutError:
                break
        _log.warning("lost the lease", lease=f"{self._namespace}/{self._name}")

    async def release(self) -> None:
        """Let another lead at once."""
        self._until = 0.0
        try:
            found = await self._cluster.get("Lease", self._namespace, self._name)
            spec = (found or {}).get("spec") or {}
            if found is not None and spec.get("holderIdentity") == self._identity:
                spec |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._cluster.replace({**found, "spec": spec})
        except ClusterError as error:
            _log.debug("lease not released", error=str(error))

    async def _try(self) -> bool:
        """Take or renew it; whether it is ours now."""
        begun = time.monotonic()
        try:
            ours = await self._taken()
        except Conflict:
            return False  # somebody was faster; the next look tells who
        except ClusterError as error:
            self._tell(str(error))
            return False
        self._until = begun + GIVE_UP if ours else 0.0
        self._tell("")
        return ours

    async def _taken(self) -> bool:
        found = await self._cluster.get("Lease", self._namespace, self._name)
        if found is None:
            await self._cluster.create(self._manifest())
            return True
        if not self._free(found):
            return False
        await self._cluster.replace({**found, "spec": self._spec(found.get("spec") or {})})
        return True

    def _tell(self, trouble: str) -> None:
        """Say once what is wrong, not at each look."""
        if trouble and trouble != self._trouble:
            _log.warning("no access to the lease, tried again", error=trouble)
        self._trouble = trouble

    def _free(self, found: dict[str, Any]) -> bool:
        spec = found.get("spec") or {}
        holder = spec.get("holderIdentity")
        if not holder or holder == self._identity:
            return True
        # Not its resourceVersion: whoever else annotates it does not renew it.
        mark = (holder, spec.get("renewTime"), spec.get("leaseTransitions"))
        if mark != self._seen[0]:
            self._seen = (mark, time.monotonic())
        lasts = float(spec.get("leaseDurationSeconds") or DURATION)
        return time.monotonic() - self._seen[1] >= lasts

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
            "acquireTime": before.get("acquireTime") or now if ours else now,
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + (0 if ours else 1),
        }
