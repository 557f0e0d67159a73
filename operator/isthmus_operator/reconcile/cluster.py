"""One pass over a BrokerCluster: observe, render, plan, apply, ask the brokers, tell.

Level-based: whatever woke it, it does the same. What can't be done now leaves in force what runs.
A link whose entry can't be made at the moment keeps the one that it had.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from isthmus_operator import brokerapi, names, pki
from isthmus_operator.board import Desk
from isthmus_operator.errors import (
    BrokerError,
    ClusterError,
    Refused,
    ResourceError,
    Terminating,
    Unauthorized,
)
from isthmus_operator.model import BrokerCluster, ClusterLink
from isthmus_operator.observation import ClusterFacts, NodeReport
from isthmus_operator.plan import Manifest, identity, plan
from isthmus_operator.reconcile import observe
from isthmus_operator.reconcile.ends import Waiting
from isthmus_operator.reconcile.parts import Parts
from isthmus_operator.reconcile.places import WATCHED, Place
from isthmus_operator.render.entries import LinkEntry
from isthmus_operator.render.manifests import KIND, manifests
from isthmus_operator.render.secrets import Material
from isthmus_operator.status import Reason, cluster_status

LINKS: Final = f"{names.GROUP}/links"
"""Annotation of the ConfigMap: the links in it, UID and generation. Survives the operator."""
RELIST: Final = 300.0
"""Seconds after which all children are listed again, whatever was heard of them."""
_MOVING: Final = frozenset({"Pod", "Service"})
"""Kinds that are looked at in each pass while something is under way, heard of or not."""


@dataclass
class Memory:
    """What is kept of one BrokerCluster between passes; lost with the operator, made up again."""

    uid: str
    live: dict[str, list[Manifest]] = field(default_factory=dict)
    listed_at: float = 0.0
    settled: bool = False
    entries: dict[str, LinkEntry] = field(default_factory=dict)
    """The last that could be made, by the link's UID."""


class ClusterPass:
    """Passes over BrokerClusters."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._memories: dict[tuple[str, str], Memory] = {}

    def forget(self, key: tuple[str, str]) -> None:
        """A BrokerCluster is gone."""
        self._memories.pop(key, None)

    async def run(self, desk: Desk, cluster: BrokerCluster) -> bool:
        """Make one pass; returns whether everything is settled.

        Raises:
            ClusterError: the home API server did not do what was asked.
        """
        facts = await self._facts(desk, cluster)
        self._parts.board.saw(cluster.metadata.key, facts)
        update = cluster_status(cluster, facts, self._parts.now(), paused=desk.paused)
        await self._parts.tell(desk, cluster, update)
        settled = not facts.problem_reason and not facts.link_waiting and _settled(facts)
        self._memory(cluster).settled = settled
        return settled

    async def _facts(self, desk: Desk, cluster: BrokerCluster) -> ClusterFacts:
        """Look and act; what stands in the way is a fact as well."""
        last = self._parts.board.facts.get(cluster.metadata.key)
        try:
            place = await self._parts.places.of(cluster)
            wanted, links = await self._wanted(cluster)
        except ResourceError as error:
            return self._trouble(last, error.reason, error.message)
        try:
            return await self._act(desk, cluster, place, wanted, links)
        except ResourceError as error:
            return self._trouble(last, error.reason, error.message)
        except ClusterError as error:
            desk.dirty = None
            if not place.remote and not isinstance(error, Refused | Terminating):
                raise
            return self._trouble(last, *_remote_trouble(place, error))

    def _trouble(self, last: ClusterFacts | None, reason: str, message: str) -> ClusterFacts:
        kept = last or ClusterFacts(at=0.0)
        return ClusterFacts(
            at=self._parts.now(),
            problem_reason=str(reason),
            problem=message,
            wanted_hash=kept.wanted_hash,
            links=kept.links,
            mqtt_endpoint=kept.mqtt_endpoint,
            link_endpoint=kept.link_endpoint,
        )

    # -- what is to be there -----------------------------------------------------------------------

    async def _wanted(self, cluster: BrokerCluster) -> tuple[list[Manifest], dict[str, int]]:
        """All objects, and the links in the configuration.

        Links that can't be made now, and never could, are left out; the others: see `_held`.
        """
        memory = self._memory(cluster)
        entries: list[LinkEntry] = []
        live = self._parts.board.links_of(cluster.metadata.key)
        for link in live:
            entry = await self._entry(memory, link, cluster)
            if entry is not None:
                entries.append(entry)
        entries += await self._parts.ends.orphans(cluster, {one.metadata.uid for one in live})
        entries.sort(key=lambda one: one.peer.name)
        memory.entries = {one.uid: one for one in entries}
        material = await self._material(cluster)
        found = manifests(cluster, entries, material, self._parts.defaults)
        links = {one.uid: one.generation for one in entries}
        config = observe.one(found, "ConfigMap", names.config_map(cluster.metadata.name))
        assert config is not None  # noqa: S101 - there is one in all manifests
        config["metadata"].setdefault("annotations", {})[LINKS] = json.dumps(links, sort_keys=True)
        return found, links

    async def _entry(
        self, memory: Memory, link: ClusterLink, cluster: BrokerCluster
    ) -> LinkEntry | None:
        uid = link.metadata.uid
        desk = self._parts.board.find("ClusterLink", link.metadata.key)
        if desk is not None and desk.paused and uid in memory.entries:
            return memory.entries[uid]
        if self._parts.ends.refusal(link) is not None:
            return memory.entries.get(uid)
        try:
            return await self._parts.ends.entry(link, cluster)
        except (Waiting, ResourceError):
            return memory.entries.get(uid)  # its own pass tells why

    async def _material(self, cluster: BrokerCluster) -> Material:
        """Keys, certificates and users.

        Raises:
            ResourceError: a Secret that the spec names can't be used.
            ClusterError: the home API server did not answer.
        """
        authority = await self._parts.ends.authority(cluster)
        try:
            server, trusted = await self._parts.ends.server(cluster)
        except Waiting as waiting:
            raise ResourceError(waiting.finding.reason, waiting.finding.message) from waiting
        users = ""
        ref = cluster.spec.authentication.users_secret_ref
        if ref is not None:
            what = "spec.authentication.usersSecretRef"
            read = self._parts.vault.read(cluster.metadata.namespace, ref.name, "users", what=what)
            users = (await read)["users"].decode(errors="replace")
        listeners = await self._listeners(cluster)
        return Material(authority.api_key, server, trusted, users, listeners)

    async def _listeners(self, cluster: BrokerCluster) -> dict[str, pki.Pair]:
        """Certificates of the listeners for clients."""
        found = {}
        named = {"mqtts": cluster.spec.listeners.mqtts, "wss": cluster.spec.listeners.wss}
        for name, listener in named.items():
            if listener is None or not listener.enable:
                continue
            if listener.secret_ref is None:
                found[name] = await self._parts.ends.client_listener(cluster, name, listener)
                continue
            read = self._parts.vault.read(
                cluster.metadata.namespace,
                listener.secret_ref.name,
                "tls.crt",
                "tls.key",
                what=f"spec.listeners.{name}.secretRef",
            )
            data = await read
            found[name] = pki.Pair(data["tls.crt"], data["tls.key"])
        return found

    # -- making it so ------------------------------------------------------------------------------

    async def _act(
        self,
        desk: Desk,
        cluster: BrokerCluster,
        place: Place,
        wanted: list[Manifest],
        links: dict[str, int],
    ) -> ClusterFacts:
        live = await self._look(desk, cluster, place)
        name = cluster.metadata.name
        there = observe.one(live, "ConfigMap", names.config_map(name))
        wanted, links = self._held(cluster, wanted, links, there, live)
        if not desk.paused:
            await self._apply(cluster, place, wanted, live)
            live = [one for kind in self._memory(cluster).live.values() for one in kind]
        config = observe.one(wanted, "ConfigMap", names.config_map(name))
        if desk.paused:
            config, links = there, _links_in(there)
        revision = ""
        secret = observe.one(wanted, "Secret", names.broker_secret(name))
        if config is not None and secret is not None and not desk.paused:
            revision = observe.revision(config, secret)
            await self._touch(place, live, revision)
        nodes = await self._ask(cluster, place, live)
        return self._seen(cluster, place, live, config, links, nodes)

    async def _look(self, desk: Desk, cluster: BrokerCluster, place: Place) -> list[Manifest]:
        """The children; only kinds of which something was heard are listed anew."""
        memory, now = self._memory(cluster), self._parts.now()
        if now - memory.listed_at >= RELIST:
            desk.dirty = None
        kinds = set(WATCHED) if desk.dirty is None else set(desk.dirty)
        if not memory.settled:
            kinds |= _MOVING
        desk.dirty = set()
        owner = f"{names.NAME_LABEL}={KIND},{names.OWNER}={cluster.metadata.uid}"
        kinds_ = sorted(kinds)
        lists = await asyncio.gather(
            *(place.kube.list(kind, place.namespace, owner) for kind in kinds_)
        )
        memory.live |= dict(zip(kinds_, lists, strict=True))
        if kinds == set(WATCHED):
            memory.listed_at = now
        return [one for found in memory.live.values() for one in found]

    def _held(
        self,
        cluster: BrokerCluster,
        wanted: list[Manifest],
        links: dict[str, int],
        there: Manifest | None,
        live: Sequence[Manifest],
    ) -> tuple[list[Manifest], dict[str, int]]:
        """Keep configuration and files as they are while a link in them can't be made again.

        So it is after a restart of the operator, when a Secret that a running link needs is gone.
        """
        running = _links_in(there)
        board = self._parts.board
        lost = [uid for uid in running if uid not in links and board.names_cluster(uid, cluster)]
        if not lost or there is None:
            return wanted, links
        kept = {("ConfigMap", names.config_map(cluster.metadata.name))}
        kept.add(("Secret", names.broker_secret(cluster.metadata.name)))
        found = []
        for one in wanted:
            key = (one["kind"], one["metadata"]["name"])
            old = observe.one(live, *key) if key in kept else None
            found.append(one if old is None else {**one, "data": old.get("data", {})})
            if old is not None and one["kind"] == "ConfigMap":
                found[-1]["metadata"]["annotations"][LINKS] = json.dumps(running, sort_keys=True)
        return found, running

    async def _apply(
        self, cluster: BrokerCluster, place: Place, wanted: list[Manifest], live: list[Manifest]
    ) -> None:
        owner = cluster.metadata.uid
        memory = self._memory(cluster)
        found = plan(wanted, [one for one in live if one["kind"] != "Pod"], owner)
        known = {identity(one) for one in live}
        for one in found.apply:
            if identity(one) not in known:
                await self._check_name(place, one, owner)
            new = await place.kube.apply(one)
            others = [
                old for old in memory.live.get(one["kind"], []) if identity(old) != identity(one)
            ]
            memory.live[one["kind"]] = [*others, new]
            self._parts.wrote(one["kind"])
        for one in found.delete:
            await place.kube.delete(*identity(one))
            memory.live[one["kind"]] = [
                old for old in memory.live[one["kind"]] if identity(old) != identity(one)
            ]

    async def _check_name(self, place: Place, wanted: Manifest, owner: str) -> None:
        """See that an object to be made is not there already, as somebody else's."""
        kind, namespace, name = identity(wanted)
        found = await place.kube.get(kind, namespace, name)
        if found is None:
            return
        labels = found["metadata"].get("labels") or {}
        if labels.get(names.OWNER) == owner:
            return
        whose = (
            f"label {names.OWNER}={labels[names.OWNER]}"
            if names.OWNER in labels
            else "no label of ours"
        )
        raise ResourceError(
            Reason.NAME_TAKEN,
            f"{kind} {name} in namespace {namespace}{_of(place)} is there already and belongs to"
            f" somebody else ({whose}); delete it, or give the BrokerCluster another name",
        )

    async def _touch(self, place: Place, live: Sequence[Manifest], revision: str) -> None:
        """Let the kubelet refresh the files of pods that run with older ones."""
        for pod in live:
            if pod["kind"] != "Pod" or not observe.running(pod):
                continue
            meta = pod["metadata"]
            if (meta.get("annotations") or {}).get(names.CONFIG_REVISION) != revision:
                await place.kube.annotate_pod(
                    meta["namespace"], meta["name"], names.CONFIG_REVISION, revision
                )

    # -- what the brokers say ----------------------------------------------------------------------

    async def _ask(
        self, cluster: BrokerCluster, place: Place, live: Sequence[Manifest]
    ) -> tuple[NodeReport, ...]:
        names_ = sorted(
            pod["metadata"]["name"] for pod in live if pod["kind"] == "Pod" and observe.running(pod)
        )
        if not names_:
            return ()
        key = (await self._parts.ends.authority(cluster)).api_key
        return tuple(await asyncio.gather(*(self._report(place, pod, key) for pod in names_)))

    async def _report(self, place: Place, pod: str, key: str) -> NodeReport:
        now = self._parts.now()
        try:
            return await brokerapi.report(place.kube, place.namespace, pod, key, now)
        except (BrokerError, ClusterError) as error:
            return NodeReport(pod, now, problem=str(error))

    def _seen(
        self,
        cluster: BrokerCluster,
        place: Place,
        live: Sequence[Manifest],
        config: Mapping[str, Any] | None,
        links: Mapping[str, int],
        nodes: tuple[NodeReport, ...],
    ) -> ClusterFacts:
        now, name = self._parts.now(), cluster.metadata.name
        pods = observe.pods(live)
        service = observe.one(live, "Service", names.link_service(name))
        where = f"namespace {place.namespace}{_of(place)}"
        address = observe.link_address(cluster, service, where)
        last = self._parts.board.facts.get(cluster.metadata.key)
        since = (last.waiting_since if last is not None else None) or now
        clients = observe.one(live, "Service", names.workload(name))
        return ClusterFacts(
            at=now,
            wanted_hash=observe.config_hash(config) if config else "",
            links=dict(links),
            replicas=1,
            ready=sum(pod.ready for pod in pods),
            pods=pods,
            nodes=nodes,
            mqtt_endpoint=observe.client_address(cluster, clients),
            link_endpoint=address.endpoint,
            link_waiting=address.waiting,
            waiting_since=since if address.waiting else None,
        )

    def _memory(self, cluster: BrokerCluster) -> Memory:
        key, uid = cluster.metadata.key, cluster.metadata.uid
        found = self._memories.get(key)
        if found is None or found.uid != uid:
            found = self._memories[key] = Memory(uid)
        return found


def _links_in(config: Manifest | None) -> dict[str, int]:
    """The links that the ConfigMap in force was made with: UID and generation."""
    annotations = (config or {}).get("metadata", {}).get("annotations") or {}
    found: dict[str, int] = json.loads(annotations.get(LINKS, "{}"))
    return found


def _of(place: Place) -> str:
    return f" of the Kubernetes cluster of {place.remote}" if place.remote else ""


def _remote_trouble(place: Place, error: ClusterError) -> tuple[Reason, str]:
    if isinstance(error, Unauthorized):
        hint = "the kubeconfig needs rights in that namespace, see docs/operator.md"
        message = f"the Kubernetes cluster of {place.remote} refuses the operator: {error}; {hint}"
        return Reason.REMOTE_FORBIDDEN, message
    if isinstance(error, Refused | Terminating):
        message = f"an API server refused an object{_of(place)}: {error}"
        return Reason.MANIFEST_REFUSED, message
    message = f"the Kubernetes cluster of {place.remote} does not answer: {error}"
    return Reason.REMOTE_UNREACHABLE, f"{message}; tried again until it does"


def _settled(facts: ClusterFacts) -> bool:
    """Whether nothing is under way that is worth looking at soon."""
    if facts.ready < facts.replicas or len(facts.nodes) < len(facts.pods):
        return False
    for node in facts.nodes:
        if node.problem or (node.source_hash != facts.wanted_hash and not node.error):
            return False
        for report in node.links.values():
            if "connecting" in (report.incoming.state, report.outgoing.state):
                return False
    return True
