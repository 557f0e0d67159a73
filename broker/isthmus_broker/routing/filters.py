"""A table of topic filters: which of 100,000 filters match a name, in microseconds.

Filters without a wildcard are one dict entry each. Filters with wildcards are grouped by *shape*:
how many levels there are before a last `#`, whether there is that `#`, and which of the levels are
literal. Two filters of one shape differ in their literal levels only, so a shape is a dict by
those, and a name meets it with a single look-up. There are no nodes and nothing is nested: a filter
costs its key and a dict slot (150 to 250 bytes), and is set or popped in about 2 µs.

What bounds a match: one look-up (0.3 µs) for each shape that fits the name's length, closed ones
of exactly that many levels and open ones (`#`) of at most that many; those with a leading wildcard
are passed over for names that start with `$`. Real tables have tens of shapes. Somebody who wants
many has to hold one subscription for each, and deep filters; both are limited where subscriptions
are accepted, and `shapes` tells how many there are.

Whether filters are valid is left to `mqtt.topics`, what the values are to the owner of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Generic, TypeAlias, TypeVar

from isthmus_broker.mqtt.topics import is_wild

V = TypeVar("V")
_Form: TypeAlias = tuple[int, bool, tuple[int, ...]]
"""Levels before a last `#`, whether there is one, places of the literal levels."""


class _Shape(Generic[V]):
    """The filters of one form, by their literal levels."""

    __slots__ = ("entries", "form", "pick", "wild_start")

    def __init__(self, form: _Form) -> None:
        literals = form[2]
        self.form = form
        self.wild_start = 0 not in literals
        self.pick = _picker(literals)
        self.entries: dict[bytes, V] = {}


class FilterTable(Generic[V]):
    """Filters and a value for each; None is no value."""

    __slots__ = ("_closed", "_exact", "_forms", "_open")

    def __init__(self) -> None:
        self._exact: dict[bytes, V] = {}
        self._forms: dict[_Form, _Shape[V]] = {}
        # The same shapes by number of levels: without and with a last `#`.
        self._closed: dict[int, dict[_Form, _Shape[V]]] = {}
        self._open: dict[int, dict[_Form, _Shape[V]]] = {}

    def __len__(self) -> int:
        return len(self._exact) + sum(len(shape.entries) for shape in self._forms.values())

    @property
    def shapes(self) -> int:
        """How many shapes the filters with wildcards have: what a match costs depends on it."""
        return len(self._forms)

    def get(self, filter: bytes) -> V | None:
        """The value of exactly this filter."""
        if not is_wild(filter):
            return self._exact.get(filter)
        form, key = _analyse(filter)
        shape = self._forms.get(form)
        return None if shape is None else shape.entries.get(key)

    def set(self, filter: bytes, value: V) -> None:
        """Add a valid filter, or change its value."""
        if not is_wild(filter):
            self._exact[filter] = value
            return
        form, key = _analyse(filter)
        shape = self._forms.get(form)
        if shape is None:
            shape = self._forms[form] = _Shape(form)
            self._group(form).setdefault(form[0], {})[form] = shape
        shape.entries[key] = value

    def pop(self, filter: bytes) -> V | None:
        """Remove a filter; its value, or None where it is not in the table."""
        if not is_wild(filter):
            return self._exact.pop(filter, None)
        form, key = _analyse(filter)
        shape = self._forms.get(form)
        if shape is None:
            return None
        value = shape.entries.pop(key, None)
        if not shape.entries:
            self._remove(shape)
        return value

    def match(self, topic: bytes) -> list[V]:
        """The values of all filters that match the name `topic`, in no order."""
        return list(self._matches(topic))

    def matches(self, topic: bytes) -> bool:
        """Whether any filter matches the name `topic`."""
        return next(self._matches(topic), None) is not None

    def items(self) -> Iterator[tuple[bytes, V]]:
        """Every filter with its value; the table must not change meanwhile."""
        yield from self._exact.items()
        for shape in self._forms.values():
            for key, value in shape.entries.items():
                yield _filter(shape.form, key), value

    def _matches(self, topic: bytes) -> Iterator[V]:
        exact = self._exact.get(topic)
        if exact is not None:
            yield exact
        if not self._forms:
            return
        levels = topic.split(b"/")
        reserved = topic.startswith(b"$")  # [MQTT-4.7.2-1]
        for shapes in self._fitting(len(levels)):
            for shape in shapes:
                if reserved and shape.wild_start:
                    continue
                value = shape.entries.get(shape.pick(levels))
                if value is not None:
                    yield value

    def _fitting(self, levels: int) -> Iterator[Iterable[_Shape[V]]]:
        """The shapes that can match a name of so many levels."""
        if levels in self._closed:
            yield self._closed[levels].values()
        for least, shapes in self._open.items():
            if least <= levels:
                yield shapes.values()

    def _group(self, form: _Form) -> dict[int, dict[_Form, _Shape[V]]]:
        return self._open if form[1] else self._closed

    def _remove(self, shape: _Shape[V]) -> None:
        """Forget a shape that has no filters left."""
        del self._forms[shape.form]
        group, levels = self._group(shape.form), shape.form[0]
        del group[levels][shape.form]
        if not group[levels]:
            del group[levels]


def _analyse(filter: bytes) -> tuple[_Form, bytes]:
    """The form of a filter with wildcards, and its key among those of that form."""
    levels = filter.split(b"/")
    is_open = levels[-1] == b"#"
    if is_open:
        levels.pop()
    literals = tuple([place for place, level in enumerate(levels) if level != b"+"])
    return (len(levels), is_open, literals), b"/".join([levels[place] for place in literals])


def _filter(form: _Form, key: bytes) -> bytes:
    """The filter that `_analyse` took apart."""
    count, is_open, literals = form
    levels = [b"+"] * count
    for place, level in zip(literals, key.split(b"/"), strict=False):
        levels[place] = level
    return b"/".join([*levels, b"#"] if is_open else levels)


def _picker(literals: tuple[int, ...]) -> Callable[[list[bytes]], bytes]:
    """What makes the key for a shape out of a name's levels."""
    if not literals:
        return lambda _: b""
    if len(literals) == 1:
        return itemgetter(literals[0])
    chosen = itemgetter(*literals)
    return lambda levels: b"/".join(chosen(levels))
