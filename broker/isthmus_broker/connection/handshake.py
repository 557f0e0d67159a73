"""CONNECT and CONNACK: what a client asks for, who it is, and what it is granted (3.1, 3.2)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from isthmus_broker.auth.verify import Outcome, Proof
from isthmus_broker.connection import publishing
from isthmus_broker.connection.node import Node, Peer
from isthmus_broker.errors import PeerError, ProtocolError
from isthmus_broker.mqtt import packets, properties, topics
from isthmus_broker.mqtt.codes import V5, V311, ReasonCode, connack_return_code
from isthmus_broker.mqtt.packets import ConnAck, Connect
from isthmus_broker.mqtt.properties import Properties, Property
from isthmus_broker.mqtt.publish import Message
from isthmus_broker.mqtt.session import Session
from isthmus_broker.routing.ports import ClientInfo
from isthmus_broker.routing.registry import Will
from isthmus_broker.settings import MqttSettings

if TYPE_CHECKING:
    from isthmus_broker.connection.connection import Connection

_NEVER: Final = 0xFFFFFFFF
"""The Session Expiry Interval that means: never (3.1.2.11.2)."""
_UNLIMITED: Final = 65_535


def claimed_level(body: bytes) -> int:
    """The protocol level that the body of a CONNECT begins with, as far as we know it."""
    return V5 if body.startswith(b"\x00\x04MQTT\x05") else V311


def begin(connection: Connection, connect: Connect, now: float) -> None:
    """Check a CONNECT and ask who the client is; `finish` goes on, now or later."""
    from isthmus_broker.connection.connection import State

    connection.level = connect.level
    _check(connection.node, connect)
    connection.state = State.AUTHENTICATING
    connection.wire.pause_reading()
    connection.node.authenticate(
        connect, connection.peer, lambda v: connection.authenticated(connect, v, now)
    )


def finish(connection: Connection, connect: Connect, outcome: Outcome, now: float) -> None:
    """Open the session and send CONNACK, or raise what CONNACK is to say instead."""
    if isinstance(outcome, ReasonCode):
        raise PeerError("the user name, password or certificate is refused", outcome)
    node = connection.node
    assigned = "" if connect.client_id else node.new_client_id()
    client = _client(connect.client_id or assigned, connect, connection.peer, outcome)
    will = _will(node, connect, client)
    session, present = node.registry.open(
        client.client_id, connection, node.queue_limits, now, clean_start=connect.clean_start
    )
    expiry = _requested_expiry(connect, node.mqtt)
    session.expiry_interval = session_expiry(expiry, node.mqtt) if expiry else 0.0
    connection.session, connection.client, connection.will = session, client, will
    connection.wire.name = client.client_id
    connection.lookup = publishing.lookup_for(node, client)
    asked = connect.properties
    session.attach(
        connection.wire,
        connect.level,
        receive_maximum=_number(asked, Property.RECEIVE_MAXIMUM, _UNLIMITED),
        packet_limit=_number(asked, Property.MAXIMUM_PACKET_SIZE, 0),
        alias_maximum=_number(asked, Property.TOPIC_ALIAS_MAXIMUM, 0),
    )
    connection.opened(_keep_alive(connect, node.mqtt), now)
    node.counters.connects += 1
    granted = _granted(connect, node.mqtt, session, assigned)
    connection.wire.put(
        packets.encode(ConnAck(present, ReasonCode.SUCCESS, granted), connect.level)
    )
    node.router.refresh(session)
    session.resume(now)


def refuse(connection: Connection, error: PeerError) -> None:
    """Answer a CONNECT that is not granted: a CONNACK that says why [MQTT-3.1.4-2]."""
    code = ReasonCode(error.code)
    if connection.level == V5:
        said: Properties = {Property.REASON_STRING: str(error)}
        connection.wire.put(packets.encode(ConnAck(False, code, said), V5))
    elif code not in (ReasonCode.MALFORMED_PACKET, ReasonCode.PROTOCOL_ERROR):
        connection.wire.put(bytes((0x20, 2, 0, connack_return_code(code))))


def session_expiry(requested: int, settings: MqttSettings) -> float:
    """Seconds for which a session is kept: what was asked for, within what is allowed."""
    wanted = math.inf if requested == _NEVER else float(requested)
    return min(wanted, settings.max_session_expiry_interval)


def _check(node: Node, connect: Connect) -> None:
    settings = node.mqtt
    if node.draining:
        raise PeerError("the server is about to stop", ReasonCode.SERVER_UNAVAILABLE)
    if node.registry.full and connect.client_id not in node.registry.sessions:
        raise PeerError("no room for another session", ReasonCode.QUOTA_EXCEEDED)
    if Property.AUTHENTICATION_METHOD in connect.properties:
        raise PeerError("no such authentication method", ReasonCode.BAD_AUTHENTICATION_METHOD)
    if len(connect.client_id) > settings.max_clientid_len:
        raise PeerError(
            f"the client identifier has {len(connect.client_id)} characters, "
            f"at most {settings.max_clientid_len} are taken",
            ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
        )
    if not connect.client_id and connect.level == V311 and not connect.clean_start:
        raise PeerError(  # [MQTT-3.1.3-8] of 3.1.1
            "no client identifier, but a session to keep", ReasonCode.CLIENT_IDENTIFIER_NOT_VALID
        )


def _client(client_id: str, connect: Connect, peer: Peer, proof: Proof) -> ClientInfo:
    return ClientInfo(
        client_id=client_id,
        username=proof.username,
        peer=peer.address,
        listener=peer.listener,
        level=connect.level,
        certificate_cn=peer.certificate_cn,
        link=proof.link,
    )


def _will(node: Node, connect: Connect, client: ClientInfo) -> Will | None:
    will = connect.will
    if will is None:
        return None
    if will.qos > node.mqtt.max_qos_allowed:
        raise PeerError("the Will QoS is not supported", ReasonCode.QOS_NOT_SUPPORTED)
    if will.retain and not node.mqtt.retain_available:
        raise PeerError("the Will is to be retained", ReasonCode.RETAIN_NOT_SUPPORTED)
    try:
        topics.check_name(will.topic, node.mqtt.max_topic_levels)
    except ValueError as error:
        raise ProtocolError(str(error), ReasonCode.TOPIC_NAME_INVALID) from error
    if not node.rules.allowed(client, "publish", will.topic):
        raise PeerError("the Will Topic is not for this client", ReasonCode.NOT_AUTHORIZED)
    expiry = will.properties.get(Property.MESSAGE_EXPIRY_INTERVAL)
    message = Message(
        will.topic,
        will.payload,
        will.qos,
        will.retain,
        properties=properties.encode_pass_through(will.properties),
        publisher=client.client_id,
        username=client.username,
    )
    delay = _number(will.properties, Property.WILL_DELAY_INTERVAL, 0)
    return Will(message, delay, expiry if isinstance(expiry, int) else None)


def _requested_expiry(connect: Connect, settings: MqttSettings) -> int:
    if connect.level == V5:
        return _number(connect.properties, Property.SESSION_EXPIRY_INTERVAL, 0)
    return 0 if connect.clean_start else int(settings.session_expiry_interval)


def _keep_alive(connect: Connect, settings: MqttSettings) -> int:
    if connect.level == V5 and settings.server_keepalive is not None:
        return settings.server_keepalive  # [MQTT-3.2.2-21]
    return connect.keep_alive


def _granted(
    connect: Connect, settings: MqttSettings, session: Session, assigned: str
) -> Properties:
    """CONNACK's properties: our limits, where they differ from what a client assumes (3.2.2.3)."""
    if connect.level != V5:
        return {}
    granted: Properties = {
        Property.RECEIVE_MAXIMUM: session.limits.receive_maximum,
        Property.MAXIMUM_PACKET_SIZE: settings.max_packet_size,
        Property.TOPIC_ALIAS_MAXIMUM: settings.max_topic_alias,
    }
    requested = _number(connect.properties, Property.SESSION_EXPIRY_INTERVAL, 0)
    if requested and session.expiry_interval != requested:
        never = session.expiry_interval == math.inf
        granted[Property.SESSION_EXPIRY_INTERVAL] = (
            _NEVER if never else int(session.expiry_interval)
        )
    if assigned:
        granted[Property.ASSIGNED_CLIENT_IDENTIFIER] = assigned  # [MQTT-3.2.2-16]
    if settings.server_keepalive is not None:
        granted[Property.SERVER_KEEP_ALIVE] = settings.server_keepalive
    if settings.max_qos_allowed < 2:
        granted[Property.MAXIMUM_QOS] = settings.max_qos_allowed
    for available, name in (
        (settings.retain_available, Property.RETAIN_AVAILABLE),
        (settings.wildcard_subscription, Property.WILDCARD_SUBSCRIPTION_AVAILABLE),
        (settings.shared_subscription, Property.SHARED_SUBSCRIPTION_AVAILABLE),
    ):
        if not available:
            granted[name] = 0
    return granted


def _number(found: Properties, name: Property, default: int) -> int:
    value = found.get(name, default)
    return value if isinstance(value, int) else default
