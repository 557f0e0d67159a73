"""Throughput in a closed loop: so many messages are on their way at any time, and none is lost.

What the brokers spend is read from the kernel, so it counts even where the load, on a core of its
own, is what limits the rate; whether it is that is told beside it.
"""

from __future__ import annotations

import itertools
import select
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks import clients, mqtt
from benchmarks.clients import Acknowledger, Counter, LoadError, Ring
from benchmarks.exactly_once import Receiver, Sender
from benchmarks.processes import Process

PAYLOAD: Final = 64
"""Bytes."""
WINDOW: Final = {0: 28_000, 1: 1_000, 2: 20}
"""Messages on their way (not acknowledged, or not delivered yet) by QoS, of all publishers
together. mosquitto ends a connection with more than 20 of QoS 2, unless it is told otherwise."""
_RING_QOS0: Final = 700
_SETTLE: Final = 1.0
"""Seconds that a subscription has to get about."""
_STUCK: Final = 5.0
"""Seconds without a delivery after which a run is over."""
_serial = itertools.count()


@dataclass(frozen=True)
class Work:
    """One kind of work."""

    qos: int = 0
    publishers: int = 1
    subscribers: int = 1


@dataclass(frozen=True)
class Throughput:
    """What came of it."""

    deliveries: int
    seconds: float
    cpu: float
    """CPU seconds of the brokers."""
    load: float
    """CPU seconds of the load."""
    lost: int

    @property
    def rate(self) -> float:
        """Deliveries a second."""
        return self.deliveries / self.seconds

    @property
    def cost(self) -> float:
        """CPU seconds for a million deliveries."""
        return self.cpu / self.deliveries * 1e6

    @property
    def busy(self) -> float:
        """How much of one core the brokers were using, 0 to 1."""
        return self.cpu / self.seconds

    @property
    def load_busy(self) -> float:
        """How much of its core the load was using, 0 to 1: near 1, it was the limit."""
        return self.load / self.seconds


def measure(
    work: Work,
    publish_port: int,
    subscribe_port: int,
    processes: Sequence[Process],
    *,
    seconds: float,
    warm: float,
) -> Throughput:
    """Put a broker, or a linked pair, under load for `warm` and then `seconds`.

    Raises:
        LoadError: what was published did not arrive as it should.
    """
    load = _Load(work, publish_port, subscribe_port)
    try:
        load.settle()
        load.run(warm)
        return load.measured(seconds, processes)
    finally:
        load.close()


class _Load:
    def __init__(self, work: Work, publish_port: int, subscribe_port: int) -> None:
        run = next(_serial)
        topic = f"bench/{run}"
        packet = mqtt.publish(topic, b"x" * PAYLOAD, work.qos, 1)
        self._work = work
        self._window = WINDOW[work.qos]
        self._subscribers = [
            self._subscriber(subscribe_port, f"sub-{run}-{i}", topic, packet)
            for i in range(work.subscribers)
        ]
        ring = _ring(topic, packet, work.qos)
        publisher = Sender if work.qos == 2 else Ring
        self._publishers = [
            publisher(clients.connect(publish_port, f"pub-{run}-{i}"), ring, len(packet))
            for i in range(work.publishers)
        ]
        self._poll = select.epoll()
        self._ready = {it.sock.fileno(): it.ready for it in self._subscribers}
        for sock in self._ready:
            self._poll.register(sock, select.EPOLLIN)
        for it in self._publishers:
            self._ready[it.sock.fileno()] = it.ready
            self._poll.register(it.sock, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)

    def _subscriber(
        self, port: int, client_id: str, topic: str, packet: bytes
    ) -> Counter | Acknowledger | Receiver:
        sock = clients.subscriber(port, client_id, topic, self._work.qos)
        identifier_at = len(packet) - PAYLOAD - 2
        if self._work.qos == 1:
            return Acknowledger(sock, packet, identifier_at)
        if self._work.qos == 2:
            return Receiver(sock, packet, identifier_at)
        return Counter(sock, packet)

    def close(self) -> None:
        self._poll.close()
        for it in (*self._publishers, *self._subscribers):
            it.sock.close()

    @property
    def delivered(self) -> int:
        return sum(it.received for it in self._subscribers)

    @property
    def sent(self) -> int:
        return sum(it.sent for it in self._publishers)

    def settle(self) -> None:
        """Wait until the subscriptions are known, on the other side of a link, too."""
        time.sleep(_SETTLE)

    def run(self, seconds: float) -> None:
        """Load for some time."""
        end = time.perf_counter() + seconds
        stuck, before = time.perf_counter() + _STUCK, -1
        while (now := time.perf_counter()) < end:
            self._push()
            self._turn()
            if before != (before := self.delivered):
                stuck = now + _STUCK
            elif now > stuck:
                raise LoadError(f"nothing has come for {_STUCK:.0f} s; {before:,} came before")

    def measured(self, seconds: float, processes: Sequence[Process]) -> Throughput:
        """Load for some time, and count; then wait for what is still on its way."""
        delivered, cpu, load = self.delivered, _cpu(processes), time.process_time()
        begun = time.perf_counter()
        self.run(seconds)
        took = time.perf_counter() - begun
        load = time.process_time() - load
        delivered, cpu = self.delivered - delivered, _cpu(processes) - cpu
        self._drain()
        lost = self.sent * self._work.subscribers - self.delivered
        return Throughput(delivered, took, cpu, load, lost)

    def _push(self) -> None:
        """Let each publisher send its share of what may be on its way."""
        pairs, window = self._publishers, self._window
        arrived = self.delivered // self._work.subscribers
        if self._work.qos:
            # Neither unacknowledged nor undelivered beyond the window.
            arrived = min(arrived, sum(it.acknowledged for it in pairs))
        room = (window - (self.sent - arrived)) // len(pairs)
        if room > 0:
            for it in pairs:
                it.push(it.sent + room)

    def _turn(self, timeout: float = 0.01) -> None:
        for sock, _events in self._poll.poll(timeout):
            self._ready[sock]()

    def _drain(self) -> None:
        """Finish what is half sent, then wait until everything has arrived, or nothing more."""
        before, quiet = -1, time.perf_counter() + _STUCK
        while time.perf_counter() < quiet and self.delivered < self.sent * self._work.subscribers:
            for it in self._publishers:
                if not it.whole:
                    it.push(it.sent)
            self._turn(0.1)
            if before != (before := self.delivered):
                quiet = time.perf_counter() + 1


def _ring(topic: str, packet: bytes, qos: int) -> bytes:
    if not qos:
        return packet * _RING_QOS0
    payload = b"x" * PAYLOAD
    return b"".join(mqtt.publish(topic, payload, qos, number) for number in range(1, 65_536))


def _cpu(processes: Sequence[Process]) -> float:
    return sum(it.cpu() for it in processes)
