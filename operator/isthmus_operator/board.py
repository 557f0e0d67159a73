"""What the operator knows at this moment: resources, what was seen of them, who looks again.

In memory only, and rebuilt from the API server at start: nothing here must last. The board decides
who is woken by a change; what a woken reconciliation does is left to `reconcile`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from pydantic import ValidationError

from isthmus_operator import names
from isthmus_operator.model import BrokerCluster, ClusterLink
from isthmus_operator.observation import ClusterFacts

Key = tuple[str, str]
"""Namespace and name."""
Kind = Literal["BrokerCluster", "ClusterLink"]
Resource = BrokerCluster | ClusterLink
CLUSTER: Final = "BrokerCluster"
LINK: Final = "ClusterLink"
_MODELS: Final[Mapping[str, type[BrokerCluster | ClusterLink]]] = {
    CLUSTER: BrokerCluster,
    LINK: ClusterLink,
}


@dataclass
class Desk:
    """One resource and those who work on it."""

    kind: Kind
    key: Key
    resource: Resource | None = None
    """Its last version that could be read; None where none could."""
    raw: Mapping[str, Any] = field(default_factory=dict)
    mistake: str = ""
    """Why its present version can't be read."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by a pass, and by a deletion: never two of one resource at once."""
    dirty: set[str] | None = None
    """Kinds of children that may have changed; None: any."""
    written_at: float = 0.0

    @property
    def deleting(self) -> bool:
        """Whether somebody has deleted it."""
        return bool(self.raw.get("metadata", {}).get("deletionTimestamp"))

    @property
    def paused(self) -> bool:
        """Whether its annotation says that nothing is to be written."""
        annotations = self.raw.get("metadata", {}).get("annotations") or {}
        return annotations.get(names.PAUSED) == "true"


class Board:
    """All desks, and what was seen."""

    def __init__(self) -> None:
        self._desks: dict[tuple[Kind, Key], Desk] = {}
        self._owners: dict[str, Desk] = {}
        self.facts: dict[Key, ClusterFacts] = {}
        self._changed = asyncio.Event()

    # -- resources ---------------------------------------------------------------------------------

    def desk(self, kind: Kind, key: Key) -> Desk:
        """The desk of a resource, made where there is none yet."""
        return self._desks.setdefault((kind, key), Desk(kind, key))

    def find(self, kind: Kind, key: Key) -> Desk | None:
        """The desk of a resource that is there."""
        found = self._desks.get((kind, key))
        return found if found is not None and found.raw else None

    def cluster(self, key: Key) -> BrokerCluster | None:
        """A BrokerCluster that is there and can be read."""
        found = self.find(CLUSTER, key)
        return found.resource if found and isinstance(found.resource, BrokerCluster) else None

    def link(self, key: Key) -> ClusterLink | None:
        """A ClusterLink that is there and can be read."""
        found = self.find(LINK, key)
        return found.resource if found and isinstance(found.resource, ClusterLink) else None

    def desks(self, kind: Kind) -> list[Desk]:
        """All of one kind."""
        return [desk for desk in self._desks.values() if desk.kind == kind and desk.raw]

    def see(self, kind: Kind, raw: Mapping[str, Any]) -> None:
        """Take in a resource as it stands, and wake those whom its change concerns."""
        meta = raw["metadata"]
        desk = self.desk(kind, (meta["namespace"], meta["name"]))
        before, desk.raw = desk.raw, raw
        self._owners[meta["uid"]] = desk
        try:
            desk.resource, desk.mistake = _MODELS[kind].model_validate(raw), ""
        except ValidationError as error:
            desk.mistake = _told(error)
        if _essence(before) != _essence(raw):
            desk.dirty = None
            self._wake_around(desk)
        elif kind == CLUSTER and _endpoint(before) != _endpoint(raw):
            self._wake_peers(desk.key)

    def forget(self, kind: Kind, key: Key) -> None:
        """A resource is gone."""
        desk = self._desks.pop((kind, key), None)
        if desk is None:
            return
        self._owners.pop(str(desk.raw.get("metadata", {}).get("uid")), None)
        if kind == CLUSTER:
            self.facts.pop(key, None)
        self._wake_around(desk)

    def keep_only(self, kind: Kind, keys: Iterable[Key]) -> None:
        """Forget those that a fresh list does not have."""
        there = set(keys)
        for desk in self.desks(kind):
            if desk.key not in there:
                self.forget(kind, desk.key)

    def links_of(self, key: Key) -> list[ClusterLink]:
        """Links that name a BrokerCluster and are not being deleted, the oldest first."""
        namespace, name = key
        found = [
            desk.resource
            for desk in self.desks(LINK)
            if desk.key[0] == namespace
            and isinstance(desk.resource, ClusterLink)
            and not desk.deleting
            and name in desk.resource.clusters()
        ]
        return sorted(found, key=lambda one: (one.metadata.creation_timestamp, one.metadata.uid))

    def names_cluster(self, uid: str, cluster: BrokerCluster) -> bool:
        """Whether a link of this UID names a BrokerCluster and stays, readable or not."""
        desk = self._owners.get(uid)
        if desk is None or desk.kind != LINK or desk.deleting:
            return False
        ends = (desk.raw.get("spec") or {}).get("ends") or ()
        named = {(end.get("cluster") or {}).get("name") for end in ends}
        return cluster.metadata.name in named

    # -- who looks again ---------------------------------------------------------------------------

    def child_changed(self, owner: str, kind: str) -> None:
        """A child of the resource with the UID `owner` has changed."""
        desk = self._owners.get(owner)
        if desk is None:
            return
        if desk.dirty is not None:
            desk.dirty.add(kind)
        desk.wake.set()

    def secret_changed(self, key: Key) -> None:
        """A Secret beside the resources has changed: those that name it look again."""
        namespace, name = key
        for desk in list(self._desks.values()):
            if desk.key[0] == namespace and desk.raw and name in _secrets(desk.raw.get("spec")):
                desk.dirty = None
                self._wake_around(desk)

    def saw(self, key: Key, facts: ClusterFacts) -> None:
        """A pass of a BrokerCluster is over; its links are woken where it saw something new."""
        before = self.facts.get(key)
        self.facts[key] = facts
        if before is None or _timeless(before) != _timeless(facts):
            for link in self.links_of(key):
                self.desk(LINK, link.metadata.key).wake.set()
            if before is None or before.link_endpoint != facts.link_endpoint:
                self._wake_peers(key)
        self._changed.set()
        self._changed = asyncio.Event()

    async def news(self, seconds: float) -> bool:
        """Wait until a pass of some BrokerCluster is over; False where none was in time."""
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def wake(self, kind: Kind, key: Key) -> None:
        """Let a resource be looked at now."""
        self.desk(kind, key).wake.set()

    def _wake_around(self, desk: Desk) -> None:
        """Wake a resource and those that it has to do with."""
        desk.wake.set()
        if desk.kind == CLUSTER:
            self._wake_peers(desk.key)
        elif isinstance(desk.resource, ClusterLink):
            for name in desk.resource.clusters():
                found = self.find(CLUSTER, (desk.key[0], name))
                if found is not None:
                    found.wake.set()

    def _wake_peers(self, key: Key) -> None:
        """Wake the links of a BrokerCluster, and the BrokerClusters at their other ends."""
        for link in self.links_of(key):
            self.desk(LINK, link.metadata.key).wake.set()
            for name in link.clusters():
                peer = self.find(CLUSTER, (key[0], name))
                if peer is not None:
                    peer.wake.set()


def _essence(raw: Mapping[str, Any]) -> Any:
    """What of a resource makes a difference to the operator, its status aside."""
    meta = raw.get("metadata", {})
    annotations = meta.get("annotations") or {}
    return (
        meta.get("uid"),
        meta.get("generation"),
        bool(meta.get("deletionTimestamp")),
        annotations.get(names.PAUSED),
        annotations.get(names.REMOTE_GONE),
    )


def _endpoint(raw: Mapping[str, Any]) -> Any:
    return ((raw.get("status") or {}).get("endpoints") or {}).get("link")


def _timeless(facts: ClusterFacts) -> ClusterFacts:
    """Facts without what changes all the time."""
    nodes = tuple(replace(node, at=0.0, links=_states(node.links)) for node in facts.nodes)
    return replace(facts, at=0.0, nodes=nodes)


def _states(links: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        name: tuple((one.state, one.reason) for one in (report.incoming, report.outgoing))
        for name, report in links.items()
    }


def _secrets(value: Any) -> set[str]:
    """Names of the Secrets that a spec refers to: every `...SecretRef` and `secretRef`."""
    if isinstance(value, list):
        return set().union(*(_secrets(one) for one in value)) if value else set()
    if not isinstance(value, Mapping):
        return set()
    found: set[str] = set()
    for key, below in value.items():
        if key.lower().endswith("secretref") and isinstance(below, Mapping):
            found.add(str(below.get("name")))
        found |= _secrets(below)
    return found


def _told(error: ValidationError) -> str:
    """The first mistakes of a spec, without the values."""
    found = [
        f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()[:3]
    ]
    return "; ".join(found)
