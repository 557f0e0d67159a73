"""Which measurements a run consists of, in groups that can be run alone."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks import faults, idle, latency, routes, throughput
from benchmarks.brokers import ISTHMUS, NAMES, Broker, Pair, hall
from benchmarks.clients import LoadError, Unsupported
from benchmarks.faults import Fault
from benchmarks.machine import MachineError
from benchmarks.measures import WORKS
from benchmarks.results import Results
from benchmarks.throughput import Throughput, Work


@dataclass(frozen=True)
class Effort:
    """How long and how often."""

    rounds: int = 3
    """Times that a throughput is measured; the median counts."""
    seconds: float = 3.0
    warm: float = 1.0
    messages: int = 10_000
    """Of which latency is measured, for each broker."""
    idle: int = 5_000
    crowd: int = 15_000
    before: float = 5.0
    slow: float = 9.0
    """Seconds with a subscriber that does not read; it is cut off after ten."""
    frozen: float = 25.0
    """Seconds with a frozen peer; its connections are given up after twenty."""
    routes: int = 100_000


FULL: Final = Effort()
QUICK: Final = Effort(1, 0.5, 0.2, 250, 200, 500, 0.5, 1.0, 1.0, 2_000)


@dataclass
class Run:
    """What a suite works with."""

    results: Results
    effort: Effort
    say: Callable[[str], None]
    """Tells how it goes on."""


def alone(run: Run) -> None:
    """Throughput of each broker by itself."""
    works = {
        "qos0": Work(),
        "fanout": Work(subscribers=10),
        "fanin": Work(publishers=10),
        "qos1": Work(qos=1),
        "qos2": Work(qos=2),
    }
    with hall() as where:
        brokers = {name: where.alone(name) for name in NAMES}
        for key, work in works.items():
            _throughput(run, key, work, {name: Pair(it, it) for name, it in brokers.items()})


def linked(run: Run) -> None:
    """Throughput over a link; CPU seconds are those of both sides."""
    with hall() as where:
        pairs = {name: where.linked(name) for name in NAMES}
        for key, work in {"link-qos0": Work(), "link-qos1": Work(qos=1)}.items():
            _throughput(run, key, work, pairs)


def latencies(run: Run) -> None:
    """Latency of each broker, and over a link."""
    with hall() as where:
        _latency(run, "latency", {name: _ports(where.alone(name)) for name in NAMES})
    with hall() as where:
        pairs = {name: where.linked(name) for name in NAMES}
        ways = {name: (it.near.port, it.far.port) for name, it in pairs.items()}
        _latency(run, "link-latency", ways)


def idleness(run: Run) -> None:
    """Idle connections: what they cost, and very many of them on one Isthmus."""
    for name in NAMES:
        with hall() as where:
            broker = where.alone(name)
            found = idle.measure(broker.port, broker.process, run.effort.idle)
        run.results.put("idle.bytes", name, found.bytes_per_connection)
        run.results.put("idle.rate", name, found.connects_per_second)
        run.results.put("idle.cost", name, found.connect_cpu)
        run.say(f"idle: {name} {found.bytes_per_connection:,.0f} bytes a connection")
    with hall() as where:
        broker = where.alone(ISTHMUS)
        found = idle.measure(
            broker.port, broker.process, run.effort.crowd, messages=run.effort.messages
        )
    run.results.put("crowd.served", ISTHMUS, found.answered)
    run.results.put("crowd.bytes", ISTHMUS, found.bytes_per_connection)
    if found.latency is not None:
        run.results.put("crowd.median", ISTHMUS, found.latency.median)
        run.results.put("crowd.p99", ISTHMUS, found.latency.p99)
    run.say(f"idle: {found.answered:,} of {found.connections:,} connections served")


def trouble(run: Run) -> None:
    """Faults, and what others notice of them."""
    effort = run.effort
    with hall() as where:
        broker, untouched = where.alone(ISTHMUS), where.alone(ISTHMUS)
        found = faults.slow_subscriber(broker, untouched, effort.before, effort.slow)
    _fault(run, "slow-subscriber", found)
    with hall() as where:
        pair, untouched = where.linked(ISTHMUS), where.alone(ISTHMUS)
        found = faults.frozen_peer(pair, untouched, effort.before, effort.frozen)
    _fault(run, "frozen-peer", found)


def bootstrap(run: Run) -> None:
    """Many routes over a fresh link."""
    with hall() as where:
        found = routes.measure(where, run.effort.routes)
    run.results.put("routes.count", ISTHMUS, found.count)
    run.results.put("routes.seconds", ISTHMUS, found.seconds)
    run.results.put("routes.bytes", ISTHMUS, found.bytes_per_route)
    run.say(f"routes: {found.count:,} in {found.seconds:.2f} s")


SUITES: Final[dict[str, Callable[[Run], None]]] = {
    "alone": alone,
    "linked": linked,
    "latency": latencies,
    "idle": idleness,
    "faults": trouble,
    "routes": bootstrap,
}


def perform(names: list[str], run: Run) -> bool:
    """Run suites; what fails is noted, and the next one goes on. Returns whether none did."""
    good = True
    for name in names:
        try:
            SUITES[name](run)
        except (LoadError, MachineError, OSError) as error:
            good = False
            _note(run, f"{name}: {error}")
    return good


def _throughput(run: Run, key: str, work: Work, ways: Mapping[str, Pair]) -> None:
    effort = run.effort
    found: dict[str, list[Throughput]] = {name: [] for name in ways}
    for number in range(effort.rounds):
        for name, way in ways.items():
            if number and not found[name]:
                continue  # it has failed
            processes = [way.near.process] if way.near is way.far else way.processes
            try:
                one = throughput.measure(
                    *(work, way.near.port, way.far.port, processes),
                    seconds=effort.seconds,
                    warm=effort.warm,
                )
            except Unsupported as error:
                _note(run, f"{name}, {WORKS[key]}: {error}")
                continue
            found[name].append(one)
            run.say(f"{WORKS[key]}: {name} {one.cost:.2f} s/M, {one.rate:,.0f} a second")
    for name, several in found.items():
        if several:
            _put_throughput(run, key, name, several)


def _put_throughput(run: Run, key: str, name: str, several: list[Throughput]) -> None:
    put = run.results.put
    put(f"{key}.cost", name, statistics.median(it.cost for it in several))
    put(f"{key}.rate", name, statistics.median(it.rate for it in several))
    put(f"{key}.busy", name, statistics.median(it.busy for it in several))
    put(f"{key}.load", name, statistics.median(it.load_busy for it in several))
    lost = sum(it.lost for it in several)
    put(f"{key}.lost", name, lost)
    if lost:
        _note(run, f"{name}, {WORKS[key]}: {lost:,} messages have not arrived")


def _latency(run: Run, key: str, ways: dict[str, tuple[int, int]]) -> None:
    for name, found in latency.compare(ways, run.effort.messages).items():
        run.results.put(f"{key}.median", name, found.median)
        run.results.put(f"{key}.p99", name, found.p99)
        run.say(f"{key}: {name} {found.median:.0f} µs, 99th percentile {found.p99:.0f}")


def _fault(run: Run, key: str, found: Fault) -> None:
    for phase, one in (("before", found.before), ("during", found.during)):
        run.results.put(f"{key}.{phase}", ISTHMUS, one.median)
        run.results.put(f"{key}.{phase}_p99", ISTHMUS, one.p99)
        run.say(f"{key}: {phase} {one.median:.0f} µs, 99th percentile {one.p99:.0f}")
    run.results.put(f"{key}.change", ISTHMUS, found.change)


def _note(run: Run, text: str) -> None:
    run.results.notes.append(text)
    run.say(text)


def _ports(broker: Broker) -> tuple[int, int]:
    return broker.port, broker.port
