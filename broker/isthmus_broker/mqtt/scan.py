"""The hot loop: bytes as they came -> runs of plain PUBLISH packets, and framed packets.

A *run* is one slice of a read that holds consecutive PUBLISH packets without DUP, RETAIN or
properties. At QoS 0 their topics all have the same target (an interned fan-out), and it is handed
on as it came: no object per packet. At QoS 1 they have the same topic and the same length, so that
what they carry is found without parsing each. Everything else comes out framed, one by one, for
`mqtt.packets`.

Small, typed and free of imports on purpose: it compiles with mypyc from unchanged source. What a
target is, and whether a topic is valid or permitted, is the lookup's business.
"""

from __future__ import annotations

Item = tuple[object, int, int, int]
"""`(target, start, end, count)`: a run of `count` packets in `data[start:end]`, of QoS 0, or where
`count` is negative `-count` packets of QoS 1; or
`(None, first, start, end)`: one packet with the first byte `first` and its body in
`data[start:end]`; or `(None, FAULT, code, position)`: no packet, for the reason `code`."""

FAULT = -1
PLAIN = 0x30  # PUBLISH, QoS 0, no DUP, no RETAIN
PLAIN_QOS1 = 0x32
ACKS = 0x140
"""Stands for `first` where the item is a run of PUBACK packets of four bytes: `data[start:end]`."""
MALFORMED = 0x81
TOO_LARGE = 0x95
_INCOMPLETE = -1
_OVERLONG = -2  # a fifth byte, or more bytes than needed [MQTT-1.5.5-1]


def scan(  # noqa: C901 - one loop, no calls: that is what makes it fast
    data: bytes, start: int, lookup: dict[bytes, object], v5: bool, max_packet: int
) -> tuple[list[Item], int]:
    """Cut `data[start:]` into items; return them and where the first incomplete packet begins.

    `lookup[topic]` gives the target of a topic, or None where the packet must come out framed (an
    invalid topic, say). `v5` tells the layout, `max_packet` is the largest packet in bytes that is
    waited for (MQTT 5.0, 3.2.2.3.6). A fault is always the last item.
    """
    items: list[Item] = []
    size = len(data)
    pos = start
    target: object = None  # of the run being gathered, from run_start to pos
    run_start = count = 0
    while size - pos >= 2:
        first = data[pos]
        remaining = data[pos + 1]
        body = pos + 2
        if remaining & 0x80:
            remaining, body = _length(data, pos + 1, size)
            if remaining == _INCOMPLETE:
                break
        end = body + remaining
        if remaining < 0 or end - pos > max_packet:
            if target is not None:
                items.append((target, run_start, pos, count))
            items.append((None, FAULT, MALFORMED if remaining < 0 else TOO_LARGE, pos))
            return items, pos
        if end > size:
            break
        if first == PLAIN and remaining > 2:
            name = body + 2
            after = name + (data[body] << 8 | data[body + 1])
            if after < end if v5 else after <= end:  # noqa: SIM102
                if not v5 or data[after] == 0:
                    found = lookup[data[name:after]]
                    if found is not None:
                        if found is not target:
                            if target is not None:
                                items.append((target, run_start, pos, count))
                            target = found
                            run_start = pos
                            count = 0
                        # Mostly the next packet has the same length and topic: then its head is
                        # the same to the byte, and nothing needs to be parsed.
                        step = end - pos
                        head = data[pos : after + 1] if v5 else data[pos:after]
                        last = size - step
                        pos = end
                        count += 1
                        while pos <= last and data.startswith(head, pos):
                            pos += step
                            count += 1
                        continue
        if target is not None:
            items.append((target, run_start, pos, count))
            target = None
        if first == PLAIN_QOS1 and remaining > 4:
            after = body + 2 + (data[body] << 8 | data[body + 1])
            payload = after + 3 if v5 else after + 2
            if payload <= end and (not v5 or data[payload - 1] == 0):
                found = lookup[data[body + 2 : after]]
                if found is not None:
                    head = data[pos:after]
                    run_start = pos
                    step = end - pos
                    payload -= pos
                    last = size - step
                    pos = end
                    count = 1
                    while pos <= last and data.startswith(head, pos):
                        if v5 and data[pos + payload - 1]:
                            break
                        pos += step
                        count += 1
                    items.append((found, run_start, pos, -count))
                    continue
        if first == 0x40 and remaining == 2:
            acks = pos
            pos = end
            while size - pos >= 4 and data[pos] == 0x40 and data[pos + 1] == 2:
                pos += 4
            items.append((None, ACKS, acks, pos))
            continue
        items.append((None, first, body, end))
        pos = end
    if target is not None:
        items.append((target, run_start, pos, count))
    return items, pos


def head(data: bytes, v5: bool) -> bytes:
    """A plain PUBLISH of QoS 0 up to its payload: what the next one of its kind begins with."""
    _, after, _ = _bounds(data, 0)
    return data[: after + 1 if v5 else after]


def split(data: bytes, start: int, end: int, v5: bool) -> list[tuple[bytes, bytes]]:
    """Topic and payload of each packet of a run (which `scan` has checked)."""
    parts: list[tuple[bytes, bytes]] = []
    pos = start
    while pos < end:
        body, after, stop = _bounds(data, pos)
        parts.append((data[body + 2 : after], data[after + 1 if v5 else after : stop]))
        pos = stop
    return parts


def alike(data: bytes, start: int, v5: bool) -> tuple[bytes, int, int, int]:
    """What the packets of a run of QoS 1 share: topic, size, places of identifier and payload.

    Size and places are in bytes, from the beginning of a packet.
    """
    body, after, stop = _bounds(data, start)
    identifier = after - start
    return data[body + 2 : after], stop - start, identifier, identifier + (3 if v5 else 2)


def relayout(data: bytes, start: int, end: int, v5: bool) -> bytes:
    """A run as the other protocol level lays it out; `v5` tells the layout that it has.

    MQTT 5.0 has one more byte after the topic: the length of the properties, 0.
    """
    out: list[bytes] = []
    change = -1 if v5 else 1
    pos = start
    while pos < end:
        body, after, stop = _bounds(data, pos)
        out.append(b"\x30" + _varint(stop - body + change) + data[body:after])
        out.append(data[after + 1 : stop] if v5 else b"\x00" + data[after:stop])
        pos = stop
    return b"".join(out)


def join(topic: bytes, payloads: list[bytes], v5: bool) -> bytes:
    """A run out of one topic and many payloads: what `split` takes apart."""
    name = len(topic).to_bytes(2, "big") + topic + (b"\x00" if v5 else b"")
    parts: list[bytes] = []
    size = -1
    head = b""
    for payload in payloads:
        if len(payload) != size:
            size = len(payload)
            head = b"\x30" + _varint(len(name) + size) + name
        parts += (head, payload)
    return b"".join(parts)


def _length(data: bytes, pos: int, size: int) -> tuple[int, int]:
    """The Remaining Length at `pos`, or why there is none, and where the body begins (2.1.4)."""
    value = shift = 0
    while pos < size:
        byte = data[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return (value if byte or not shift else _OVERLONG), pos
        shift += 7
        if shift == 28:
            return _OVERLONG, pos
    return _INCOMPLETE, pos


def _bounds(data: bytes, pos: int) -> tuple[int, int, int]:
    """Where the body, what follows the topic, and the next packet begin."""
    remaining, body = _length(data, pos + 1, len(data))
    return body, body + 2 + (data[body] << 8 | data[body + 1]), body + remaining


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
