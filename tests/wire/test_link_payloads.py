"""Control packets and forwarded messages: what they say, and what is refused with which reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import erlang
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_broker.errors import UndecodablePayload
from isthmus_broker.link import etf
from isthmus_broker.link.etf import Atom, Term
from isthmus_broker.link.message import (
    Decoder,
    MessageIds,
    decode_message,
    encode_message,
    encode_run,
)
from isthmus_broker.link.payload import (
    ActorInit,
    ActorInitAck,
    Control,
    Heartbeat,
    Routes,
    Unknown,
    decode_control,
    encode_control,
)
from isthmus_broker.link.routes import RouteOp
from isthmus_broker.mqtt import packets
from isthmus_broker.mqtt.codes import V5
from isthmus_broker.mqtt.properties import Properties, Property, encode_pass_through
from isthmus_broker.mqtt.publish import Message

OP = Atom("$op")
ID = bytes(range(16))

# -- control packets -----------------------------------------------------------------------------

CONTROLS: list[Control] = [
    ActorInit(b"node", 1718022811000, "cluster-eu-west"),
    ActorInit(b"node", 0, "ü", names_wanted=True),
    ActorInitAck(b"node", need_bootstrap=True),
    ActorInitAck(b"node", need_bootstrap=False, cluster="cluster-eu-west"),
    ActorInitAck(b"node", "unknown_cluster"),
    Routes(b"node", 1, []),
    Routes(b"node", 1, [RouteOp(b"a/+/#", b"$s/g/a/+/#"), RouteOp(b"b", b"b", delete=True)]),
    Heartbeat(b"node", (1 << 64) - 1),
]


@pytest.mark.parametrize("control", CONTROLS, ids=lambda it: type(it).__name__)
def test_control_packets_come_back_as_they_were(control: Control) -> None:
    assert decode_control(encode_control(control)) == control


def test_the_control_packets_of_ours_hold_only_what_emqx_knows() -> None:
    """But for a binary as a key, which it passes over: it must never meet an atom it has not."""
    known = {"$op", "ok", "error", "true", "false", "undefined"}
    for control in CONTROLS:
        assert atoms(etf.decode(encode_control(control))) <= known


def atoms(term: Term) -> set[str]:
    if isinstance(term, Atom):
        return {str(term)}
    if isinstance(term, dict):
        return atoms([*term.keys(), *term.values()])
    if isinstance(term, list | tuple):
        return set().union(*map(atoms, term)) if term else set()
    return set()


def init(**changed: Any) -> dict[Any, Term]:
    return {10: b"node", 11: 1, 13: b"us", 14: 1, OP: b"actor_init", **changed}


def test_unknown_keys_and_another_version_are_passed_over() -> None:
    term = {**init(), 14: 99, 77: b"new", Atom("also"): Atom("new"), b"x": [1.5]}
    assert decode_control(etf.encode(term)) == ActorInit(b"node", 1, "us")


def test_an_operation_of_a_later_version_is_told_apart() -> None:
    assert decode_control(etf.encode({OP: b"moved"})) == Unknown("moved")


def without(key: Any, term: dict[Any, Term]) -> dict[Any, Term]:
    return {name: value for name, value in term.items() if name != key}


def route(*ops: Term) -> dict[Any, Term]:
    return {10: b"node", 11: 1, 12: list(ops), OP: b"route"}


def answer(**changed: Any) -> dict[Any, Term]:
    return {10: b"node", 14: 1, 15: Atom("ok"), 16: Atom("true"), OP: b"actor_init_ack", **changed}


WRONG: list[tuple[str, Term, str]] = [
    ("a list", [1], "map with a binary under $op"),
    ("a map without $op", {10: b"node"}, "map with a binary under $op"),
    ("$op as a binary key", {b"$op": b"heartbeat", 10: b"n", 11: 1}, "binary under $op"),
    ("$op as an atom", {OP: Atom("heartbeat"), 10: b"n", 11: 1}, "binary under $op"),
    ("no actor", without(10, init()), "key 10"),
    ("an empty actor", {**init(), 10: b""}, "key 10"),
    ("an actor that is an atom", {**init(), 10: Atom("node")}, "key 10"),
    ("an actor of 2 KB", {**init(), 10: bytes(2048)}, "key 10"),
    ("no incarnation", without(11, init()), "key 11"),
    ("a negative incarnation", {**init(), 11: -1}, "key 11"),
    ("an incarnation beyond 64 bits", {**init(), 11: 1 << 64}, "key 11"),
    ("a fractional incarnation", {**init(), 11: 1.5}, "key 11"),
    ("no target", without(13, init()), "key 13"),
    ("a target of 2 KB", {**init(), 13: bytes(2048)}, "key 13"),
    ("routes that are no list", {**route(), 12: b"a"}, "key 12"),
    ("no routes", without(12, route()), "key 12"),
    ("a route of one", route((b"a",)), "a route operation"),
    ("a route of atoms", route((Atom("a"), Atom("a"))), "a route operation"),
    ("a route that does something else", route((101, b"a", b"a")), "a route operation"),
    ("a route without a filter", route((b"", b"a")), "a route operation"),
    ("a route with no filter", route((b"a/#/b", b"a")), "a route operation"),
    ("a route with U+0000", route((b"a\0", b"a")), "a route operation"),
    ("one wrong route of many", route((b"a", b"a"), (100, b"a")), "a route operation"),
    ("no result", without(15, answer()), "key 15"),
    ("ok as a binary", {**answer(), 15: b"ok"}, "key 15"),
    ("an error that is an atom", {**answer(), 15: (Atom("error"), Atom("no"))}, "key 15"),
    ("no answer to whether to bootstrap", without(16, answer()), "key 16"),
    ("undefined beside ok", {**answer(), 16: Atom("undefined")}, "key 16"),
    ("true as a binary", {**answer(), 16: b"true"}, "key 16"),
]


@pytest.mark.parametrize(("term", "reason"), [row[1:] for row in WRONG], ids=[r[0] for r in WRONG])
def test_a_wrong_control_packet_is_refused_with_what_was_expected(term: Term, reason: str) -> None:
    with pytest.raises(UndecodablePayload) as refused:
        decode_control(etf.encode(term))
    assert reason in str(refused.value)


@pytest.mark.parametrize("need", ["undefined", "false"])
def test_an_error_answer_is_taken_from_every_version_of_emqx(need: str) -> None:
    """5.8.9 has `undefined` beside an error, versions before it `false`."""
    term = {**answer(), 15: (Atom("error"), b"unknown_cluster"), 16: Atom(need)}
    assert decode_control(etf.encode(term)) == ActorInitAck(b"node", "unknown_cluster")


# -- messages ------------------------------------------------------------------------------------

PROPERTIES: Properties = {
    Property.PAYLOAD_FORMAT_INDICATOR: 1,
    Property.CONTENT_TYPE: "text/plain",
    Property.RESPONSE_TOPIC: "answers/ü",
    Property.CORRELATION_DATA: bytes(range(256)),
    Property.USER_PROPERTY: [("k", "v"), ("k", "w"), ("", "")],
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
RESPONSE = TEXTS.filter(lambda text: text and not set(text) & {"+", "#"})
TRAVELLING = st.fixed_dictionaries(
    {},
    optional={
        Property.PAYLOAD_FORMAT_INDICATOR: st.integers(0, 1),
        Property.CONTENT_TYPE: TEXTS,
        Property.RESPONSE_TOPIC: RESPONSE,
        Property.CORRELATION_DATA: st.binary(max_size=20),
        Property.USER_PROPERTY: st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4),
    },
)
MESSAGES = st.builds(
    Message,
    st.sampled_from([b"t", b"a/b/c", "grüße/1".encode()]),
    st.binary(max_size=300),
    st.integers(0, 2),
    st.booleans(),
    properties=TRAVELLING.map(encode_pass_through),
    expires_at=st.none() | st.floats(101, 1_000_000),
    publisher=TEXTS,
    username=st.none() | TEXTS,
)


@given(MESSAGES)
def test_messages_cross_as_they_are(message: Message) -> None:
    data = encode_message(message, ID, now=100.0, timestamp=1718022811042)
    for decode in (decode_message, Decoder().decode):
        topic, payload, about = decode(data)
        assert (topic, payload, about.qos) == (message.topic, message.payload, message.qos)
        assert (about.retain, about.publisher) == (message.retain, message.publisher)
        assert (about.username, about.properties) == (message.username, message.properties)
        assert (about.timestamp, about.id) == (1718022811042, ID)
        if message.expires_at is None:
            assert about.expiry is None
        else:
            assert about.expiry is not None
            assert abs(about.expiry - (message.expires_at - 100.0)) <= 1


@given(st.lists(MESSAGES, max_size=12))
def test_a_decoder_that_remembers_decodes_as_one_that_does_not(messages: list[Message]) -> None:
    decoder = Decoder()
    for number, message in enumerate([*messages, *messages]):
        data = encode_message(
            message, ID[:15] + bytes([number % 256]), 100.0, 1718022811000 + number
        )
        topic, payload, about = decoder.decode(data)
        wanted = decode_message(data)
        assert (topic, payload) == wanted[:2]
        if about.qos == 2 or about.expiry is not None:
            assert about == wanted[2]
        else:  # whose id and time nobody looks at
            assert (about.qos, about.retain, about.publisher, about.username, about.properties) == (
                wanted[2].qos,
                wanted[2].retain,
                wanted[2].publisher,
                wanted[2].username,
                wanted[2].properties,
            )


@given(
    st.lists(st.binary(max_size=300), min_size=1, max_size=20),
    st.sampled_from(["p", "", "publisher-ü"]),
    st.none() | TEXTS,
)
def test_a_run_is_the_packets_of_its_messages(
    payloads: list[bytes], publisher: str, username: str | None
) -> None:
    link_topic, topic = b"$LINK/cluster/msg/us", b"a/b"
    ids = MessageIds(b"process1")
    run = encode_run(link_topic, topic, payloads, publisher, username, ids, 1718022811042)
    again = MessageIds(b"process1")
    expected = b"".join(
        packets.encode(
            packets.Publish(
                link_topic,
                encode_message(
                    Message(topic, payload, publisher=publisher, username=username),
                    again.take(),
                    0.0,
                    1718022811042,
                ),
            ),
            V5,
        )
        for payload in payloads
    )
    assert run == expected
    assert ids.next == again.next == len(payloads)


def test_another_library_decodes_a_message_of_ours() -> None:
    data = encode_message(
        Message(b"t", b"body", 1, True, properties=encode_pass_through(PROPERTIES), publisher="p"),
        ID,
        0.0,
        1718022811042,
    )
    term = erlang.binary_to_term(data)
    name, id, qos, publisher, flags, headers, topic, payload, timestamp, extra = term
    assert name == erlang.OtpErlangAtom("message")
    assert (id.value, qos, publisher.value) == (ID, 1, b"p")
    assert flags == {erlang.OtpErlangAtom("dup"): False, erlang.OtpErlangAtom("retain"): True}
    found = headers[erlang.OtpErlangAtom("properties")]
    assert found[erlang.OtpErlangAtom("Content-Type")].value == b"text/plain"
    assert (topic.value, payload.value, timestamp, extra) == (b"t", b"body", 1718022811042, {})


def test_our_messages_hold_only_atoms_of_the_recorded_set() -> None:
    """EMQX publishes what it can't decode as an ordinary message: never an atom that is new."""
    message = Message(
        b"t",
        b"",
        2,
        True,
        properties=encode_pass_through(PROPERTIES),
        publisher="p",
        username="u",
        expires_at=9.0,
    )
    known = {"message", "dup", "retain", "true", "false", "username", "properties"}
    known |= {"Payload-Format-Indicator", "Content-Type", "Response-Topic", "Correlation-Data"}
    known |= {"User-Property", "Message-Expiry-Interval"}
    assert atoms(etf.decode(encode_message(message, ID, 0.0, 1))) <= known


def fields(**changed: Term) -> Term:
    names = ["tag", "id", "qos", "from_", "flags", "headers", "topic", "payload", "at", "extra"]
    values = {
        "tag": Atom("message"),
        "id": ID,
        "qos": 1,
        "from_": b"p",
        "flags": {},
        "headers": {},
        "topic": b"t",
        "payload": b"body",
        "at": 1718022811042,
        "extra": {},
    }
    assert changed.keys() <= values.keys()
    return tuple({**values, **changed}[name] for name in names)


def test_an_almost_empty_message_is_enough() -> None:
    topic, payload, about = decode_message(etf.encode(fields()))
    assert (topic, payload, about.qos, about.retain) == (b"t", b"body", 1, False)


@pytest.mark.parametrize(
    ("payload", "flat"),
    [
        ([], b""),
        ([104, b"el", [108, [b"o"]]], b"hello"),
        ([b"", [[]], b"x"], b"x"),
        ([0, 255], b"\0\xff"),
    ],
)
def test_an_iolist_as_payload_is_flattened(payload: Term, flat: bytes) -> None:
    assert decode_message(etf.encode(fields(payload=payload)))[1] == flat


def wrong_property(name: str, value: Term) -> Term:
    return fields(headers={Atom("properties"): {Atom(name): value}})


WRONG_MESSAGES = [
    ("a tuple of nine", fields()[:9], "a tuple of ten"),
    ("another record", fields(tag=Atom("massage")), "a tuple of ten"),
    ("a tag that is a binary", fields(tag=b"message"), "a tuple of ten"),
    ("QoS 3", fields(qos=3), "a tuple of ten"),
    ("flags that are undefined", fields(flags=Atom("undefined")), "a tuple of ten"),
    ("headers that are undefined", fields(headers=Atom("undefined")), "a tuple of ten"),
    ("a topic that is a list", fields(topic=[b"t"]), "a tuple of ten"),
    ("a payload that is a number", fields(payload=1), "a tuple of ten"),
    ("a payload with a tuple in it", fields(payload=[b"a", (1,)]), "the payload"),
    ("a payload with 256 in it", fields(payload=[256]), "the payload"),
    ("a timestamp that is an atom", fields(at=Atom("now")), "a tuple of ten"),
    ("a Content-Type with U+0000", wrong_property("Content-Type", b"a\0"), "Content-Type"),
    ("a Content-Type not UTF-8", wrong_property("Content-Type", b"\xff"), "Content-Type"),
    ("a Content-Type of 64 KB", wrong_property("Content-Type", bytes(65536)), "Content-Type"),
    ("a Response-Topic with #", wrong_property("Response-Topic", b"a/#"), "Response-Topic"),
    ("an empty Response-Topic", wrong_property("Response-Topic", b""), "Response-Topic"),
    ("Payload-Format-Indicator 2", wrong_property("Payload-Format-Indicator", 2), "Payload-Format"),
    ("Correlation-Data 1", wrong_property("Correlation-Data", 1), "Correlation-Data"),
    ("a User-Property of one", wrong_property("User-Property", [(b"a",)]), "User-Property"),
    ("a User-Property that is text", wrong_property("User-Property", b"a"), "User-Property"),
    ("an expiry below 0", wrong_property("Message-Expiry-Interval", -1), "Expiry"),
    ("an expiry of 2^32", wrong_property("Message-Expiry-Interval", 1 << 32), "Expiry"),
    ("an expiry that is text", wrong_property("Message-Expiry-Interval", b"1"), "Expiry"),
]


@pytest.mark.parametrize(
    ("term", "reason"), [row[1:] for row in WRONG_MESSAGES], ids=[row[0] for row in WRONG_MESSAGES]
)
@pytest.mark.parametrize("decode", [decode_message, Decoder().decode], ids=["general", "decoder"])
def test_a_wrong_message_is_refused_with_what_was_expected(
    decode: Callable[[bytes], object], term: Term, reason: str
) -> None:
    with pytest.raises(UndecodablePayload) as refused:
        decode(etf.encode(term))
    assert reason in str(refused.value)


def test_unknown_headers_and_properties_are_passed_over() -> None:
    headers = {Atom("peername"): ((127, 0, 0, 1), 1), Atom("properties"): {Atom("New"): 1}}
    assert decode_message(etf.encode(fields(headers=headers)))[2].properties == b""
