"""Topic names and filters: what is valid, and the algebra against brute force."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_broker.mqtt import topics

# Names of up to four levels: enough that filters of up to three are told apart, with a level that
# no filter has as a literal ("z"), an empty one and ones that start with $.
LEVELS = (b"a", b"b", b"", b"$a", b"z")
NAMES = [b"/".join(levels) for depth in range(1, 5) for levels in product(LEVELS, repeat=depth)]
NAMES = [name for name in NAMES if name]


@st.composite
def filters(draw: st.DrawFn) -> bytes:
    levels = draw(st.lists(st.sampled_from([b"a", b"b", b"", b"$a", b"+"]), max_size=3))
    if not levels or draw(st.booleans()):
        levels.append(b"#")
    return b"/".join(levels) or b"a"


def reference(filter: bytes, name: bytes) -> bool:
    """4.7.1 and [MQTT-4.7.2-1], word for word and level by level."""
    wanted, levels = filter.split(b"/"), name.split(b"/")
    if levels[0].startswith(b"$") and wanted[0] in (b"+", b"#"):
        return False
    while True:
        if wanted == [b"#"]:
            return True
        if not wanted or not levels:
            return wanted == levels
        if wanted[0] not in (b"+", levels[0]):
            return False
        wanted, levels = wanted[1:], levels[1:]


def matched(filter: bytes | None) -> set[bytes]:
    return {name for name in NAMES if filter is not None and topics.match(filter, name)}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        (b"", "it is empty"),
        (b"a" * 65_536, "it has 65,536 bytes, more than 65,535"),
        (b"a\0b", "it has the character U+0000"),
        (b"/" * 128, "it has 129 levels, more than 128"),
        (b"a/+", "it has a wildcard, + or #"),
        (b"#", "it has a wildcard, + or #"),
    ],
)
def test_names_that_cannot_be_published_to(name: bytes, wrong: str) -> None:
    with pytest.raises(ValueError, match="is not a topic name") as caught:
        topics.check_name(name)
    assert str(caught.value).endswith(": " + wrong)


@pytest.mark.parametrize("name", [b"a", b"/", b"a//b", b"$SYS/x", b"a" * 65_535, b"/" * 127, b" "])
def test_valid_names_are_valid_filters(name: bytes) -> None:
    topics.check_name(name)
    topics.check_filter(name)


@pytest.mark.parametrize("name", [b"#", b"+", b"/+", b"+/+/#", b"a/+/b", b"$SYS/#", b"a/#"])
def test_valid_wildcards(name: bytes) -> None:
    topics.check_filter(name)


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        (b"a/#/b", '"a/#/b" is not a topic filter: # must be the last level'),
        (b"#/#", '"#/#" is not a topic filter: # must be the last level'),
        (b"a#", '"a#" is not a topic filter: # must be a level of its own'),
        (b"a/+b/c", '"a/+b/c" is not a topic filter: + must be a level of its own'),
        (b"", '"" is not a topic filter: it is empty'),
        (b"\x1b[2J#", '"\ufffd[2J#" is not a topic filter: # must be a level of its own'),
        (
            b"x" * 200 + b"+",
            f'"{"x" * 80}…" is not a topic filter: + must be a level of its own',
        ),
    ],
)
def test_filters_that_cannot_be_subscribed_to(filter: bytes, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        topics.check_filter(filter)
    assert str(caught.value) == message


def test_the_number_of_levels_is_the_callers_choice() -> None:
    topics.check_filter(b"a/b/+", max_levels=3)
    with pytest.raises(ValueError, match="3 levels, more than 2"):
        topics.check_filter(b"a/b/+", max_levels=2)


@pytest.mark.parametrize(
    ("filter", "split"),
    [
        (b"a/b", (None, b"a/b")),
        (b"$share/g/a/+", (b"g", b"a/+")),
        (b"$share/g//a", (b"g", b"/a")),
        (b"$queue/a/#", (b"$queue", b"a/#")),
        (b"$share", (None, b"$share")),
        (b"$shared/g/a", (None, b"$shared/g/a")),
        (b"$queue", (None, b"$queue")),
    ],
)
def test_shared_subscriptions_are_taken_apart(
    filter: bytes, split: tuple[bytes | None, bytes]
) -> None:
    assert topics.split_shared(filter) == split


@pytest.mark.parametrize(
    ("filter", "wrong"),
    [
        (b"$share//a", "the group's name is empty"),
        (b"$share/", "the group's name is empty"),
        (b"$share/g+/a", "the group's name has + or #"),
        (b"$share/#/a", "the group's name has + or #"),
        (b"$share/g", "no filter follows the group's name"),
        (b"$share/g/", "no filter follows the group's name"),
        (b"$queue/", "no filter follows $queue"),
    ],
)
def test_invalid_shared_subscriptions(filter: bytes, wrong: str) -> None:  # [MQTT-4.8.2-1] and -2
    with pytest.raises(ValueError, match="is not a shared subscription") as caught:
        topics.split_shared(filter)
    assert str(caught.value).endswith(": " + wrong)


@given(filters())
def test_match_follows_the_specification(filter: bytes) -> None:
    topics.check_filter(filter)
    assert matched(filter) == {name for name in NAMES if reference(filter, name)}


@pytest.mark.parametrize(
    ("a", "b", "common"),
    [
        (b"t/global/#", b"t/+/1/+", b"t/global/1/+"),
        (b"a/#", b"+", b"a"),
        (b"a/#", b"a", b"a"),
        (b"a/#", b"a/+/#", b"a/+/#"),
        (b"a/+/#", b"a", None),
        (b"#", b"+/#", b"+/#"),
        (b"#", b"#", b"#"),
        (b"/#", b"+", None),
        (b"#", b"$SYS/x", None),
        (b"+/x", b"$SYS/x", None),
        (b"+/#", b"$SYS/#", None),
        (b"$SYS/#", b"$SYS/+/x", b"$SYS/+/x"),
        (b"a/b", b"a/c", None),
        (b"a/+", b"a/b/c", None),
        (b"a" * 40_000 + b"/+", b"+/" + b"b" * 40_000, None),
    ],
)
def test_what_two_filters_have_in_common(a: bytes, b: bytes, common: bytes | None) -> None:
    assert topics.intersect(a, b) == common
    assert topics.intersect(b, a) == common


@given(filters(), filters())
def test_an_intersection_matches_what_both_match(a: bytes, b: bytes) -> None:
    common = topics.intersect(a, b)
    assert common == topics.intersect(b, a)
    assert matched(common) == matched(a) & matched(b)
    if common is not None:
        topics.check_filter(common)
        assert matched(common)


@given(filters(), filters())
def test_covering_is_being_a_superset(a: bytes, b: bytes) -> None:
    assert topics.covers(a, b) == (matched(a) >= matched(b))


@given(st.lists(filters(), max_size=6))
def test_reduced_filters_match_the_same_in_the_same_order(given_filters: list[bytes]) -> None:
    kept = topics.reduce(given_filters)
    everything = set().union(*map(matched, given_filters))
    assert set().union(*map(matched, kept)) == everything
    places = [given_filters.index(filter) for filter in kept]
    assert places == sorted(set(places))
    assert not any(topics.covers(a, b) for a in kept for b in kept if a != b)
    assert topics.reduce(kept) == kept


def test_of_filters_that_match_the_same_the_first_stays() -> None:
    assert topics.reduce([b"#", b"a/+", b"+/#", b"a/+"]) == [b"#"]
    assert topics.reduce([b"a/b", b"c", b"a/+"]) == [b"c", b"a/+"]
