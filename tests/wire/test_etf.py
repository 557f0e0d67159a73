"""Erlang terms: what Erlang and EMQX have encoded decodes, and what is none of that is refused."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import erlang
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_broker.errors import UndecodablePayload
from isthmus_broker.link import etf
from isthmus_broker.link.etf import Atom, Opaque, Term
from isthmus_broker.link.message import Decoder, decode_message
from isthmus_broker.link.payload import Heartbeat, Routes, decode_control, encode_control
from isthmus_broker.link.routes import RouteOp

HERE = Path(__file__).parent
VECTORS = {path.stem: path.read_bytes() for path in sorted((HERE / "erlang").glob("*.etf"))}

OP, OK, ERROR, UNDEFINED = Atom("$op"), Atom("ok"), Atom("error"), Atom("undefined")
TRUE, FALSE = Atom("true"), Atom("false")
NODE = b"emqx@10.1.2.3"
ID = bytes((0, 6, 30, 169, 51, 81, 111, 64, 244, 66, 0, 0, 11, 196, 0, 1))


def ack(result: Term, need: Atom) -> Term:
    return {10: NODE, 14: 1, 15: result, 16: need, OP: b"actor_init_ack"}


TERMS: dict[str, Term] = {
    # As in the .term files beside the vectors.
    "actor_init": {
        10: NODE,
        11: 1718022811000,
        13: b"cluster-eu-west",
        14: 1,
        OP: b"actor_init",
    },
    "actor_init_ack_ok_bootstrap": ack(OK, TRUE),
    "actor_init_ack_ok_known": ack(OK, FALSE),
    "actor_init_ack_disabled": ack((ERROR, b"cluster_link_disabled"), UNDEFINED),
    "actor_init_ack_misnamed": ack((ERROR, b"bad_remote_cluster_link_name"), UNDEFINED),
    "actor_init_ack_unknown_cluster": ack((ERROR, b"unknown_cluster"), UNDEFINED),
    "heartbeat": {10: NODE, 11: 1718022811000, OP: b"heartbeat"},
    "route_add_delete": {
        10: NODE,
        11: 1718022811000,
        12: [
            (b"linked/#", b"linked/#"),
            (b"a/+/c", b"$s/workers/a/+/c"),
            (100, b"old/t", b"old/t"),
        ],
        OP: b"route",
    },
    "message_from_atom": (
        Atom("message"),
        ID,
        0,
        Atom("emqx_mgmt"),
        {Atom("sys"): TRUE},
        {},
        b"linked/sys",
        b"",
        1718022811044,
        {},
    ),
    "message_qos1": (
        Atom("message"),
        ID,
        1,
        b"pub-1",
        {Atom("dup"): FALSE, Atom("retain"): FALSE},
        {
            Atom("protocol"): Atom("mqtt"),
            Atom("properties"): {},
            Atom("proto_ver"): 4,
            Atom("username"): UNDEFINED,
            Atom("peerhost"): (127, 0, 0, 1),
            Atom("client_attrs"): {},
        },
        b"linked/42",
        b"Hello from the other side!",
        1718022811042,
        {},
    ),
    "message_v5_properties": (
        Atom("message"),
        ID,
        2,
        b"pub-5",
        {Atom("dup"): FALSE, Atom("retain"): TRUE},
        {
            Atom("protocol"): Atom("mqtt"),
            Atom("properties"): {
                Atom("Content-Type"): b"application/json",
                Atom("Message-Expiry-Interval"): 60,
                Atom("Payload-Format-Indicator"): 1,
                Atom("Response-Topic"): b"reply/1",
                Atom("Correlation-Data"): b"\1\2\3",
                Atom("User-Property"): [(b"k", b"v"), (b"k", b"w")],
            },
            Atom("proto_ver"): 5,
            Atom("username"): b"alice",
            Atom("peerhost"): (0, 0, 0, 0, 0, 65535, 32512, 1),
        },
        b"linked/json",
        b'{"a":1}',
        1718022811043,
        {},
    ),
}
LARGE = {"message_64k_compressed", "route_batch_4000"}


@pytest.mark.parametrize("name", TERMS)
def test_what_erlang_has_encoded_decodes_to_its_term(name: str) -> None:
    assert etf.decode(VECTORS[name]) == TERMS[name]
    assert typed(etf.decode(VECTORS[name])) == typed(TERMS[name])


@pytest.mark.parametrize("name", TERMS)
def test_what_is_encoded_here_is_as_long_as_erlangs(name: str) -> None:
    """Order of keys aside, the same bytes."""
    assert sorted(etf.encode(TERMS[name])) == sorted(VECTORS[name])


def test_every_vector_is_tested() -> None:
    assert VECTORS.keys() == TERMS.keys() | LARGE


def test_a_large_message_inflates() -> None:
    topic, payload, about = decode_message(VECTORS["message_64k_compressed"])
    assert VECTORS["message_64k_compressed"][1] == 80
    assert payload == b"0123456789abcdef" * 4096
    assert (topic.split(b"/")[0], about.qos) == (b"linked", 1)


def test_a_batch_of_4000_operations_decodes() -> None:
    routes = decode_control(VECTORS["route_batch_4000"])
    assert isinstance(routes, Routes)
    assert len(routes.ops) == 4000
    assert all(op.filter == op.id and not op.delete for op in routes.ops)
    assert len({op.filter for op in routes.ops}) == 4000


def typed(term: Term) -> Term:
    """Where 1 == True and an atom equals a text: with the types told."""
    if isinstance(term, dict):
        return {typed(key): typed(value) for key, value in term.items()}
    if isinstance(term, list):
        return ["list", *map(typed, term)]
    if isinstance(term, tuple):
        return ("tuple", *map(typed, term))
    return (type(term).__name__, term)


# -- another implementation ----------------------------------------------------------------------


def theirs(term: Any) -> Term:
    """A term of the library `erlang` as ours."""
    if isinstance(term, erlang.OtpErlangAtom):
        return Atom(term.value if isinstance(term.value, str) else term.value.decode())
    if isinstance(term, erlang.OtpErlangBinary):
        return bytes(term.value)
    if isinstance(term, erlang.OtpErlangList):
        assert not term.improper
        return [theirs(item) for item in term.value]
    if isinstance(term, bool) or term is None:
        return Atom({True: "true", False: "false", None: "undefined"}[term])
    if isinstance(term, dict | erlang.frozendict):
        return {theirs(key): theirs(value) for key, value in term.items()}
    if isinstance(term, tuple):
        return tuple(map(theirs, term))
    if isinstance(term, list):
        return list(map(theirs, term))
    return term


@pytest.mark.parametrize("name", TERMS)
def test_another_library_decodes_what_is_encoded_here(name: str) -> None:
    found = theirs(erlang.binary_to_term(etf.encode(TERMS[name])))
    assert typed(found) == typed(TERMS[name])


ATOMS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40).map(Atom)
INTEGERS = st.integers(-(1 << 70), 1 << 70)
KEYS = st.one_of(ATOMS, st.integers(0, 300), st.binary(max_size=8))
TERM: st.SearchStrategy[Term] = st.recursive(
    st.one_of(ATOMS, INTEGERS, st.binary(max_size=300), st.floats(allow_nan=False)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=8),
        st.lists(inner, max_size=8).map(tuple),
        st.dictionaries(KEYS, inner, max_size=8),
    ),
    max_leaves=30,
)


@given(TERM)
def test_terms_come_back_as_they_were(term: Term) -> None:
    assert typed(etf.decode(etf.encode(term))) == typed(term)
    assert etf.decode(etf.encode(term)) == term


@given(TERM)
def test_another_library_sees_the_same_in_any_term(term: Term) -> None:
    assert typed(theirs(erlang.binary_to_term(etf.encode(term)))) == typed(term)


# -- the recorded conversation -------------------------------------------------------------------


def recorded() -> list[tuple[str, str, int, bytes]]:
    lines = (HERE / "emqx-5.8.9.txt").read_text().splitlines()
    found = [line.split() for line in lines if not line.startswith("#")]
    return [(who, topic, int(qos), bytes.fromhex(data)) for who, topic, qos, data in found]


def test_the_recorded_control_packets_decode() -> None:
    said = [
        decode_control(data)
        for who, topic, _, data in recorded()
        if who == "a" and "msg" not in topic
    ]
    operations = [said.ops for said in said if isinstance(said, Routes)]
    assert operations == [
        [RouteOp(b"linked/w/#", b"linked/w/#"), RouteOp(b"linked/1", b"linked/1")],
        [RouteOp(b"tn/+/data", b"tn/+/data")],
        [RouteOp(b"linked/sh/+", b"$s/g1/linked/sh/+")],
        [RouteOp(b"linked/1", b"linked/1", delete=True)],
        [
            RouteOp(b"tn/+/data", b"tn/+/data", delete=True),
            RouteOp(b"linked/w/#", b"linked/w/#", delete=True),
            RouteOp(b"linked/sh/+", b"$s/g1/linked/sh/+", delete=True),
        ],
    ]
    assert said.count(Heartbeat(b"emqxa@127.0.0.1", 1795448752212)) == 2


def test_the_recorded_messages_decode() -> None:
    decoder = Decoder()
    found = []
    for _, topic, qos, data in recorded():
        if topic.startswith("$LINK/cluster/msg/"):
            decoded = decode_message(data)
            assert decoder.decode(data)[:2] == decoded[:2]
            assert decoded[2].qos == qos
            found.append((decoded[0], decoded[1], qos, decoded[2].retain, decoded[2].publisher))
    assert found == [
        (b"linked/1", b"hello qos1", 1, False, "pub_on_b"),
        (b"linked/1", b"hello qos2", 2, False, "pub_on_b"),
        (b"linked/1", b"hello qos0", 0, False, "pub_on_b"),
        (b"linked/w/x", b"retained", 1, True, "pub_on_b"),
        (b"tn/7/data", b"", 0, False, "pub_on_b"),
        (b"linked/sh/1", b"shared", 1, False, "pub_on_b"),
        (b"linked/1", b"from 311", 1, False, "pub311_on_b"),
    ]


def test_recorded_control_packets_encode_to_the_same_bytes_in_another_order() -> None:
    for _, topic, _, data in recorded():
        if "/msg/" not in topic:
            assert sorted(encode_control(decode_control(data))) == sorted(data)


# -- malformed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VECTORS)
def test_a_term_cut_short_at_any_byte_is_refused(name: str) -> None:
    data = VECTORS[name]
    for end in range(0, len(data), 1 + len(data) // 500):
        with pytest.raises(UndecodablePayload):
            etf.decode(data[:end])


@given(st.sampled_from(sorted(TERMS)), st.data())
def test_a_term_with_wrong_bytes_decodes_or_is_refused(name: str, data: st.DataObject) -> None:
    wrong = bytearray(VECTORS[name])
    for _ in range(data.draw(st.integers(1, 4))):
        wrong[data.draw(st.integers(0, len(wrong) - 1))] = data.draw(st.integers(0, 255))
    for decode in (etf.decode, decode_control, decode_message, Decoder().decode):
        with contextlib.suppress(UndecodablePayload):
            decode(bytes(wrong))


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    for start in (b"", b"\x83", b"\x83t\0\0\0\2", b"\x83h\x0a", b"\x83P\0\0\0\x20"):
        for decode in (etf.decode, decode_control, decode_message, Decoder().decode):
            with contextlib.suppress(UndecodablePayload):
                decode(start + data)


def nested(levels: int) -> bytes:
    return b"\x83" + b"h\x01" * levels + b"a\x01"


def compressed(plain: bytes, size: int | None = None) -> bytes:
    told = len(plain) if size is None else size
    return b"\x83P" + struct.pack(">I", told & 0xFFFFFFFF) + zlib.compress(plain)


HUGE = (0xFFFFFFFF).to_bytes(4, "big")
ATOM_4K = b"v\x10\x00" + b"a" * 0x1000

REFUSED = {
    "nothing": b"",
    "the version alone": b"\x83",
    "another version": b"\x82a\x01",
    "no type that there is": b"\x83\x00",
    "bytes after the term": b"\x83a\x01a",
    "a list of 4 G": b"\x83l" + HUGE + b"a\x01",
    "a tuple of 4 G": b"\x83i" + HUGE + b"a\x01",
    "a map of 4 G": b"\x83t" + HUGE + b"a\x01a\x01",
    "a binary of 4 G": b"\x83m" + HUGE + b"a",
    "an integer of 4 G": b"\x83o" + HUGE + b"\0a",
    "an integer of 2 KB": b"\x83o\0\0\x08\0\0" + bytes(2048),
    "tuples within tuples": nested(100),
    "ten thousand levels": nested(10_000),
    "lists within lists": b"\x83" + b"l\0\0\0\x01" * 5000,
    "maps within maps": b"\x83" + b"t\0\0\0\x01a\x01" * 5000,
    "pids within pids": b"\x83" + b"g" * 5000,
    "an atom of 4 KB": b"\x83" + ATOM_4K,
    "an atom that is not UTF-8": b"\x83w\x02\xff\xfe",
    "an improper list": b"\x83l\0\0\0\x01a\x01a\x02",
    "a map with a list as key": b"\x83t\0\0\0\x01la\0\0\0\x01a\x01ja\x01",
    "a map with a map as key": b"\x83t\0\0\0\x01t\0\0\0\0a\x01",
    "more terms than any payload needs": b"\x83l\0\x04\0\0" + b"j" * 0x40000 + b"j",
    "a string of very many numbers": b"\x83l\0\0\0\x08" + (b"k\xff\xff" + b"a" * 65535) * 8 + b"j",
    "compressed in compressed": compressed(b"P\0\0\0\x10" + zlib.compress(b"a\x01")),
    "compressed, and something else": compressed(b"a\x01") + b"x",
    "compressed, and cut short": compressed(b"m\0\0\0\x40" + bytes(64))[:-6],
    "compressed, not zlib": b"\x83P\0\0\0\x02ab",
    "compressed, larger than it says": compressed(b"m\0\0\0\x40" + bytes(64), 10),
    "compressed, smaller than it says": compressed(b"a\x01", 100),
    "compressed, saying 4 GB": compressed(b"a\x01", 0xFFFFFFFF),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_term_is_refused_with_a_reason(data: bytes) -> None:
    with pytest.raises(UndecodablePayload) as refused:
        etf.decode(data)
    assert 10 < len(str(refused.value)) < 200


@pytest.mark.parametrize("says", [100, etf.MAX_SIZE, etf.MAX_SIZE + 1, 0xFFFFFFFF])
def test_a_bomb_does_not_go_off(says: int) -> None:
    """A gigabyte of zeros in a megabyte: refused without the memory for it."""
    packer = zlib.compressobj(9)
    zeros = bytes(1 << 20)
    packed = b"".join([packer.compress(zeros) for _ in range(256)]) + packer.flush()
    tracemalloc.start()
    try:
        with pytest.raises(UndecodablePayload):
            etf.decode(b"\x83P" + struct.pack(">I", says) + packed)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 3 * etf.MAX_SIZE


def test_unknown_atoms_are_plain_texts() -> None:
    """Nothing is interned: a peer can't fill a table with names."""
    term = etf.decode(etf.encode([Atom(f"never-seen-{number}") for number in range(1000)]))
    assert all(type(atom) is Atom for atom in term)
    assert term[0] == Atom("never-seen-0")


@pytest.mark.parametrize(
    ("data", "term"),
    [
        (b"\x83d\x00\x02ok", Atom("ok")),
        (b"\x83d\x00\x01\xe9", Atom("é")),
        (b"\x83s\x02ok", Atom("ok")),
        (b"\x83v\x00\x02ok", Atom("ok")),
        (b"\x83w\x02\xc3\xa9", Atom("é")),
        (b"\x83k\x00\x02\x01\xff", [1, 255]),
        (b"\x83j", []),
        (b"\x83b\xff\xff\xff\xff", -1),
        (b"\x83n\x01\x01\x05", -5),
        (b"\x83n\x00\x00", 0),
        (b"\x83o\x00\x00\x00\x01\x00\x07", 7),
        (b"\x83F" + struct.pack(">d", 1.5), 1.5),
        (b"\x83i\x00\x00\x00\x01a\x01", (1,)),
        (b"\x83Xw\x01n" + bytes(12), Opaque(103, b"w\x01n" + bytes(12))),
        (b"\x83gw\x01n" + bytes(9), Opaque(103, b"w\x01n" + bytes(9))),
        (b"\x83Z\x00\x01w\x01n" + bytes(8), Opaque(114, b"\x00\x01w\x01n" + bytes(8))),
        (b"\x83Yw\x01n" + bytes(8), Opaque(102, b"w\x01n" + bytes(8))),
        (b"\x83qw\x01mw\x01fa\x01", Opaque(113, b"w\x01mw\x01fa\x01")),
    ],
)
def test_every_form_that_erlang_may_choose_is_taken(data: bytes, term: Term) -> None:
    assert typed(etf.decode(data)) == typed(term)
