"""The data types of MQTT packets (1.5): integers, Variable Byte Integers, strings, binary data.

A reader takes the bytes, a position and the name of the field, and returns the value and the
position after it; where the bytes end too early or are no such value, it raises
`MalformedPacket`, which says which field, at which byte, and what was expected. Writers raise
`ValueError` for a value that has no encoding. What the fields mean is left to `packets` and
`properties`.
"""

from __future__ import annotations

from typing import Final

from isthmus_broker.errors import MalformedPacket

MAX_VARINT: Final = 268_435_455
"""The largest Variable Byte Integer, so the largest Remaining Length (1.5.5)."""
MAX_BINARY: Final = 65_535
"""Bytes in a UTF-8 string or in binary data (1.5.4, 1.5.6)."""


def truncated(field: str, pos: int, expected: int, left: int) -> MalformedPacket:
    """The error for a field of `expected` bytes where only `left` bytes are left."""
    return MalformedPacket(f"{field} at byte {pos}: {expected} bytes expected, {left} left")


def read_u8(data: bytes, pos: int, field: str) -> tuple[int, int]:
    """One byte."""
    if pos >= len(data):
        raise truncated(field, pos, 1, 0)
    return data[pos], pos + 1


def read_u16(data: bytes, pos: int, field: str) -> tuple[int, int]:
    """A Two Byte Integer (1.5.2)."""
    end = pos + 2
    if end > len(data):
        raise truncated(field, pos, 2, len(data) - pos)
    return data[pos] << 8 | data[pos + 1], end


def read_u32(data: bytes, pos: int, field: str) -> tuple[int, int]:
    """A Four Byte Integer (1.5.3)."""
    end = pos + 4
    if end > len(data):
        raise truncated(field, pos, 4, len(data) - pos)
    return int.from_bytes(data[pos:end], "big"), end


def read_varint(data: bytes, pos: int, field: str) -> tuple[int, int]:
    """A Variable Byte Integer of the fewest bytes possible [MQTT-1.5.5-1]."""
    value = 0
    some = data[pos : pos + 4]
    for count, byte in enumerate(some):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            if count and not byte:
                raise MalformedPacket(f"{field} at byte {pos}: more bytes than its value needs")
            return value, pos + count + 1
    if len(some) < 4:
        raise truncated(field, pos, len(some) + 1, len(some))
    raise MalformedPacket(f"{field} at byte {pos}: at most 4 bytes expected, more came")


def read_binary(data: bytes, pos: int, field: str) -> tuple[bytes, int]:
    """Binary data behind its length in two bytes (1.5.6)."""
    start = pos + 2
    if start > len(data):
        raise truncated(f"the length of {field}", pos, 2, len(data) - pos)
    end = start + (data[pos] << 8 | data[pos + 1])
    if end > len(data):
        raise truncated(field, start, end - start, len(data) - start)
    return data[start:end], end


def read_text(data: bytes, pos: int, field: str) -> tuple[bytes, int]:
    """A UTF-8 string, checked and left encoded: for topic names and filters."""
    raw, end = read_binary(data, pos, field)
    if not is_text(raw):
        raise not_text(field, pos)
    return raw, end


def read_string(data: bytes, pos: int, field: str) -> tuple[str, int]:
    """A UTF-8 string (1.5.4); U+FEFF stays wherever it stands [MQTT-1.5.4-3]."""
    raw, end = read_text(data, pos, field)
    return raw.decode(), end


def read_pair(data: bytes, pos: int, field: str) -> tuple[tuple[str, str], int]:
    """A UTF-8 String Pair (1.5.7)."""
    name, pos = read_string(data, pos, field)
    value, pos = read_string(data, pos, field)
    return (name, value), pos


def is_text(raw: bytes) -> bool:
    """Whether `raw` is UTF-8, without surrogates [MQTT-1.5.4-1] and U+0000 [MQTT-1.5.4-2]."""
    if b"\0" in raw:
        return False
    if raw.isascii():
        return True
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def not_text(field: str, pos: int) -> MalformedPacket:
    """The error for bytes that are no UTF-8 string."""
    return MalformedPacket(f"{field} at byte {pos}: UTF-8 without U+0000 expected")


def varint(value: int) -> bytes:
    """`value` (0 to `MAX_VARINT`) as a Variable Byte Integer (1.5.5)."""
    if value < 0x80:
        return bytes((value,))
    if value > MAX_VARINT:
        raise ValueError(f"{value:,} is more than a Variable Byte Integer can be")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def u8(value: int) -> bytes:
    """One byte."""
    return bytes((value,))


def u16(value: int) -> bytes:
    """`value` as a Two Byte Integer."""
    return value.to_bytes(2, "big")


def u32(value: int) -> bytes:
    """`value` as a Four Byte Integer."""
    return value.to_bytes(4, "big")


def binary(value: bytes) -> bytes:
    """`value` behind its length: binary data, or a string that is encoded already."""
    if len(value) > MAX_BINARY:
        raise ValueError(
            f"{len(value):,} bytes, more than the {MAX_BINARY:,} that a field can have"
        )
    return len(value).to_bytes(2, "big") + value


def string(value: str) -> bytes:
    """`value` as a UTF-8 string (1.5.4)."""
    if "\0" in value:
        raise ValueError("a UTF-8 string can't have U+0000")
    return binary(value.encode())


def pair(value: tuple[str, str]) -> bytes:
    """A UTF-8 String Pair (1.5.7)."""
    return string(value[0]) + string(value[1])
