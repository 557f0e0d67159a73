"""The operator's little algebra of filters against the broker's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_broker.mqtt import topics
from isthmus_operator import filters

LEVELS = st.sampled_from(["a", "b", "", "+", "$SYS"])
FILTERS = st.builds(
    lambda levels, more: "/".join([*levels, *(["#"] if more else [])]),
    st.lists(LEVELS, min_size=1, max_size=4),
    st.booleans(),
).filter(bool)
TEXTS = st.text(alphabet="ab+#/$\0", max_size=8)


@given(FILTERS, FILTERS)
def test_covers_as_the_broker_does(a: str, b: str) -> None:
    assert filters.covers(a, b) == topics.covers(a.encode(), b.encode())


@given(TEXTS)
def test_finds_mistakes_as_the_broker_does(text: str) -> None:
    try:
        topics.check_filter(text.encode())
    except ValueError:
        assert filters.mistake(text)
    else:
        assert not filters.mistake(text)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], None),
        (["a", "b"], None),
        (["a/b", "a/#"], ("a/#", "a/b")),
        (["#", "a"], ("#", "a")),
        (["a/+", "+/b"], None),
        (["a", "a"], ("a", "a")),
    ],
)
def test_names_the_two_that_overlap(found: list[str], expected: tuple[str, str] | None) -> None:
    assert filters.overlap(found) == expected
