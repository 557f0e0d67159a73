"""What other clusters publish to `$LINK/cluster/...` here; implements `routing.ports.Ingress`.

It checks who speaks, applies routes, answers introductions, and hands forwarded messages to local
subscribers, marked with their origin. None of it is ever routed as it came. Whether a client may
publish to these topics at all has been decided before (`auth.rules`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Final, NoReturn

import structlog

from isthmus_broker.errors import PeerError, UndecodablePayload
from isthmus_broker.link import payload as wire
from isthmus_broker.link.imports import Imports, StaleIncarnation, UnknownActor
from isthmus_broker.link.message import About, Decoder
from isthmus_broker.link.payload import ActorInit, ActorInitAck, Heartbeat, Routes, Unknown
from isthmus_broker.mqtt.codes import ReasonCode
from isthmus_broker.mqtt.properties import Properties, Property, encode_pass_through
from isthmus_broker.mqtt.publish import Message, Origin, OriginKind
from isthmus_broker.routing.filters import FilterTable
from isthmus_broker.routing.ports import ClientInfo
from isthmus_broker.routing.router import Router

log = structlog.get_logger("isthmus.link")

_REMEMBERED_TOPICS: Final = 16_384
_REMEMBERED_IDS: Final = 10_000
"""Messages of QoS 2, by id: so many back a repetition is recognised."""
_NEVER: Final = (b"$LINK/", b"$SYS/")


class Source:
    """One link as its receiving end: what is wanted of the other cluster, and what came."""

    __slots__ = ("_ids", "_known", "_table", "decoder", "dropped", "guarded", "name", "received")

    def __init__(self, name: str, topics: Iterable[bytes], *, guarded: bool) -> None:
        self.name = name
        self.guarded = guarded
        """Whether only a client that authenticated as this link may speak for it."""
        self.received = 0
        self.dropped: dict[str, int] = {}
        self.decoder = Decoder()
        self._ids: dict[bytes, None] = {}
        self.want(topics)

    def want(self, topics: Iterable[bytes]) -> None:
        """Set the filters of what is wanted."""
        self._known: dict[bytes, bool] = {}
        self._table: FilterTable[bool] = FilterTable()
        for topic in topics:
            self._table.set(topic, True)

    def wants(self, topic: bytes) -> bool:
        """Whether messages of `topic` are wanted; `$LINK` and `$SYS` never are."""
        known = self._known.get(topic)
        if known is None:
            if len(self._known) >= _REMEMBERED_TOPICS:
                self._known.clear()
            known = not topic.startswith(_NEVER) and self._table.matches(topic)
            self._known[topic] = known
        return known

    def repeated(self, id: bytes) -> bool:
        """Whether a message of QoS 2 has come before, as far as that is remembered."""
        if id in self._ids:
            return True
        self._ids[id] = None
        if len(self._ids) > _REMEMBERED_IDS:
            del self._ids[next(iter(self._ids))]
        return False

    def drop(self, reason: str, count: int = 1) -> None:
        """Count messages that came and reached nobody."""
        self.dropped[reason] = self.dropped.get(reason, 0) + count


class Ingress:
    """The receiving end of all links.

    `sources` holds those that are enabled; `disabled` names the others. `met` is called with the
    name of a cluster whose actor has been accepted.
    """

    def __init__(
        self,
        local: str,
        router: Router,
        imports: Imports,
        wall: Callable[[], int],
        met: Callable[[str], None],
    ) -> None:
        self.local = local
        self.sources: dict[str, Source] = {}
        self.disabled: frozenset[str] = frozenset()
        self._router = router
        self._imports = imports
        self._wall = wall
        self._met = met
        # By identity: two connections of one client may exist for a moment.
        self._introduced: dict[int, tuple[ClientInfo, bytes]] = {}

    def receive(
        self,
        client: ClientInfo,
        topic: bytes,
        payload: bytes,
        properties: Properties,
        now: float,
    ) -> ReasonCode:
        """Handle one PUBLISH; the code goes into its PUBACK.

        Raises:
            PeerError: the client is to be disconnected (0x83), as the protocol was broken.
        """
        if topic.startswith(wire.ROUTE_TOPIC):
            name = topic[len(wire.ROUTE_TOPIC) :].decode(errors="replace")
            if not self._may_speak(client, name):
                return ReasonCode.NOT_AUTHORIZED
            self._control(client, name, payload, properties, now)
            return ReasonCode.SUCCESS
        if topic.startswith(wire.MESSAGE_TOPIC):
            name = topic[len(wire.MESSAGE_TOPIC) :].decode(errors="replace")
            return self._messages(client, name, (payload,), now)
        return ReasonCode.NOT_AUTHORIZED

    def receive_messages(
        self, client: ClientInfo, topic: bytes, payloads: Sequence[bytes], now: float
    ) -> None:
        """Handle many PUBLISH packets of QoS 0 to `$LINK/cluster/msg/NAME`."""
        name = topic[len(wire.MESSAGE_TOPIC) :].decode(errors="replace")
        self._messages(client, name, payloads, now)

    def closed(self, client: ClientInfo) -> None:
        """The connection of a client that spoke on `$LINK/...` is gone.

        Its routes stay for the actor's time to live: it may come back without sending them again.
        """
        self._introduced.pop(id(client), None)

    def _may_speak(self, client: ClientInfo, name: str) -> bool:
        source = self.sources.get(name)
        return source is None or not source.guarded or client.link == name

    # -- routes ----------------------------------------------------------------------------------

    def _control(
        self, client: ClientInfo, name: str, payload: bytes, properties: Properties, now: float
    ) -> None:
        try:
            control = wire.decode_control(payload)
        except UndecodablePayload as error:
            _break_off(client, name, str(error))
        match control:
            case ActorInit():
                self._introduce(client, name, control, properties, now)
            case Routes(actor, incarnation, ops):
                if id(client) not in self._introduced:
                    _break_off(client, name, "routes before an introduction")
                try:
                    changed = self._imports.apply(name, actor, incarnation, ops, now)
                except (UnknownActor, StaleIncarnation) as error:
                    _break_off(client, name, str(error))
                self._router.routes_changed(changed)
            case Heartbeat(actor):
                self._heartbeat(client, name, actor, now)
            case ActorInitAck() | Unknown():
                log.warning("link operation not known", link=name, client=client.client_id)

    def _heartbeat(self, client: ClientInfo, name: str, actor: bytes, now: float) -> None:
        if id(client) not in self._introduced:
            return
        try:
            self._imports.heartbeat(name, actor, now)
        except UnknownActor as error:
            # We have forgotten it, for instance while its link was disabled: it has to come anew.
            _break_off(client, name, str(error))

    def _introduce(
        self, client: ClientInfo, name: str, init: ActorInit, properties: Properties, now: float
    ) -> None:
        topic = properties.get(Property.RESPONSE_TOPIC)
        expected = f"$LINK/cluster/resp/{name}/"
        if not isinstance(topic, str) or not topic.startswith(expected):
            _break_off(client, name, f"an introduction without a Response Topic {expected}...")
        if id(client) in self._introduced:
            _break_off(client, name, "a second introduction on one connection")
        named = self.local if init.names_wanted else None
        error = self._objection(name, init)
        need = False
        if not error:
            try:
                need, changed = self._imports.introduce(name, init.actor, init.incarnation, now)
            except StaleIncarnation as stale:
                _break_off(client, name, str(stale))
            self._router.routes_changed(changed)
            self._introduced[id(client)] = client, init.actor
        answer = ActorInitAck(init.actor, error, need, named)
        self._answer(topic.encode(), answer, properties, name, now)
        if error:
            log.warning("link refused", link=name, reason=error, client=client.client_id)
        else:
            self._met(name)

    def _objection(self, name: str, init: ActorInit) -> str:
        if name in self.sources:
            return "" if init.target == self.local else wire.MISNAMED
        if name in self.disabled:
            return wire.DISABLED if init.target == self.local else wire.MISNAMED
        return wire.UNKNOWN_CLUSTER

    def _answer(
        self, topic: bytes, ack: ActorInitAck, properties: Properties, name: str, now: float
    ) -> None:
        correlation = properties.get(Property.CORRELATION_DATA)
        own: Properties = {}
        if correlation is not None:
            own[Property.CORRELATION_DATA] = correlation
        message = Message(
            topic,
            wire.encode_control(ack),
            1,
            properties=encode_pass_through(own),
            origin=Origin(OriginKind.LINK, name),
        )
        self._router.publish(message, now)

    # -- messages --------------------------------------------------------------------------------

    def _messages(
        self, client: ClientInfo, name: str, payloads: Sequence[bytes], now: float
    ) -> ReasonCode:
        """Deliver forwarded messages; the code is that of the last one."""
        source = self.sources.get(name)
        if source is None:
            return ReasonCode.NOT_AUTHORIZED
        if source.guarded and client.link != name:
            source.drop("not_authorized", len(payloads))
            return ReasonCode.NOT_AUTHORIZED
        source.received += len(payloads)
        code = ReasonCode.SUCCESS
        decoded = []
        for payload in payloads:
            try:
                decoded.append(source.decoder.decode(payload))
            except UndecodablePayload as error:
                source.drop("undecodable")
                code = ReasonCode.PAYLOAD_FORMAT_INVALID
                log.warning("message of a link not understood", link=name, error=str(error))
        for (topic, about), run in groupby(decoded, lambda it: (it[0], it[2])):
            code = self._deliver(source, topic, about, [payload for _, payload, _ in run], now)
        return code

    def _deliver(
        self, source: Source, topic: bytes, about: About, payloads: list[bytes], now: float
    ) -> ReasonCode:
        if not source.wants(topic):
            source.drop("not_wanted", len(payloads))
            return ReasonCode.NO_MATCHING_SUBSCRIBERS
        origin = Origin(OriginKind.LINK, source.name)
        if about.is_plain:
            self._router.deliver_run(topic, payloads, about.publisher, about.username, origin, now)
            return ReasonCode.SUCCESS
        expires_at = None
        if about.expiry is not None:
            # By the sender's clock; one that is ahead of ours does not lengthen the interval.
            age = max(0, self._wall() - about.timestamp) / 1000
            if age >= about.expiry:
                source.drop("expired", len(payloads))
                return ReasonCode.SUCCESS
            expires_at = now + about.expiry - age
        receivers = 0
        for payload in payloads:
            if about.qos == 2 and source.repeated(about.id):
                return ReasonCode.SUCCESS
            message = Message(
                topic,
                payload,
                about.qos,
                about.retain,
                properties=about.properties,
                expires_at=expires_at,
                origin=origin,
                publisher=about.publisher,
                username=about.username,
            )
            receivers += self._router.publish(message, now)
        return ReasonCode.SUCCESS if receivers else ReasonCode.NO_MATCHING_SUBSCRIBERS


def _break_off(client: ClientInfo, name: str, reason: str) -> NoReturn:
    """End the connection as EMQX does: DISCONNECT 0x83, and no PUBACK."""
    log.warning("link broken off", link=name, reason=reason, client=client.client_id)
    raise PeerError(f"link {name}: {reason}", ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR)
