"""Topic names and topic filters: validity, matching, and the algebra that links need.

All of it works on `bytes`, UTF-8 that was checked where it came in (`mqtt.wire`, `settings`); that
is sound because `/`, `+`, `#` and `$` are single bytes in UTF-8. A filter is seen as the levels
before a last `#`, and whether it has that `#`: `a/+/#` is (a, +) and more. `match`, `intersect`,
`covers` and `reduce` take valid filters and names; they never raise.

Tables of many filters are left to `routing.filters`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

MAX_LENGTH: Final = 65_535
"""Bytes of a UTF-8 string (1.5.4), so of a name or a filter [MQTT-4.7.3-3]."""
MAX_LEVELS: Final = 128
"""Not the specification's: keeps what one name or filter can cost small."""
QUEUE: Final = b"$queue"
"""The group of `$queue/FILTER`, an older way to write a shared subscription."""

_SHARE: Final = b"$share/"
_SHOWN: Final = 80


def check_name(topic: bytes, max_levels: int = MAX_LEVELS) -> None:
    """Raise `ValueError`, saying what is wrong, unless `topic` can be published to (4.7)."""
    wrong = _wrong_text(topic, max_levels)
    if not wrong and is_wild(topic):
        wrong = "it has a wildcard, + or #"  # [MQTT-3.3.2-2]
    if wrong:
        raise ValueError(f"{_quoted(topic)} is not a topic name: {wrong}")


def check_filter(filter: bytes, max_levels: int = MAX_LEVELS) -> None:
    """Raise `ValueError`, saying what is wrong, unless `filter` can be subscribed to (4.7).

    Of a shared subscription, this is for what `split_shared` leaves.
    """
    wrong = _wrong_text(filter, max_levels)
    if not wrong and is_wild(filter):
        wrong = _wrong_wildcard(filter.split(b"/"))
    if wrong:
        raise ValueError(f"{_quoted(filter)} is not a topic filter: {wrong}")


def split_shared(filter: bytes) -> tuple[bytes | None, bytes]:
    """The group and the filter of `$share/GROUP/FILTER` or `$queue/FILTER`; else None and `filter`.

    Raises `ValueError` where the group is no valid one or no filter follows [MQTT-4.8.2-1]
    [MQTT-4.8.2-2]. The filter that follows is for `check_filter`.
    """
    if filter.startswith(_SHARE):
        group, slash, rest = filter[len(_SHARE) :].partition(b"/")
        if not group:
            wrong = "the group's name is empty"
        elif is_wild(group):
            wrong = "the group's name has + or #"
        elif not slash or not rest:
            wrong = "no filter follows the group's name"
        else:
            return group, rest
    elif filter.startswith(QUEUE + b"/"):
        rest = filter[len(QUEUE) + 1 :]
        if rest:
            return QUEUE, rest
        wrong = "no filter follows $queue"
    else:
        return None, filter
    raise ValueError(f"{_quoted(filter)} is not a shared subscription: {wrong}")


def is_wild(filter: bytes) -> bool:
    """Whether `filter` has a wildcard."""
    return b"+" in filter or b"#" in filter


def match(filter: bytes, topic: bytes) -> bool:
    """Whether `filter` matches the name `topic` (4.7.1): `a/#` matches `a` too."""
    if not is_wild(filter):
        return filter == topic
    if topic[:1] == b"$" and filter[:1] in b"+#":
        return False  # [MQTT-4.7.2-1]
    wanted, is_open = _parse(filter)
    levels = topic.split(b"/")
    if len(levels) != len(wanted) and not (is_open and len(levels) > len(wanted)):
        return False
    for want, level in zip(wanted, levels, strict=False):
        if want != level and want != b"+":
            return False
    return True


def intersect(a: bytes, b: bytes) -> bytes | None:
    """The filter that matches exactly the names that both `a` and `b` match; None where none does.

    There always is a single one: level by level a literal beats `+`, and the levels that only one
    of them has stay where the other ends in `#`. The order of the two makes no difference. What
    could only match the empty name, or names longer than `MAX_LENGTH`, is None too.
    """
    if a == b:
        return a
    (one, one_open), (other, other_open) = _parse(a), _parse(b)
    missing = len(other) - len(one)
    if missing > 0 and one_open:
        one += [b"+"] * missing
    elif missing < 0 and other_open:
        other += [b"+"] * -missing
    elif missing:
        return None
    levels = []
    for left, right in zip(one, other, strict=True):
        if left != right and left != b"+" and right != b"+":
            return None
        levels.append(right if left == b"+" else left)
    if levels[0].startswith(b"$") and one[0] != other[0]:
        return None  # [MQTT-4.7.2-1]
    if one_open and other_open:
        levels.append(b"#")
    found = b"/".join(levels)
    return found if 0 < len(found) <= MAX_LENGTH else None  # `+` and `/#`: the empty name only


def covers(a: bytes, b: bytes) -> bool:
    """Whether `a` matches every name that `b` matches."""
    if a == b:
        return True
    (outer, outer_open), (inner, inner_open) = _parse(a), _parse(b)
    # A name has at least one level, so `#` is as much as `+/#`.
    outer, inner = outer or [b"+"], inner or [b"+"]
    if len(outer) != len(inner) and not (outer_open and len(outer) < len(inner)):
        return False
    if inner_open and not outer_open:
        return False
    if outer[0] == b"+" and inner[0].startswith(b"$"):
        return False  # [MQTT-4.7.2-1]
    return all(left in (b"+", right) for left, right in zip(outer, inner, strict=False))


def reduce(filters: Iterable[bytes]) -> list[bytes]:
    """`filters` without those that another one covers, in their order.

    Of two that match the same, the first stays. Quadratic: for the few filters of a link or of one
    subscription's routes.
    """
    kept: list[bytes] = []
    for candidate in filters:
        if not any(covers(known, candidate) for known in kept):
            kept = [known for known in kept if not covers(candidate, known)]
            kept.append(candidate)
    return kept


def _parse(filter: bytes) -> tuple[list[bytes], bool]:
    """The levels before a last `#`, and whether there is one."""
    levels = filter.split(b"/")
    if levels[-1] != b"#":
        return levels, False
    levels.pop()
    return levels, True


def _wrong_text(text: bytes, max_levels: int) -> str:
    """What is wrong with `text` as a name or a filter, wildcards aside; empty where nothing is."""
    if not text:
        return "it is empty"  # [MQTT-4.7.3-1]
    if len(text) > MAX_LENGTH:
        return f"it has {len(text):,} bytes, more than {MAX_LENGTH:,}"
    if b"\0" in text:
        return "it has the character U+0000"  # [MQTT-4.7.3-2]
    levels = text.count(b"/") + 1
    if levels > max_levels:
        return f"it has {levels:,} levels, more than {max_levels:,}"
    return ""


def _wrong_wildcard(levels: list[bytes]) -> str:
    """What is wrong with the wildcards of a filter [MQTT-4.7.1-1] [MQTT-4.7.1-2]."""
    for level in levels:
        for wildcard in (b"#", b"+"):
            if wildcard in level and level != wildcard:
                return f"{wildcard.decode()} must be a level of its own"
    if b"#" in levels[:-1]:
        return "# must be the last level"
    return ""


def _quoted(text: bytes) -> str:
    """`text` for an error message: short, and nothing in it that a terminal would act on."""
    shown = text[:_SHOWN].decode("utf-8", "replace")
    shown = "".join(c if c.isprintable() else "\ufffd" for c in shown)
    return f'"{shown}{"…" if len(text) > _SHOWN else ""}"'
