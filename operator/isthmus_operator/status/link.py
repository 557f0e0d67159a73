"""The status of a ClusterLink: what both ends tell of it, put together.

A direction is named by where messages flow: `from` forwards, `to` receives what its own `topics`
ask for. Both of its ends are asked: the receiver's `incoming` and the sender's `outgoing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from isthmus_operator.model import ClusterLink
from isthmus_operator.observation import ClusterFacts, Direction
from isthmus_operator.status import brokers, reasons
from isthmus_operator.status.conditions import (
    Document,
    Finding,
    Update,
    conditions,
    instant,
    met,
    ready,
    since,
    unknown,
    unmet,
    update,
)
from isthmus_operator.status.reasons import Reason

NUMBERS_EVERY: Final = 30.0
"""Seconds at least between two writes of nothing but numbers."""
_PROOF_OF_LIFE: Final = 30.0
"""Seconds after which a broker forgets an actor that it has not heard of."""
_OFF: Final = "off"
_UNTOLD: Final = "unknown"
_WAITED: Final = (10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400)
"""Seconds at which a message says anew how long something has been waited for."""


@dataclass(frozen=True, slots=True)
class Side:
    """One end of a link, as far as it is known."""

    name: str
    """What other clusters call it."""
    resource: str = ""
    """Its BrokerCluster; empty: external."""
    server: str = ""
    """Address by which the other end reaches it."""
    topics: tuple[str, ...] | None = None
    """What it receives; None: an external end, which asks for what it likes."""
    facts: ClusterFacts | None = None


@dataclass(frozen=True, slots=True)
class LinkView:
    """All that the status of a link is made of."""

    sides: tuple[Side, Side]
    refused: Finding | None = None
    """Why the spec can't be used."""
    pending: Finding | None = None
    """What keeps its configuration from being written."""
    not_after: float | None = None
    revision: str | None = None
    paused: bool = False
    written_at: float = 0.0
    """When its status was last written."""


def address_pending(facts: ClusterFacts, now: float) -> Finding:
    """A BrokerCluster has no address for links yet."""
    waited = now - facts.waiting_since if facts.waiting_since is not None else 0.0
    passed = [step for step in _WAITED if step <= waited]
    ago = f" (waiting for more than {_duration(passed[-1])})" if passed else ""
    what, _, todo = facts.link_waiting.partition(". ")
    message = f"{what.rstrip('.')}{ago}." + (f" {todo}" if todo else "")
    return unmet(Reason.ADDRESS_PENDING, message)


def arrow(sides: tuple[Side, Side]) -> str:
    """The two ends in one line: `a ⇄ b`, or `a → b` where only b receives."""
    first, second = sides
    to_first, to_second = (side.topics is None or bool(side.topics) for side in sides)
    if to_first == to_second:
        return f"{first.name} {'⇄' if to_first else '–'} {second.name}"
    sender, receiver = (first, second) if to_second else (second, first)
    return f"{sender.name} → {receiver.name}"


def link_status(link: ClusterLink, view: LinkView, now: float) -> Update:
    """What to write after a pass."""
    first, second = view.sides
    before = link.status
    old = before.get("directions", ())
    flows = [
        _direction(link, sender, receiver, old, now)
        for sender, receiver in ((first, second), (second, first))
    ]
    found = _findings(link, view, flows, now)
    generation = link.metadata.generation
    status: Document = {
        "observedGeneration": generation,
        "clusters": arrow(view.sides),
        "forward": flows[0].document["state"],
        "backward": flows[1].document["state"],
        "conditions": conditions(found, before.get("conditions", ()), generation, now),
        "ends": [_end(side, other, before) for side, other in (view.sides, view.sides[::-1])],
        "directions": [flow.document for flow in flows],
        "tls": _tls(view),
    }
    update_ = update(status, before)
    if now - view.written_at < NUMBERS_EVERY and _but_numbers(status) == _but_numbers(before):
        return Update()
    return update_


@dataclass(frozen=True, slots=True)
class _Flow:
    document: Document
    needed: bool
    connected: Finding
    synced: Finding


def _findings(
    link: ClusterLink, view: LinkView, flows: list[_Flow], now: float
) -> dict[str, Finding]:
    accepted = view.refused or met(Reason.ACCEPTED, "the spec can be used")
    found = {"Accepted": accepted}
    later = ("Programmed", "Connected", "Synced")
    if view.refused is not None:
        found |= {kind: unknown(view.refused.reason, "the spec can't be used") for kind in later}
    else:
        found["Programmed"] = view.pending or _programmed(link, view, now)
        found |= _flowing(link, flows)
    if view.paused:
        message = "paused by annotation isthmus.dev/paused; remove it to go on"
        found["Ready"] = unknown(Reason.PAUSED, message)
    else:
        found["Ready"] = ready(found, met(Reason.LINKED, arrow(view.sides)))
    return found


def _programmed(link: ClusterLink, view: LinkView, now: float) -> Finding:
    for side in view.sides:
        if not side.resource:
            continue
        trouble = brokers.problem(side.facts, side.resource, now)
        if trouble is not None:
            return trouble
        assert side.facts is not None  # noqa: S101 - `problem` has said so
        runs = brokers.running(side.facts, side.resource)
        if runs.status != "True":
            return runs
        if side.facts.links.get(link.metadata.uid) != link.metadata.generation:
            message = f"the configuration of {side.resource} is not written yet"
            return unmet(Reason.CONFIG_PENDING, message)
        runs = brokers.programmed(side.facts, side.resource, now)
        if runs.status != "True":
            return runs
    return met(Reason.PROGRAMMED, "all brokers of both ends run this configuration")


def _flowing(link: ClusterLink, flows: list[_Flow]) -> dict[str, Finding]:
    if not link.spec.enable:
        rests = unmet(Reason.DISABLED, "spec.enable is false: the link rests")
        return {"Connected": rests, "Synced": rests}
    needed = [flow for flow in flows if flow.needed]
    return {
        "Connected": ready(
            {flow.document["to"]: flow.connected for flow in needed},
            met(Reason.CONNECTED, "every direction with topics is alive"),
        ),
        "Synced": ready(
            {flow.document["to"]: flow.synced for flow in needed},
            met(Reason.SYNCED, "every direction with topics knows what the other end wants"),
        ),
    }


def _direction(link: ClusterLink, sender: Side, receiver: Side, old: Any, now: float) -> _Flow:
    told = [
        *_told(receiver, sender.name, "incoming", now),
        *_told(sender, receiver.name, "outgoing", now),
    ]
    last: Mapping[str, Any] = next((one for one in old if one.get("to") == receiver.name), {})
    needed = bool(receiver.topics) and link.spec.enable
    name = f"{sender.name} → {receiver.name}"
    missing = _missing(sender, receiver, now)
    connected = missing or _judged(told, name, now)
    running = [one for _, one in told if one.state == "running"]
    synced = connected
    if connected.status == "True" and len(running) < len(told):
        synced = unmet(Reason.BOOTSTRAPPING, f"{name}: what is subscribed to is being announced")
    worst = next((one for _, one in told if one.state != "running"), None)
    seen = worst or (running[0] if running else None)
    state = seen.state if seen and not missing else _UNTOLD
    document: Document = {
        "from": sender.name,
        "to": receiver.name,
        "topics": None if receiver.topics is None else list(receiver.topics),
        "state": _OFF if receiver.topics == () else state,
        "routes": max((one.routes for _, one in told), default=0),
        "since": since(seen.since, last.get("since")) if seen else None,
        "lastError": (worst.reason or None) if worst else None,
    }
    return _Flow({k: v for k, v in document.items() if v is not None}, needed, connected, synced)


def _told(side: Side, other: str, which: str, now: float) -> list[tuple[str, Direction]]:
    """What each broker of `side` says of one direction of its link with `other`."""
    if side.facts is None or now - side.facts.at > brokers.STALE_AFTER:
        return []
    return [
        (node.pod, getattr(node.links[other], which))
        for node in side.facts.nodes
        if other in node.links and now - node.at <= brokers.STALE_AFTER
    ]


def _missing(sender: Side, receiver: Side, now: float) -> Finding | None:
    """Why a direction can't be told, where somebody who knows says nothing."""
    for side, other in ((receiver, sender), (sender, receiver)):
        if not side.resource:
            continue
        trouble = brokers.problem(side.facts, side.resource, now)
        if trouble is not None:
            return unknown(trouble.reason, trouble.message)
        assert side.facts is not None  # noqa: S101 - `problem` has said so
        fresh = [node for node in side.facts.nodes if now - node.at <= brokers.STALE_AFTER]
        if side.facts.nodes and not fresh:
            return unknown(Reason.STALE, f"{side.resource} was last heard of too long ago")
        if not any(other.name in node.links for node in fresh):
            message = f"no broker of {side.resource} tells of its link with {other.name} yet"
            return unknown(Reason.CONFIG_PENDING, message)
    return None


def _judged(told: list[tuple[str, Direction]], name: str, now: float) -> Finding:
    for pod, one in told:
        announcing = one.state == "connecting" and not one.reason and _alive(one, now)
        if one.state == "running" or announcing:
            continue
        reason = reasons.of_link(one.state, one.reason)
        message = f"{name}: pod {pod} says: {one.reason or one.state}{reasons.advice(reason)}"
        return unmet(reason, message)
    return met(Reason.CONNECTED, f"{name} is alive")


def _alive(one: Direction, now: float) -> bool:
    return one.last_seen is not None and now - one.last_seen <= _PROOF_OF_LIFE


def _end(side: Side, other: Side, before: Mapping[str, Any]) -> Document:
    old: Mapping[str, Any] = next(
        (one for one in before.get("ends", ()) if one.get("cluster") == side.name), {}
    )
    last = {one["name"]: one for one in old.get("nodes", ())}
    found: Document = {"cluster": side.name}
    if side.server:
        found["server"] = side.server
    if side.facts is not None and side.resource:
        found["nodes"] = [
            _node(node.pod, node.links[other.name], last.get(node.pod, {}))
            for node in side.facts.nodes
            if other.name in node.links
        ]
    return found


def _node(pod: str, report: Any, old: Mapping[str, Any]) -> Document:
    both: tuple[Direction, Direction] = (report.incoming, report.outgoing)
    worse = next((one for one in both if one.state != "running"), both[0])
    document = {
        "name": pod,
        "state": worse.state,
        "since": since(worse.since, old.get("since")),
        "lastError": worse.reason or None,
    }
    return {key: value for key, value in document.items() if value is not None}


def _tls(view: LinkView) -> Document | None:
    if view.not_after is None:
        return None
    return {"notAfter": instant(view.not_after), "revision": view.revision or ""}


def _but_numbers(status: Mapping[str, Any]) -> Document:
    flows = [
        {key: value for key, value in flow.items() if key != "routes"}
        for flow in status.get("directions", ())
    ]
    return {**{k: v for k, v in status.items() if v is not None}, "directions": flows}


def _duration(seconds: int) -> str:
    if seconds < 60:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 3600 else f"{seconds // 3600} h"
