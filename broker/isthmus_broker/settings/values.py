"""Types of single values: durations, sizes, rates, addresses, secrets, files, topic filters.

Each says what it expected when it is given something else; which key holds which type is in
`models`, and turning pydantic's errors into `Mistake`s is in `mistakes`.
"""

from __future__ import annotations

import ipaddress
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    SecretStr,
    SerializationInfo,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from isthmus_broker.mqtt.topics import check_filter

UNLIMITED: Final = sys.maxsize
"""What `infinity` is as a count."""
MAX_SECRET_BYTES: Final = 64 << 10
REDACTED: Final = "******"
"""What stands in place of a secret, as in EMQX's REST."""


@dataclass(slots=True)
class Context:
    """What validation needs beside the values: given as pydantic's context by `load`."""

    directory: Path = field(default_factory=Path)
    """Relative file names start here: where the configuration file is."""
    files: list[Path] = field(default_factory=list)
    """Gathers the files that the values name, so that they can be watched."""


def expected(what: str) -> PydanticCustomError:
    """Make an error that reads `"what came": expected ...`."""
    return PydanticCustomError("expected", "{what}", {"what": what})


def mistake(message: str) -> PydanticCustomError:
    """Make an error that says everything itself."""
    return PydanticCustomError("mistake", "{what}", {"what": message})


PLACEHOLDERS: Final = ("${clientid}", "${username}", "${cert_common_name}")

# --- Durations, sizes, rates --------------------------------------------------------------------

_UNITS: Final = {
    **dict.fromkeys(("ms", "milli", "millis", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("s", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?\s*[a-zA-Z]+\s*)+")
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]+)")
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmMgGtT]?)(?:i?[bB]|i)?")
_RATE: Final = re.compile(r"(.+?)\s*/\s*(\d*\s*[a-zA-Z]+)")
_FACTORS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_DURATION_HINT: Final = (
    'a duration such as "200ms", "15s", "1m", "2h" (a bare number: milliseconds)'
)
_SIZE_HINT: Final = 'a size in bytes, such as 1024, "64KB", "1MB" or "64MiB" (powers of 1024)'


def parse_duration(value: object) -> float:
    """Seconds; a bare number is milliseconds, as in EMQX. `infinity` gives `math.inf`."""
    text = str(value).strip().lower()
    if text in ("infinity", "never"):
        return math.inf
    if re.fullmatch(r"\d+", text):
        return int(text) / 1000
    parts = _DURATION_PART.findall(text)
    if not _DURATION.fullmatch(text) or any(unit not in _UNITS for _, unit in parts):
        raise expected(_DURATION_HINT)
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def parse_size(value: object) -> int:
    """Bytes; units are powers of 1024, as in EMQX, whether written KB, KiB, Ki or K."""
    found = _SIZE.fullmatch(str(value).strip())
    if not found:
        raise expected(_SIZE_HINT)
    return int(float(found[1]) * _FACTORS[found[2].lower()])


def _parse_rate(amount: Callable[[str], float], example: str) -> Callable[[object], float]:
    hint = f'a rate such as "{example}", or infinity'

    def parse(value: object) -> float:
        text = str(value).strip()
        if text.lower() == "infinity":
            return math.inf
        found = _RATE.fullmatch(text)
        try:
            number = amount(found[1] if found else text)
            unit = (found[2] if found else "1s").strip()
            seconds = parse_duration(unit if unit[0].isdigit() else f"1{unit}")
        except (ValueError, PydanticCustomError) as error:
            raise expected(hint) from error
        if not seconds or not 0 < number < math.inf:
            raise expected(hint)
        return number / seconds

    return parse


def _parse_duration_or_disabled(value: object) -> float | None:
    if str(value).strip().lower() in ("disabled", "none", "false"):
        return None
    return _positive(_finite(parse_duration(value)))


def _expiry(value: float) -> float:
    """Session Expiry Interval counts in 32 bits, the last of them stands for ever (3.1.2.11.2)."""
    return min(value, 4294967295.0)


def _finite(value: float) -> float:
    if value == math.inf:
        raise expected(f"{_DURATION_HINT}, not infinity")
    return value


def _positive(value: float) -> float:
    if value <= 0:
        raise expected("a duration above zero")
    return value


def _whole_or_infinity(value: object) -> int:
    text = str(value).strip().lower()
    if text == "infinity":
        return UNLIMITED
    if not re.fullmatch(r"[1-9]\d{0,17}", text):
        raise expected("a whole number above zero, or infinity")
    return int(text)


def _seconds_or_disabled(value: object) -> int | None:
    """Whole seconds; here a bare number is seconds, as in EMQX."""
    if re.fullmatch(r"\d+", str(value).strip()):
        value = f"{value}s"
    if str(value).strip().lower() in ("disabled", "none", "null", "false"):
        return None
    seconds = math.ceil(_finite(parse_duration(value)))
    if not 1 <= seconds <= 0xFFFF:
        raise expected('a duration of 1 s to 65535 s, or "disabled"')
    return seconds


def _dump_duration(value: float | None) -> str:
    if value is None or value == math.inf:
        return "disabled" if value is None else "infinity"
    return f"{int(value)}s" if value == int(value) else f"{round(value * 1000)}ms"


def _dump_rate(value: float) -> float | str:
    return "infinity" if value == math.inf else value


def _dump_count(value: int) -> int | str:
    return "infinity" if value == UNLIMITED else value


_TEXT = WithJsonSchema({"type": "string"})
_DUMP_DURATION = PlainSerializer(_dump_duration)
_DUMP_RATE = PlainSerializer(_dump_rate)
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    AfterValidator(_finite),
    AfterValidator(_positive),
    _DUMP_DURATION,
    _TEXT,
]
"""Seconds, above zero."""
DurationOrNever = Annotated[float, BeforeValidator(parse_duration), _DUMP_DURATION, _TEXT]
"""Seconds; zero and `math.inf` are welcome."""
DurationOrDisabled = Annotated[
    float | None, BeforeValidator(_parse_duration_or_disabled), _DUMP_DURATION, _TEXT
]
"""Seconds, above zero; None: `disabled`."""
ExpiryInterval = Annotated[
    float, BeforeValidator(parse_duration), AfterValidator(_expiry), _DUMP_DURATION, _TEXT
]
"""Seconds, within 32 bits; 4294967295 is for ever."""
Size = Annotated[int, BeforeValidator(parse_size), Field(ge=1)]
"""Bytes."""
Rate = Annotated[float, BeforeValidator(_parse_rate(float, "1000/s")), _DUMP_RATE, _TEXT]
"""A number a second; `math.inf` is no limit."""
ByteRate = Annotated[float, BeforeValidator(_parse_rate(parse_size, "10MB/s")), _DUMP_RATE, _TEXT]
"""Bytes a second; `math.inf` is no limit."""
CountOrInfinity = Annotated[
    int, BeforeValidator(_whole_or_infinity), PlainSerializer(_dump_count), _TEXT
]
"""A whole number above zero; `UNLIMITED` is no limit."""
KeepAlive = Annotated[int | None, BeforeValidator(_seconds_or_disabled), _DUMP_DURATION, _TEXT]
"""Whole seconds, 1 to 65535; None: what the client asks for."""

# --- Addresses ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bind:
    """Where a listener opens."""

    host: str
    """An address or name without brackets; 0.0.0.0 where only a port is given."""
    port: int
    """0: the system picks one."""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    @property
    def is_everywhere(self) -> bool:
        """Whether it is all interfaces."""
        return self.host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Server:
    """Where the other cluster's MQTT listener is."""

    host: str
    """An address or name without brackets; resolved at every connect."""
    port: int
    tls: bool | None = None
    """Whether `mqtts://` or `mqtt://` was said; None: neither."""

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        scheme = {None: "", True: "mqtts://", False: "mqtt://"}[self.tls]
        return scheme + self.address


_ADDRESS: Final = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.%\w]+)\]|(?P<name>[^\[\]:/\s@?]*))")
_BIND_HINT: Final = 'a port, ":port", "address:port" or "[IPv6 address]:port"'
_SERVER_HINT: Final = "host:port, mqtt://host[:port] or mqtts://host[:port]"


def is_loopback(host: str) -> bool:
    """Whether a host is this machine only, as far as its name says."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def split_address(text: str) -> tuple[str, int | None]:
    """Split `host:port`, `[::1]:port`, `host`; the port is None where there is none.

    Raises:
        ValueError: it is none of them, or the port is beyond 65535.

    """
    found = _ADDRESS.match(text)
    assert found is not None  # noqa: S101 - the pattern matches the empty string
    rest = text[found.end() :]
    host = found["six"] or found["name"] or ""
    if found["six"]:
        ipaddress.IPv6Address(host)
    if not rest:
        return host, None
    if not re.fullmatch(r":\d{1,5}", rest) or int(rest[1:]) > 0xFFFF:
        raise ValueError(text)
    return host, int(rest[1:])


def _parse_bind(value: object) -> Bind:
    if isinstance(value, Bind):
        return value
    text = str(value).strip()
    try:
        host, port = split_address(text if ":" in text else f":{text}")
    except ValueError as error:
        raise expected(_BIND_HINT) from error
    if port is None:
        raise expected(_BIND_HINT)
    return Bind(host or "0.0.0.0", port)  # noqa: S104 - the operator says so


def _parse_server(value: object) -> Server:
    if isinstance(value, Server):
        return value
    text = str(value).strip()
    scheme, slashes, address = text.rpartition("://")
    if scheme not in ("", "mqtt", "mqtts") or (slashes and not scheme):
        raise expected(_SERVER_HINT)
    try:
        host, port = split_address(address.removesuffix("/") if scheme else address)
    except ValueError as error:
        raise expected(_SERVER_HINT) from error
    if not host or port == 0 or (port is None and not scheme):
        raise expected(_SERVER_HINT)
    tls = {"": None, "mqtt": False, "mqtts": True}[scheme]
    return Server(host, port or (8883 if tls else 1883), tls)


BindAddress = Annotated[Bind, BeforeValidator(_parse_bind), PlainSerializer(str), _TEXT]
ServerAddress = Annotated[Server, BeforeValidator(_parse_server), PlainSerializer(str), _TEXT]

# --- Secrets and files --------------------------------------------------------------------------


def _context(info: ValidationInfo) -> Context:
    return info.context if isinstance(info.context, Context) else Context()


def _resolve_file(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, (str, Path)) or not str(value):
        raise expected("the name of a file")
    context = _context(info)
    path = context.directory / Path(str(value).removeprefix("file://"))
    if path not in context.files:
        context.files.append(path)
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise mistake(f'"{path}" can\'t be read: {error.strerror}') from error


def _read_secret(value: object, info: ValidationInfo) -> object:
    """`file://` names a file that holds the secret; a line break at its end is not part of it."""
    if not isinstance(value, str) or not value.startswith("file://"):
        return value
    path = _resolve_file(value, info)
    raw = path.read_bytes()
    if len(raw) > MAX_SECRET_BYTES:
        raise mistake(f'"{path}" is larger than {MAX_SECRET_BYTES} bytes')
    try:
        return raw.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise mistake(f'"{path}" is not UTF-8') from error


def _dump_secret(value: SecretStr, info: SerializationInfo) -> str:
    shown = isinstance(info.context, dict) and info.context.get("secrets")
    return value.get_secret_value() if shown else REDACTED


def _resolve_place(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, (str, Path)) or not str(value):
        raise expected("the name of a file or directory")
    return _context(info).directory / value


Place = Annotated[Path, BeforeValidator(_resolve_place)]
"""A file or directory that need not exist yet, relative to the configuration file."""
FileName = Annotated[Path, BeforeValidator(_resolve_file)]
"""A file that exists, relative to the configuration file."""
Secret = Annotated[SecretStr, BeforeValidator(_read_secret), PlainSerializer(_dump_secret), _TEXT]
"""Shown as stars everywhere; `file://` reads it from a file."""

# --- Names and filters --------------------------------------------------------------------------


def _check_cluster_name(name: str) -> str:
    if not re.fullmatch(r"[^\s/+#$\x00-\x1f\x7f](?:[^\s/+#\x00-\x1f\x7f]{0,254})", name):
        raise expected("a name of 1 to 255 characters without spaces, /, + and #")
    return name


def _check_filter(text: str) -> str:
    try:
        check_filter(text.encode())
    except UnicodeEncodeError as error:
        raise mistake("not a topic filter: not UTF-8") from error
    except ValueError as error:
        raise mistake(str(error)) from error
    return text


def _check_rule_topic(text: str) -> str:
    for placeholder in PLACEHOLDERS:
        text = text.replace(placeholder, "x")
    if "${" in text:
        raise expected("no placeholder but " + ", ".join(PLACEHOLDERS))
    return _check_filter(text.removeprefix("eq "))


def _keep(check: Callable[[str], object]) -> Callable[[str], str]:
    def checked(text: str) -> str:
        check(text)
        return text

    return checked


def _check_network(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise expected('an address or a network such as "10.0.0.0/8"') from error
    return text


Network = Annotated[str, AfterValidator(_check_network)]
RuleTopic = Annotated[str, AfterValidator(_keep(_check_rule_topic))]
"""A topic filter with placeholders, perhaps after `eq `."""
ClusterName = Annotated[str, AfterValidator(_check_cluster_name)]
Filter = Annotated[str, AfterValidator(_check_filter)]
"""A valid topic filter."""
