"""What actors and receivers of routes say to each other, as Erlang terms and as typed values.

The keys and their meaning are the link protocol's, version 1. Unknown keys are passed over, so an
extension of ours can ride along: an `actor_init` that offers it is answered with the receiver's own
cluster name, which lets a misdirected link say where it has arrived. Forwarded messages are
`message`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from isthmus_broker.errors import UndecodablePayload
from isthmus_broker.link.etf import Atom, Term, decode, encode
from isthmus_broker.link.routes import RouteOp
from isthmus_broker.mqtt import topics

VERSION: Final = 1
ROUTE_TOPIC: Final = b"$LINK/cluster/route/"
MESSAGE_TOPIC: Final = b"$LINK/cluster/msg/"
RESPONSE_TOPIC: Final = b"$LINK/cluster/resp/"

UNKNOWN_CLUSTER: Final = "unknown_cluster"
"""The receiver has no link to the sender."""
MISNAMED: Final = "bad_remote_cluster_link_name"
"""The receiver has another name than the sender gives it."""
DISABLED: Final = "cluster_link_disabled"

_OP: Final = Atom("$op")
_ACTOR: Final = 10
_INCARNATION: Final = 11
_ROUTES: Final = 12
_TARGET: Final = 13
_VERSION: Final = 14
_RESULT: Final = 15
_NEED_BOOTSTRAP: Final = 16
_DELETE: Final = 100
# Ours: a binary, since a peer must never meet an atom that it does not know.
_CLUSTER: Final = b"isthmus.cluster"

_TRUE: Final = Atom("true")
_FALSE: Final = Atom("false")
_OK: Final = Atom("ok")
_ERROR: Final = Atom("error")
_UNDEFINED: Final = Atom("undefined")


@dataclass(frozen=True, slots=True)
class ActorInit:
    """An actor introduces itself."""

    actor: bytes
    incarnation: int
    target: str
    """The name that the sender gives to the receiver's cluster."""
    names_wanted: bool = False
    """Whether the answer may say the receiver's own name (our extension)."""


@dataclass(frozen=True, slots=True)
class ActorInitAck:
    """The receiver's answer."""

    actor: bytes
    error: str = ""
    """Why it refuses; empty where it accepts."""
    need_bootstrap: bool = False
    cluster: str | None = None
    """The receiver's own name, where it says so."""


@dataclass(frozen=True, slots=True)
class Routes:
    """Routes that have come and gone."""

    actor: bytes
    incarnation: int
    ops: list[RouteOp]


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A proof of life."""

    actor: bytes
    incarnation: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """An operation that this version does not know: logged, nothing else."""

    op: str


Control: TypeAlias = ActorInit | ActorInitAck | Routes | Heartbeat | Unknown


def encode_control(control: Control) -> bytes:
    """The payload of a control packet."""
    match control:
        case ActorInit(actor, incarnation, target, names_wanted):
            term = {
                _ACTOR: actor,
                _INCARNATION: incarnation,
                _TARGET: target.encode(),
                _VERSION: VERSION,
                _OP: b"actor_init",
            }
            if names_wanted:
                term[_CLUSTER] = b""
        case ActorInitAck(actor, error, need_bootstrap, cluster):
            term = {_ACTOR: actor, _VERSION: VERSION, _OP: b"actor_init_ack"}
            term[_RESULT] = (_ERROR, error.encode()) if error else _OK
            wanted = _TRUE if need_bootstrap else _FALSE
            term[_NEED_BOOTSTRAP] = _UNDEFINED if error else wanted
            if cluster is not None:
                term[_CLUSTER] = cluster.encode()
        case Routes(actor, incarnation, ops):
            term = {_ACTOR: actor, _INCARNATION: incarnation, _OP: b"route"}
            term[_ROUTES] = [
                (_DELETE, op.filter, op.id) if op.delete else (op.filter, op.id) for op in ops
            ]
        case Heartbeat(actor, incarnation):
            term = {_ACTOR: actor, _INCARNATION: incarnation, _OP: b"heartbeat"}
        case Unknown(op):
            raise TypeError(f"nothing to encode for {op}")
    return encode(term)


def decode_control(payload: bytes) -> Control:
    """What a control packet says.

    Raises:
        UndecodablePayload: it is none; the text says what was expected.
    """
    term = decode(payload)
    if not isinstance(term, dict) or not isinstance(term.get(_OP), bytes):
        raise UndecodablePayload("expected a map with a binary under $op")
    match term[_OP]:
        case b"actor_init":
            target = _text(term, _TARGET)
            wanted = _CLUSTER in term
            return ActorInit(_binary(term, _ACTOR), _integer(term, _INCARNATION), target, wanted)
        case b"actor_init_ack":
            return _ack(term)
        case b"route":
            routes = term.get(_ROUTES)
            if not isinstance(routes, list):
                raise UndecodablePayload("key 12: expected a list of route operations")
            ops = list(map(_route, routes))
            return Routes(_binary(term, _ACTOR), _integer(term, _INCARNATION), ops)
        case b"heartbeat":
            return Heartbeat(_binary(term, _ACTOR), _integer(term, _INCARNATION))
        case op:
            return Unknown(op.decode(errors="backslashreplace"))


def _ack(term: dict[Term, Term]) -> ActorInitAck:
    cluster = _text(term, _CLUSTER) if _CLUSTER in term else None
    match term.get(_RESULT):
        case Atom("ok"):
            need = term.get(_NEED_BOOTSTRAP)
            if need not in (_TRUE, _FALSE) or not isinstance(need, Atom):
                raise UndecodablePayload("key 16: expected true or false beside ok")
            return ActorInitAck(_binary(term, _ACTOR), "", need == _TRUE, cluster)
        case (Atom("error"), bytes(reason)):
            why = reason.decode(errors="backslashreplace") or "no reason given"
            return ActorInitAck(_binary(term, _ACTOR), why, False, cluster)
    raise UndecodablePayload("key 15: expected ok or {error, binary}")


def _route(term: Term) -> RouteOp:
    match term:
        case (bytes(filter), bytes(id)):
            delete = False
        case (100, bytes(filter), bytes(id)):
            delete = True
        case _:
            raise UndecodablePayload("a route operation: expected {F, Id} or {100, F, Id}")
    try:
        topics.check_filter(filter)
    except ValueError as error:
        raise UndecodablePayload(f"a route operation: {error}") from error
    # Mostly the two are the same text: keep one of them.
    return RouteOp(filter, filter if id == filter else id, delete)


def _binary(term: dict[Term, Term], key: int) -> bytes:
    value = term.get(key)
    if not isinstance(value, bytes) or not value or len(value) > 1024:
        raise UndecodablePayload(f"key {key}: expected a binary of 1 to 1024 bytes")
    return value


def _text(term: dict[Term, Term], key: int | bytes) -> str:
    value = term.get(key)
    if not isinstance(value, bytes) or len(value) > 1024:
        raise UndecodablePayload(f"key {key!r}: expected a binary of at most 1024 bytes")
    return value.decode(errors="backslashreplace")


def _integer(term: dict[Term, Term], key: int) -> int:
    value = term.get(key)
    if not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise UndecodablePayload(f"key {key}: expected a number of milliseconds")
    return value
