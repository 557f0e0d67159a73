"""Bootstrap of a link: how long until the other cluster knows every route."""

from __future__ import annotations

import signal
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from benchmarks import clients, machine, mqtt
from benchmarks.brokers import Broker, Hall, isthmus_config, isthmus_link

_PER_CLIENT: Final = 10_000
"""Subscriptions that one client may have."""
_PER_PACKET: Final = 200
_TIMEOUT: Final = 120.0


@dataclass(frozen=True)
class Routes:
    """Of two clusters, one of which has many subscriptions."""

    count: int
    seconds: float
    """From the command that enables the link until the other side has the last route."""
    bytes_per_route: float
    """Memory that a route costs there."""


def measure(hall: Hall, count: int) -> Routes:
    """Subscribe to `count` topics at one cluster, then link it to another one.

    Raises:
        LoadError: the routes have not come in time.
    """
    here, here_api, there, there_api = machine.free_ports(4)
    link = isthmus_link("there", there, enable=False)
    holder = hall.isthmus("here", (here, here_api), link)
    receiver = hall.isthmus("there", (there, there_api), isthmus_link("here", here))
    with ExitStack() as stack:
        for first in range(0, count, _PER_CLIENT):
            name = f"subscriber-{first}"
            sock = stack.enter_context(clients.connect(holder.port, name))
            _subscribe(sock, range(first, min(first + _PER_CLIENT, count)))
        memory, begun = receiver.process.memory(), time.monotonic()
        enabled = isthmus_config("here", (here, here_api), isthmus_link("there", there))
        holder.config.write_text(enabled)
        holder.process.signal(signal.SIGHUP)
        _wait(receiver, count)
        took = time.monotonic() - begun
        return Routes(count, took, (receiver.process.memory() - memory) / count)


def _subscribe(sock: socket.socket, numbers: range) -> None:
    """Subscribe to topics of which one in ten has a wildcard."""
    for first in range(numbers.start, numbers.stop, _PER_PACKET):
        some = range(first, min(first + _PER_PACKET, numbers.stop))
        sock.sendall(mqtt.subscribe([_filter(number) for number in some], 1))
        size = 2 + len(some)
        head = b"\x90" + (bytes((size,)) if size < 0x80 else bytes((size & 0x7F | 0x80, size >> 7)))
        clients.expect(sock, head + b"\x00\x01" + b"\x01" * len(some))


def _filter(number: int) -> str:
    last = "#" if number % 10 == 0 else "state"
    return f"bench/site-{number % 100}/device-{number}/{last}"


def _wait(receiver: Broker, count: int) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while time.monotonic() < deadline:
        if _routes(receiver) >= count:
            return
        time.sleep(0.02)
    raise clients.LoadError(f"{_routes(receiver):,} of {count:,} routes have come")


def _routes(receiver: Broker) -> int:
    metrics = receiver.api("/api/v5/cluster/links/link/here/metrics")
    return int(metrics["metrics"]["router"]["routes"])
