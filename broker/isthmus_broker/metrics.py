"""The plain counters as Prometheus metrics; nothing on a hot path knows about it.

Read when somebody asks: each scrape looks at the counters of the parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from isthmus_broker.routing.counters import Counters


@dataclass(frozen=True, slots=True)
class LinkView:
    """What is shown of one link."""

    name: str
    state: str
    routes_in: int
    routes_out: int
    forwarded: int
    acknowledged: int
    retried: int
    received: int
    buffered: int
    buffered_bytes: int
    in_flight: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Not forwarded, by reason."""
    received_dropped: Mapping[str, int] = field(default_factory=dict)
    """Came, and reached nobody; by reason."""


@dataclass(frozen=True, slots=True)
class Gauges:
    """What stands at one value at a time."""

    connections: int
    sessions: int
    filters: int
    retained: int
    retained_bytes: int


class BrokerCollector(Collector):
    """Shows one node to prometheus_client."""

    def __init__(
        self,
        counters: Counters,
        gauges: Callable[[], Gauges],
        links: Callable[[], Iterable[LinkView]],
    ) -> None:
        self._counters = counters
        self._gauges = gauges
        self._links = links

    def collect(self) -> Iterator[Metric]:
        """Read everything once."""
        yield from self._totals()
        yield from self._now()
        yield from self._of_links()

    def _totals(self) -> Iterator[Metric]:
        counters = self._counters
        for name, text, value in (
            ("bytes_received", "Bytes from clients", counters.bytes_received),
            ("bytes_sent", "Bytes to clients", counters.bytes_sent),
            ("connects", "Connections opened", counters.connects),
            ("messages_received", "PUBLISH packets from clients", counters.messages_received),
            ("messages_sent", "Deliveries to clients", counters.messages_sent),
        ):
            yield CounterMetricFamily(f"isthmus_{name}", text, value)
        for name, text, reasons in (
            ("disconnects", "Connections ended", counters.disconnects),
            ("connections_refused", "Connections never opened", counters.refused),
            ("messages_dropped", "Deliveries that were dropped", counters.dropped),
        ):
            family = CounterMetricFamily(f"isthmus_{name}", text, labels=["reason"])
            for reason, count in list(reasons.items()):
                family.add_metric([reason], count)
            yield family

    def _now(self) -> Iterator[Metric]:
        gauges = self._gauges()
        for name, text in (
            ("connections", "Clients connected"),
            ("sessions", "Sessions held"),
            ("filters", "Distinct filters subscribed to"),
            ("retained", "Retained messages"),
            ("retained_bytes", "Bytes of retained messages"),
        ):
            yield GaugeMetricFamily(f"isthmus_{name}", text, getattr(gauges, name))

    def _of_links(self) -> Iterator[Metric]:
        links = list(self._links())
        up = GaugeMetricFamily("isthmus_link_up", "Whether the link runs", labels=["link"])
        for link in links:
            up.add_metric([link.name], link.state == "running")
        yield up
        for name, text in (
            ("routes_in", "Routes that the other cluster has announced"),
            ("routes_out", "Routes announced to the other cluster"),
            ("buffered", "Messages that wait for the other cluster"),
            ("buffered_bytes", "Bytes that wait for the other cluster"),
            ("in_flight", "Messages sent and not acknowledged"),
        ):
            gauge = GaugeMetricFamily(f"isthmus_link_{name}", text, labels=["link"])
            for link in links:
                gauge.add_metric([link.name], getattr(link, name))
            yield gauge
        for name, text in (
            ("forwarded", "Messages for the other cluster"),
            ("acknowledged", "Messages that the other cluster has acknowledged"),
            ("retried", "Messages sent again"),
            ("received", "Messages from the other cluster"),
        ):
            counter = CounterMetricFamily(f"isthmus_link_{name}", text, labels=["link"])
            for link in links:
                counter.add_metric([link.name], getattr(link, name))
            yield counter
        yield _drops("isthmus_link_dropped", "Messages not forwarded", links, "dropped")
        text = "Messages from the other cluster that reached nobody"
        yield _drops("isthmus_link_received_dropped", text, links, "received_dropped")


def _drops(name: str, text: str, links: Iterable[LinkView], kind: str) -> CounterMetricFamily:
    drops = CounterMetricFamily(name, text, labels=["link", "reason"])
    for link in links:
        for reason, count in list(getattr(link, kind).items()):
            drops.add_metric([link.name, reason], count)
    return drops
