"""Idle clients: how fast they come in, what each costs in memory, and whether all are served."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import Final

from benchmarks import clients, latency, machine, mqtt
from benchmarks.latency import Latency
from benchmarks.processes import Process

_AT_ONCE: Final = 100
"""Clients that connect at the same time."""
_SETTLE: Final = 3.0
"""Seconds before memory is read."""


@dataclass(frozen=True)
class Idle:
    """Of clients that connect, subscribe to a topic of their own, and stay."""

    connections: int
    connects_per_second: float
    connect_cpu: float
    """CPU milliseconds of the broker for one connect."""
    bytes_per_connection: float
    answered: int
    """Clients that got the answer to a PINGREQ once all were connected."""
    latency: Latency | None = None
    """Of others, beside them."""


def measure(port: int, process: Process, count: int, *, messages: int = 0) -> Idle:
    """Connect `count` clients, then send `messages` from one other client to another.

    Raises:
        machine.MachineError: this process may not open so many files.
        LoadError: the broker does not take them all.
    """
    machine.need_files(count)
    memory, cpu, begun = process.memory(), process.cpu(), time.perf_counter()
    crowd = _Crowd()
    try:
        for done in range(0, count, _AT_ONCE):
            crowd.connect(port, min(_AT_ONCE, count - done))
        took, cpu = time.perf_counter() - begun, process.cpu() - cpu
        crowd.subscribe()
        time.sleep(_SETTLE)
        process.check_running()
        memory = process.memory() - memory
        answered = crowd.ping()
        beside = latency.compare({"": (port, port)}, messages)[""] if messages else None
    finally:
        crowd.close()
    return Idle(count, count / took, cpu / count * 1e3, memory / count, answered, beside)


class _Crowd:
    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()

    def connect(self, port: int, count: int) -> None:
        """Connect more clients, all at the same time."""
        first = len(self._sockets)
        for number in range(first, first + count):
            sock = socket.create_connection(("127.0.0.1", port), clients.TIMEOUT)
            self._sockets.append(sock)
            sock.sendall(mqtt.connect(f"device-{number:06}"))
        for sock in self._sockets[first:]:
            clients.expect(sock, mqtt.ACCEPTED)

    def subscribe(self) -> None:
        """Have each client subscribe to a topic of its own."""
        for first in range(0, len(self._sockets), _AT_ONCE):
            some = self._sockets[first : first + _AT_ONCE]
            for number, sock in enumerate(some, first):
                sock.sendall(mqtt.subscribe([f"device/{number:06}/command"], 0))
            for sock in some:
                clients.expect(sock, b"\x90\x03\x00\x01\x00")

    def ping(self) -> int:
        """How many clients get an answer to PINGREQ."""
        for sock in self._sockets:
            sock.sendall(mqtt.PINGREQ)
        return sum(clients.read(sock, 2) == mqtt.PINGRESP for sock in self._sockets)
