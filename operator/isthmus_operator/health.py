"""Liveness, readiness and Prometheus metrics of the operator.

Liveness is about what no exception tells: a watch that has stalled. We change an object of our own
every now and then, and fail where no event comes of it.
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

STALLED: Final = 60.0
"""Seconds after a change of our own within which an event must have come."""
_BUCKETS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Health:
    """What is counted, and whether it is well."""

    def __init__(self, links: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        self.registry = CollectorRegistry()
        prefix = "isthmus_operator"
        self._duration = Histogram(
            f"{prefix}_reconcile_duration_seconds",
            "Duration of passes.",
            ["kind"],
            registry=self.registry,
            buckets=_BUCKETS,
        )
        self._errors = Counter(
            f"{prefix}_errors", "Passes that failed.", ["kind", "reason"], registry=self.registry
        )
        self._writes = Counter(
            f"{prefix}_writes", "Objects written.", ["kind"], registry=self.registry
        )
        self._leading = Gauge(f"{prefix}_leading", "1 where it leads.", registry=self.registry)
        self.registry.register(_Links(links))
        self._touched_at: float | None = None
        self._leads = False

    # -- what happens ------------------------------------------------------------------------------

    def passed(self, kind: str, seconds: float) -> None:
        """A pass is over."""
        self._duration.labels(kind).observe(seconds)

    def failed(self, kind: str, error: str) -> None:
        """A pass could not be made."""
        self._errors.labels(kind, error).inc()

    def wrote(self, kind: str) -> None:
        """An object was written."""
        self._writes.labels(kind).inc()

    def leads(self, now: bool) -> None:
        """Whether this operator leads now."""
        self._leads = now
        self._leading.set(int(now))

    def touched(self) -> None:
        """We have changed our own object; an event has to come."""
        if self._touched_at is None:
            self._touched_at = time.monotonic()

    def heard(self) -> None:
        """An event came."""
        self._touched_at = None

    @property
    def stalled(self) -> bool:
        """Whether an event is overdue."""
        return self._touched_at is not None and time.monotonic() - self._touched_at > STALLED

    # -- who asks ----------------------------------------------------------------------------------

    async def serve(self, port: int) -> web.AppRunner:
        """Answer `/healthz`, `/readyz` and `/metrics`."""
        app = web.Application()
        app.router.add_get("/healthz", self._live)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/metrics", self._metrics)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, None, port).start()
        return runner

    async def _live(self, _: web.Request) -> web.Response:
        if self.stalled:
            return web.Response(status=503, text=f"no event for {STALLED:.0f} s: watch stalled\n")
        return web.Response(text="ok\n")

    async def _ready(self, _: web.Request) -> web.Response:
        return web.Response(text="leading\n" if self._leads else "standing by\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self.registry), content_type="text/plain")


class _Links(Collector):
    """Links by state, and when their certificates expire: as their status has it."""

    def __init__(self, links: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        self._links = links

    def describe(self) -> Iterable[Metric]:
        """Nothing before the first scrape."""
        return []

    def collect(self) -> Iterable[Metric]:
        """As prometheus_client wants it."""
        states: Tally[str] = Tally()
        expiry = GaugeMetricFamily(
            "isthmus_operator_certificate_expiry_timestamp_seconds",
            "When the first certificate of a ClusterLink expires.",
            labels=["namespace", "name"],
        )
        for raw in self._links():
            status = raw.get("status") or {}
            states[_state(status)] += 1
            until = (status.get("tls") or {}).get("notAfter")
            if until:
                meta = raw["metadata"]
                moment = datetime.fromisoformat(until).timestamp()
                expiry.add_metric([meta["namespace"], meta["name"]], moment)
        links = GaugeMetricFamily(
            "isthmus_operator_links", "ClusterLinks by state.", labels=["state"]
        )
        for state in sorted({"Ready", *states}):
            links.add_metric([state], states[state])
        return [links, expiry]


def _state(status: Mapping[str, Any]) -> str:
    """`Ready`, or the reason why it is not."""
    for one in status.get("conditions") or ():
        if one["type"] == "Ready":
            return "Ready" if one["status"] == "True" else str(one["reason"])
    return "New"
