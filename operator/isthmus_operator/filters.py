"""As much of the algebra of MQTT topic filters as judging a link's `topics` needs.

A filter is seen as the levels before a last `#`, and whether it has that `#`. The broker has its
own, larger module; the two programs share no code, and a test holds this one against that.
"""

from __future__ import annotations

from collections.abc import Sequence


def mistake(filter: str) -> str:
    """What is wrong with `filter` (MQTT 4.7.1); empty where nothing is."""
    levels = filter.split("/")
    if not filter:
        return "it is empty"
    if "\0" in filter:
        return "it has the character U+0000"
    if any(mark in level and level != mark for level in levels for mark in "+#"):
        return "+ and # must be a level of their own"
    if "#" in levels[:-1]:
        return "# must be the last level"
    return ""


def covers(a: str, b: str) -> bool:
    """Whether the filter `a` matches every name that `b` matches; both are valid."""
    if a == b:
        return True
    (outer, outer_open), (inner, inner_open) = _parse(a), _parse(b)
    # A name has at least one level, so `#` is as much as `+/#`.
    outer, inner = outer or ["+"], inner or ["+"]
    if len(outer) != len(inner) and not (outer_open and len(outer) < len(inner)):
        return False
    if inner_open and not outer_open:
        return False
    if outer[0] == "+" and inner[0].startswith("$"):
        return False  # [MQTT-4.7.2-1]
    return all(left in ("+", right) for left, right in zip(outer, inner, strict=False))


def overlap(filters: Sequence[str]) -> tuple[str, str] | None:
    """The first two of which the former covers the latter, if any are so."""
    for i, one in enumerate(filters):
        for j, other in enumerate(filters):
            if i != j and covers(one, other):
                return one, other
    return None


def _parse(filter: str) -> tuple[list[str], bool]:
    """The levels before a last `#`, and whether there is one."""
    levels = filter.split("/")
    if levels[-1] != "#":
        return levels, False
    return levels[:-1], True
