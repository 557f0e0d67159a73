"""What a node shows of itself: its links for the metrics, and its `$SYS` topics.

Plain values from the parts' counters, made when somebody asks. The names under `$SYS/brokers/NODE`
are EMQX's, as far as it has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from isthmus_broker import __version__
from isthmus_broker.link.status import LinkStatus
from isthmus_broker.metrics import Gauges, LinkView
from isthmus_broker.routing.counters import Counters


def link_views(statuses: Mapping[str, LinkStatus]) -> Iterator[LinkView]:
    """The links with the names that the metrics have for their figures."""
    for name, status in statuses.items():
        figures = status.forwarding
        yield LinkView(
            name=name,
            state=status.state,
            routes_in=status.outgoing.routes,
            routes_out=status.incoming.routes,
            forwarded=figures.matched,
            acknowledged=figures.success,
            retried=figures.retried,
            received=figures.received,
            buffered=figures.queuing,
            buffered_bytes=figures.queuing_bytes,
            in_flight=figures.inflight,
            dropped=figures.dropped_by,
            received_dropped=status.incoming.dropped_by,
        )


def sys_topics(
    node: str,
    uptime: float,
    counters: Counters,
    gauges: Gauges,
    links: Mapping[str, LinkStatus],
) -> Iterator[tuple[str, str]]:
    """Topics and payloads, all of them retained."""
    yield "$SYS/brokers", node
    for name, value in _of_node(uptime, counters, gauges):
        yield f"$SYS/brokers/{node}/{name}", str(value)
    for link, status in links.items():
        for name, value in _of_link(status):
            yield f"$SYS/brokers/{node}/links/{link}/{name}", str(value)


def _of_node(
    uptime: float, counters: Counters, gauges: Gauges
) -> tuple[tuple[str, str | int], ...]:
    return (
        ("version", __version__),
        ("sysdescr", "Isthmus"),
        ("uptime", int(uptime)),
        ("stats/connections/count", gauges.connections),
        ("stats/sessions/count", gauges.sessions),
        ("stats/subscriptions/count", gauges.filters),
        ("stats/retained/count", gauges.retained),
        ("metrics/bytes/received", counters.bytes_received),
        ("metrics/bytes/sent", counters.bytes_sent),
        ("metrics/messages/received", counters.messages_received),
        ("metrics/messages/sent", counters.messages_sent),
        ("metrics/messages/dropped", sum(counters.dropped.values())),
    )


def _of_link(status: LinkStatus) -> tuple[tuple[str, str | int], ...]:
    figures = status.forwarding
    return (
        ("status", status.state),
        ("reason", status.reason),
        ("incoming", status.incoming.state),
        ("outgoing", status.outgoing.state),
        ("routes/announced", status.incoming.routes),
        ("routes/received", status.outgoing.routes),
        ("messages/received", figures.received),
        ("messages/forwarded", figures.matched),
        ("messages/dropped", figures.dropped),
        ("messages/buffered", figures.queuing),
    )
