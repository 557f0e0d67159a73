"""The Erlang External Term Format: terms from bytes and back.

Only what a link payload may hold. An atom becomes an `Atom`, a plain string: nothing is interned,
so a peer can't fill a table with names. Limits hold before memory is spent: on the size of a
compressed term, on nesting and on the number of terms.

| Erlang | here |
| --- | --- |
| integer, float | `int`, `float` |
| atom | `Atom` |
| binary | `bytes` |
| tuple | `tuple` |
| list, string, nil | `list` |
| map | `dict` |
| pid, port, reference, export | `Opaque` |

Which terms make a message of the protocol is left to `payload` and `message`. The format is
described in Erlang/OTP's "External Term Format".
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from isthmus_broker.errors import UndecodablePayload

Term: TypeAlias = Any
"""A term as in the table above: Erlang's types are dynamic, so readers check what they take."""

VERSION: Final = 131
MAX_SIZE: Final = 16 << 20
"""Bytes of a term, uncompressed."""
MAX_DEPTH: Final = 64
MAX_TERMS: Final = 200_000

_COMPRESSED: Final = 80


class Atom(str):
    """An Erlang atom; never equal to a binary, which is `bytes`."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Opaque:
    """A term that only means something inside the cluster it comes from."""

    tag: int
    data: bytes


def decode(data: bytes, max_size: int = MAX_SIZE) -> Term:
    """The term in `data`, all of it.

    Raises:
        UndecodablePayload: no term, more than one, or one beyond the limits; says at which byte.
    """
    if len(data) < 2 or data[0] != VERSION:
        raise UndecodablePayload("expected an Erlang term, which begins with byte 131")
    if data[1] == _COMPRESSED:
        data = _inflate(data, max_size)
    elif len(data) > max_size:
        raise UndecodablePayload(f"a term of {len(data)} bytes: expected at most {max_size}")
    reader = _Reader(data)
    try:
        term = reader.term(0)
    except (IndexError, struct.error) as error:
        raise UndecodablePayload(f"the term ends short, at byte {len(data)}") from error
    if reader.pos != len(data):
        raise UndecodablePayload(f"{len(data) - reader.pos} bytes after the term")
    return term


def _inflate(data: bytes, max_size: int) -> bytes:
    """The plain form of a compressed term; never inflates beyond `max_size`."""
    size = int.from_bytes(data[2:6], "big")
    if len(data) < 7 or size > max_size:
        raise UndecodablePayload(f"a compressed term of {size} bytes: expected at most {max_size}")
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(data[6:], size + 1)
    except zlib.error as error:
        raise UndecodablePayload(f"a compressed term that does not inflate: {error}") from error
    if len(plain) != size or not inflater.eof or inflater.unused_data:
        raise UndecodablePayload(f"a compressed term that is not of {size} bytes as it says")
    return bytes((VERSION,)) + plain


class _Reader:
    """One pass over the bytes of a term."""

    __slots__ = ("data", "left", "pos")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pos = 1
        self.left = MAX_TERMS

    def term(self, depth: int) -> Term:
        at = self.pos
        tag = self.data[at]
        self.pos = at + 1
        self.left -= 1
        if depth > MAX_DEPTH or self.left < 0:
            raise UndecodablePayload(
                f"more than {MAX_DEPTH} levels or {MAX_TERMS} terms, at byte {at}"
            )
        read = _READ.get(tag)
        if read is None:
            raise UndecodablePayload(f"a term of unknown type {tag}, at byte {at}")
        return read(self, depth)

    def take(self, size: int) -> bytes:
        pos = self.pos
        self.pos = end = pos + size
        if end > len(self.data):
            raise UndecodablePayload(
                f"{size} bytes expected at byte {pos}, {len(self.data) - pos} there"
            )
        return self.data[pos:end]

    def unsigned(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def terms(self, count: int, depth: int) -> list[Term]:
        if count > len(self.data) - self.pos:  # each has a byte at least
            raise UndecodablePayload(f"{count} terms announced at byte {self.pos}, fewer there")
        return [self.term(depth + 1) for _ in range(count)]

    def opaque(self, tag: int, start: int) -> Opaque:
        return Opaque(tag, self.data[start : self.pos])


def _atom(size_bytes: int, encoding: str) -> Callable[[_Reader, int], Atom]:
    def read(reader: _Reader, _depth: int) -> Atom:
        at = reader.pos
        raw = reader.take(reader.unsigned(size_bytes))
        if len(raw) > 255 * 4:
            raise UndecodablePayload(f"an atom of {len(raw)} bytes, at byte {at}")
        try:
            return Atom(raw, encoding)
        except UnicodeDecodeError as error:
            raise UndecodablePayload(f"an atom that is not UTF-8, at byte {at}") from error

    return read


def _float(reader: _Reader, _depth: int) -> float:
    return float(struct.unpack(">d", reader.take(8))[0])


def _small_integer(reader: _Reader, _depth: int) -> int:
    return reader.unsigned(1)


def _integer(reader: _Reader, _depth: int) -> int:
    return int.from_bytes(reader.take(4), "big", signed=True)


def _big(size_bytes: int) -> Callable[[_Reader, int], int]:
    def read(reader: _Reader, _depth: int) -> int:
        size = reader.unsigned(size_bytes)
        if size > 1024:
            raise UndecodablePayload(f"an integer of {size} bytes, at byte {reader.pos}")
        sign = reader.unsigned(1)
        value = int.from_bytes(reader.take(size), "little")
        return -value if sign else value

    return read


def _binary(reader: _Reader, _depth: int) -> bytes:
    return reader.take(reader.unsigned(4))


def _tuple(size_bytes: int) -> Callable[[_Reader, int], tuple[Term, ...]]:
    def read(reader: _Reader, depth: int) -> tuple[Term, ...]:
        return tuple(reader.terms(reader.unsigned(size_bytes), depth))

    return read


def _nil(_reader: _Reader, _depth: int) -> list[Term]:
    return []


def _string(reader: _Reader, _depth: int) -> list[Term]:
    raw = reader.take(reader.unsigned(2))
    reader.left -= len(raw)
    return list(raw)


def _list(reader: _Reader, depth: int) -> list[Term]:
    items = reader.terms(reader.unsigned(4), depth)
    tail = reader.term(depth + 1)
    if tail != []:
        raise UndecodablePayload(f"an improper list, at byte {reader.pos}")
    return items


def _map(reader: _Reader, depth: int) -> dict[Term, Term]:
    count = reader.unsigned(4)
    found: dict[Term, Term] = {}
    for _ in range(count):
        at = reader.pos
        key = reader.term(depth + 1)
        try:
            found[key] = reader.term(depth + 1)
        except TypeError as error:
            raise UndecodablePayload(f"a map with a key of no use, at byte {at}") from error
    return found


def _pid(creation_bytes: int) -> Callable[[_Reader, int], Opaque]:
    def read(reader: _Reader, depth: int) -> Opaque:
        start = reader.pos
        reader.term(depth + 1)
        reader.take(8 + creation_bytes)
        return reader.opaque(103, start)

    return read


def _reference(creation_bytes: int) -> Callable[[_Reader, int], Opaque]:
    def read(reader: _Reader, depth: int) -> Opaque:
        start = reader.pos
        words = reader.unsigned(2)
        reader.term(depth + 1)
        reader.take(creation_bytes + 4 * words)
        return reader.opaque(114, start)

    return read


def _port(rest: int) -> Callable[[_Reader, int], Opaque]:
    def read(reader: _Reader, depth: int) -> Opaque:
        start = reader.pos
        reader.term(depth + 1)
        reader.take(rest)
        return reader.opaque(102, start)

    return read


def _export(reader: _Reader, depth: int) -> Opaque:
    start = reader.pos
    reader.terms(3, depth)
    return reader.opaque(113, start)


_READ: Final[dict[int, Callable[[_Reader, int], Term]]] = {
    70: _float,
    88: _pid(4),
    89: _port(8),
    90: _reference(4),
    97: _small_integer,
    98: _integer,
    100: _atom(2, "latin-1"),
    102: _port(5),
    103: _pid(1),
    104: _tuple(1),
    105: _tuple(4),
    106: _nil,
    107: _string,
    108: _list,
    109: _binary,
    110: _big(1),
    111: _big(4),
    113: _export,
    114: _reference(1),
    115: _atom(1, "latin-1"),
    116: _map,
    118: _atom(2, "utf-8"),
    119: _atom(1, "utf-8"),
    120: _port(12),
}


def encode(term: Term) -> bytes:
    """`term` in the external format, uncompressed."""
    out = bytearray((VERSION,))
    _write(out, term)
    return bytes(out)


def encode_part(term: Term) -> bytes:
    """`term` as it stands inside another one: without the leading version."""
    out = bytearray()
    _write(out, term)
    return bytes(out)


def _write(out: bytearray, term: Term) -> None:
    if isinstance(term, Atom):
        raw = term.encode()
        out += bytes((119, len(raw))) + raw
    elif isinstance(term, bytes):
        out += b"m" + len(term).to_bytes(4, "big") + term
    elif isinstance(term, int):
        _write_integer(out, term)
    elif isinstance(term, tuple):
        out += bytes((104, len(term)))
        for item in term:
            _write(out, item)
    elif isinstance(term, list):
        if term:
            out += b"l" + len(term).to_bytes(4, "big")
            for item in term:
                _write(out, item)
        out += b"j"
    elif isinstance(term, dict):
        out += b"t" + len(term).to_bytes(4, "big")
        for key, value in term.items():
            _write(out, key)
            _write(out, value)
    elif isinstance(term, float):
        out += b"F" + struct.pack(">d", term)
    else:
        raise TypeError(f"no Erlang term for {type(term).__name__}")


def _write_integer(out: bytearray, value: int) -> None:
    if 0 <= value <= 255:
        out += bytes((97, value))
    elif -(1 << 31) <= value < 1 << 31:
        out += b"b" + value.to_bytes(4, "big", signed=True)
    else:
        size = (abs(value).bit_length() + 7) // 8
        out += bytes((110, size, value < 0)) + abs(value).to_bytes(size, "little")
