"""The table of filters against a plain dict of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus_broker.mqtt.topics import match
from isthmus_broker.routing.filters import FilterTable

WORDS = st.sampled_from([b"a", b"b", b"", b"$s"])
NAMES = st.lists(WORDS, min_size=1, max_size=4).map(b"/".join).filter(bool)


@st.composite
def filters(draw: st.DrawFn) -> bytes:
    levels = draw(st.lists(st.one_of(WORDS, st.just(b"+")), max_size=4))
    if not levels or draw(st.booleans()):
        levels.append(b"#")
    return b"/".join(levels) or b"/"


CHANGES = st.lists(st.tuples(filters(), st.one_of(st.none(), st.integers(0, 9))), max_size=25)


@given(CHANGES, st.lists(NAMES, min_size=1, max_size=10))
def test_a_table_behaves_like_a_dict_of_filters(
    changes: list[tuple[bytes, int | None]], names: list[bytes]
) -> None:
    table, model = FilterTable[int](), dict[bytes, int]()
    for filter, value in changes:
        if value is None:
            assert table.pop(filter) == model.pop(filter, None)
        else:
            table.set(filter, value)
            model[filter] = value
        assert table.get(filter) == value
    assert len(table) == len(model)
    assert dict(table.items()) == model
    for name in names:
        found = sorted(value for filter, value in model.items() if match(filter, name))
        assert sorted(table.match(name)) == found
        assert table.matches(name) == bool(found)


def test_shapes_are_counted_and_forgotten_with_their_last_filter() -> None:
    table = FilterTable[int]()
    table.set(b"plain/filter", 1)
    assert table.shapes == 0
    for filter in (b"a/+", b"b/+", b"+/a", b"a/+/#", b"#"):
        table.set(filter, 1)
    assert table.shapes == 4
    assert table.pop(b"c/+") is None
    for filter in (b"a/+", b"b/+", b"+/a", b"a/+/#", b"#"):
        assert table.pop(filter) == 1
        assert table.pop(filter) is None
    assert table.shapes == 0
    assert table.match(b"a/b") == []
    assert len(table) == 1
