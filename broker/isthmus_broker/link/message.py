"""One forwarded message as an Erlang term: the tuple that EMQX calls `message`.

    {message, Id, QoS, From, Flags, Headers, Topic, Payload, Timestamp, Extra}

Messages of one publisher differ in a few places only, so both directions have a short way beside
the general one: `encode_run` splices what differs into bytes made once, and `Decoder` recognises
the bytes that it has seen from the same publisher. Whether a topic is valid and wanted is left to
`ingress` and the router.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from isthmus_broker.errors import UndecodablePayload
from isthmus_broker.link.etf import Atom, Term, decode, encode_part
from isthmus_broker.mqtt.properties import (
    Properties,
    Property,
    PropertyValue,
    decode_pass_through,
    encode_pass_through,
)
from isthmus_broker.mqtt.publish import Message
from isthmus_broker.mqtt.wire import varint

# {message, <<Id:16/binary>>, ... : what every message of ours and of EMQX begins with.
_HEAD: Final = b"\x83h\x0aw\x07messagem\x00\x00\x00\x10"
_ID_END: Final = len(_HEAD) + 16
_EXTRA: Final = b"t\x00\x00\x00\x00"
_TAIL_SIZE: Final = 9 + len(_EXTRA)  # n, 6, sign, 6 bytes of milliseconds; an empty map
_BINARY: Final = 109  # BINARY_EXT
_SMALL_BIG: Final = 110  # SMALL_BIG_EXT
_REMEMBERED: Final = 4096

_FALSE: Final = Atom("false")
_TRUE: Final = Atom("true")
_PROPERTIES: Final = Atom("properties")
_USERNAME: Final = Atom("username")
_RETAIN: Final = Atom("retain")
_EXPIRY: Final = Atom("Message-Expiry-Interval")
_NAMES: Final = {
    Atom("Payload-Format-Indicator"): Property.PAYLOAD_FORMAT_INDICATOR,
    Atom("Content-Type"): Property.CONTENT_TYPE,
    Atom("Response-Topic"): Property.RESPONSE_TOPIC,
    Atom("Correlation-Data"): Property.CORRELATION_DATA,
    Atom("User-Property"): Property.USER_PROPERTY,
}
_ATOMS: Final = {name: atom for atom, name in _NAMES.items()}


@dataclass(frozen=True, slots=True)
class About:
    """What a message says beside its topic and payload.

    Messages of one publisher mostly share one: compare by identity to find runs.
    """

    qos: int
    retain: bool
    publisher: str
    """Client id, or the name of the part of the cluster that published it."""
    username: str | None
    properties: bytes
    """As in `Message.properties`."""
    expiry: int | None
    """Message Expiry Interval: seconds from `timestamp` on."""
    timestamp: int
    """When it was published: milliseconds since the epoch, by the sender's clock."""
    id: bytes

    @property
    def is_plain(self) -> bool:
        """Whether it is of QoS 0 and needs no look at each message."""
        return not (self.qos or self.retain or self.properties or self.expiry is not None)


class MessageIds:
    """Ids for our messages: 8 bytes of this process, 8 that count."""

    __slots__ = ("next", "prefix")

    def __init__(self, prefix: bytes) -> None:
        if len(prefix) != 8:
            raise ValueError(f"a prefix of {len(prefix)} bytes: expected 8")
        self.prefix = prefix
        self.next = 0

    def take(self) -> bytes:
        """Return a fresh id."""
        self.next += 1
        return self.prefix + self.next.to_bytes(8, "big")


def encode_message(message: Message, id: bytes, now: float, timestamp: int) -> bytes:
    """The payload that carries `message`; `timestamp` is `now` in milliseconds since the epoch."""
    left = None if message.expires_at is None else max(1, round(message.expires_at - now))
    middle = _middle(
        message.qos,
        message.publisher,
        message.retain,
        _headers(message.username, message.properties, left),
        message.topic,
    )
    size = len(message.payload).to_bytes(4, "big")
    return b"".join((_HEAD, id, middle, b"m", size, message.payload, _tail(timestamp)))


def encode_run(
    link_topic: bytes,
    topic: bytes,
    payloads: Iterable[bytes],
    publisher: str,
    username: str | None,
    ids: MessageIds,
    timestamp: int,
) -> bytes:
    """PUBLISH packets of QoS 0 to `link_topic`, one for each of `payloads`, back to back."""
    name = len(link_topic).to_bytes(2, "big") + link_topic + b"\x00"
    middle = _middle(0, publisher, False, _headers(username, b"", None), topic) + b"m"
    tail = _tail(timestamp)
    fixed = len(name) + _ID_END + len(middle) + 4 + len(tail)
    start = name + _HEAD + ids.prefix
    number = ids.next
    parts: list[bytes] = []
    last = -1
    before = after = b""
    for payload in payloads:
        size = len(payload)
        if size != last:
            last = size
            before = b"\x30" + varint(fixed + size) + start
            after = middle + size.to_bytes(4, "big")
        number += 1
        parts += (before, number.to_bytes(8, "big"), after, payload, tail)
    ids.next = number
    return b"".join(parts)


def _middle(qos: int, publisher: str, retain: bool, headers: bytes, topic: bytes) -> bytes:
    """From the QoS to the topic."""
    flags = {Atom("dup"): _FALSE, _RETAIN: _TRUE if retain else _FALSE}
    return b"".join(
        (
            encode_part(qos),
            encode_part(publisher.encode(errors="replace")),
            encode_part(flags),
            headers,
            encode_part(topic),
        )
    )


def _headers(username: str | None, properties: bytes, expiry: int | None) -> bytes:
    headers: dict[Atom, Term] = {}
    if username is not None:
        headers[_USERNAME] = username.encode()
    found: dict[Atom, Term] = {
        _ATOMS[name]: _to_term(value) for name, value in decode_pass_through(properties).items()
    }
    if expiry is not None:
        found[_EXPIRY] = expiry
    if found:
        headers[_PROPERTIES] = found
    return encode_part(headers)


def _to_term(value: PropertyValue) -> Term:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, list):
        return [(str(k).encode(), str(v).encode()) for k, v in value]  # type: ignore[misc]
    return value


def _tail(timestamp: int) -> bytes:
    return b"n\x06\x00" + timestamp.to_bytes(6, "little") + _EXTRA


class Decoder:
    """Decodes messages; remembers what the messages of one publisher have in common."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[bytes, About]] = {}

    def decode(self, data: bytes) -> tuple[bytes, bytes, About]:
        """Topic, payload and the rest of one message.

        Of a message that is recognised, `id` and `timestamp` are those of an earlier one: nothing
        hangs on them where there is no expiry and not QoS 2.

        Raises:
            UndecodablePayload: it is none; the text says what was expected.
        """
        # Truncated bytes run into the comparisons below, and fail in the general way.
        end = _ID_END + 7 + int.from_bytes(data[_ID_END + 3 : _ID_END + 7], "big")
        known = self._known.get(data[_ID_END:end])
        if known is not None:
            common, about = known
            if data.startswith(common, end) and data.startswith(_HEAD):
                name = end + len(common)
                body = name + 5 + int.from_bytes(data[name + 1 : name + 5], "big")
                tail = body + 5 + int.from_bytes(data[body + 1 : body + 5], "big")
                if (
                    tail + _TAIL_SIZE == len(data)
                    and data[name] == _BINARY == data[body]
                    and data[tail] == _SMALL_BIG
                    and data.endswith(_EXTRA)
                ):
                    return data[name + 5 : body], data[body + 5 : tail], about
        topic, payload, about = decode_message(data)
        if about.qos < 2 and about.expiry is None:
            self._learn(data, end, topic, payload, about)
        return topic, payload, about

    def _learn(self, data: bytes, end: int, topic: bytes, payload: bytes, about: About) -> None:
        """Remember the flags and headers, if the message is laid out as usual."""
        name = len(data) - _TAIL_SIZE - len(payload) - 5 - len(topic) - 5
        if not data.startswith(_HEAD) or not end <= name:
            return
        if data[name : name + 5] != b"m" + len(topic).to_bytes(4, "big"):
            return
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[data[_ID_END:end]] = data[end:name], about


def decode_message(data: bytes) -> tuple[bytes, bytes, About]:
    """Topic, payload and the rest of one message; raises as `Decoder.decode`."""
    match decode(data):
        case (
            Atom("message"),
            bytes(id),
            (0 | 1 | 2) as qos,
            bytes() | Atom() as publisher,
            dict(flags),
            dict(headers),
            bytes(topic),
            bytes() | list() as payload,
            int(timestamp),
            _,
        ):
            properties, expiry = _properties(headers.get(_PROPERTIES))
            about = About(
                qos=qos,
                retain=flags.get(_RETAIN) == _TRUE,
                publisher=_text(publisher),
                username=_username(headers.get(_USERNAME)),
                properties=properties,
                expiry=expiry,
                timestamp=timestamp,
                id=id,
            )
            return topic, _flatten(payload), about
    raise UndecodablePayload("expected a message: a tuple of ten with the fields of EMQX's")


def _properties(term: Term) -> tuple[bytes, int | None]:
    """Encoded as in `Message.properties`, and the Message Expiry Interval."""
    if not isinstance(term, dict) or not term:
        return b"", None
    found: Properties = {}
    for atom, value in term.items():
        name = _NAMES.get(atom)
        if name is not None:
            found[name] = _from_term(atom, name, value)
    expiry = term.get(_EXPIRY)
    if expiry is not None and (not isinstance(expiry, int) or not 0 <= expiry < 1 << 32):
        raise UndecodablePayload("Message-Expiry-Interval: expected a number of seconds")
    return encode_pass_through(found), expiry


def _from_term(atom: Atom, name: Property, value: Term) -> PropertyValue:
    """The value of one property; a wrong one would end the connections of our subscribers."""
    if name is Property.PAYLOAD_FORMAT_INDICATOR and value in (0, 1):
        return int(value)
    if name is Property.CORRELATION_DATA and isinstance(value, bytes) and len(value) < 1 << 16:
        return value
    if name is Property.USER_PROPERTY and isinstance(value, list):
        pairs: list[tuple[str, str]] = []
        for pair in value:
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise UndecodablePayload("User-Property: expected pairs")
            pairs.append((_string(atom, pair[0]), _string(atom, pair[1])))
        return pairs
    if name in (Property.CONTENT_TYPE, Property.RESPONSE_TOPIC):
        text = _string(atom, value)
        if name is not Property.RESPONSE_TOPIC or (text and not set(text) & {"+", "#"}):
            return text
    raise UndecodablePayload(f"{atom}: a value that it can't have")


def _string(atom: Atom, value: Term) -> str:
    """A UTF-8 string as MQTT allows it (1.5.4)."""
    if isinstance(value, bytes) and len(value) < 1 << 16 and b"\x00" not in value:
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass
    raise UndecodablePayload(f"{atom}: expected a UTF-8 string of at most 65535 bytes")


def _username(term: Term) -> str | None:
    return term.decode(errors="replace") if isinstance(term, bytes) else None


def _text(term: bytes | Atom) -> str:
    return str(term) if isinstance(term, Atom) else term.decode(errors="replace")


def _flatten(payload: bytes | Sequence[Term]) -> bytes:
    """An iolist as one binary."""
    if isinstance(payload, bytes):
        return payload
    out: list[bytes] = []
    for item in payload:
        if isinstance(item, int) and 0 <= item <= 255:
            out.append(bytes((item,)))
        elif isinstance(item, bytes | list):
            out.append(_flatten(item))
        else:
            raise UndecodablePayload("the payload: expected a binary or a list of bytes")
    return b"".join(out)
