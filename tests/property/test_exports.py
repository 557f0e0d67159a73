"""What is asked of another cluster is what local subscribers want of the link's topics: no less,
no more, and told in operations that add up.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus_broker.link.exports import Exports, PendingOps, route_id
from isthmus_broker.link.routes import RouteOp
from isthmus_broker.mqtt import topics

LEVELS = st.sampled_from([b"a", b"b", b"", b"$a", b"$SYS", b"$LINK", b"+"])
FILTERS = st.builds(
    lambda levels, more: b"/".join([*levels, b"#"] if more or not any(levels) else levels),
    st.lists(LEVELS, min_size=1, max_size=3),
    st.booleans(),
)
NAMES = st.lists(
    st.sampled_from([b"a", b"b", b"", b"$a", b"$SYS", b"$LINK", b"z"]), min_size=1, max_size=4
).map(b"/".join)
GROUPS = st.sampled_from([None, None, b"g"])
Steps = list[tuple[bytes, bytes | None, bool]]
STEPS = st.lists(st.tuples(FILTERS, GROUPS, st.booleans()), max_size=12)
NEVER = {b"$SYS", b"$LINK"}


def carried_out(
    exports: Exports, steps: Steps
) -> tuple[set[tuple[bytes, bytes | None]], list[RouteOp]]:
    """Subscriptions that come and go, the first and the last of each filter."""
    present: set[tuple[bytes, bytes | None]] = set()
    ops: list[RouteOp] = []
    for filter, group, comes in steps:
        if comes and (filter, group) not in present:
            present.add((filter, group))
            ops += exports.subscribed(filter, group)
        elif not comes and (filter, group) in present:
            present.discard((filter, group))
            ops += exports.unsubscribed(filter, group)
    return present, ops


@given(st.lists(FILTERS, max_size=4), STEPS, st.lists(NAMES, max_size=8))
def test_a_route_matches_what_a_subscription_and_the_links_topics_do(
    wanted: list[bytes], steps: Steps, names: list[bytes]
) -> None:
    exports = Exports(wanted)
    present, _ = carried_out(exports, steps)
    for name in names:
        asked_for = any(
            topics.match(filter, name) and any(topics.match(topic, name) for topic in wanted)
            for filter, _ in present
        )
        announced = any(topics.match(op.filter, name) for op in exports)
        if name and name.split(b"/")[0] not in NEVER:
            assert announced == asked_for, name


@given(st.lists(FILTERS, max_size=4), STEPS)
def test_operations_add_up_to_what_there_is(wanted: list[bytes], steps: Steps) -> None:
    exports = Exports(wanted)
    present, ops = carried_out(exports, steps)
    held: set[tuple[bytes, bytes]] = set()
    for op in ops:
        if op.delete:
            held.remove((op.filter, op.id))
        else:
            assert (op.filter, op.id) not in held
            held.add((op.filter, op.id))
    assert held == {(op.filter, op.id) for op in exports}
    assert len(exports) == len(held)
    assert {id for _, id in held} <= {route_id(filter, group) for filter, group in present}


@given(st.lists(FILTERS, max_size=6), FILTERS)
def test_no_route_of_one_subscription_covers_another(wanted: list[bytes], filter: bytes) -> None:
    routes = [op.filter for op in Exports(wanted).subscribed(filter, None)]
    for one in routes:
        assert not any(topics.covers(other, one) for other in routes if other is not one)
        assert not one.startswith((b"$SYS/", b"$LINK/"))


def test_the_recorded_intersections() -> None:
    """`#` with two topics gives a route for each; a shared subscription has its group in the id."""
    exports = Exports([b"tn/+/data", b"linked/#"])
    assert exports.subscribed(b"#", None) == [
        RouteOp(b"tn/+/data", b"#"),
        RouteOp(b"linked/#", b"#"),
    ]
    assert exports.subscribed(b"linked/sh/+", b"g1") == [
        RouteOp(b"linked/sh/+", b"$s/g1/linked/sh/+")
    ]
    assert exports.subscribed(b"linked/x", b"$queue") == [
        RouteOp(b"linked/x", b"$s/$queue/linked/x")
    ]
    assert exports.subscribed(b"elsewhere", None) == []
    assert Exports([]).subscribed(b"#", None) == []


OPS = st.builds(
    RouteOp, st.sampled_from([b"a", b"b", b"c"]), st.sampled_from([b"1", b"2"]), st.booleans()
)


@given(
    st.lists(st.one_of(st.lists(OPS, max_size=4), st.sampled_from(["take", "lose", "confirm"]))),
    st.integers(1, 3),
)
def test_pending_operations_end_in_the_latest_however_batches_fare(
    steps: list[list[RouteOp] | str], most: int
) -> None:
    """Whoever takes the batches in their order, lost answers included, ends where we are."""
    pending, latest = PendingOps(), {}
    there: dict[tuple[bytes, bytes], bool] = {}
    flight = False

    def deliver() -> bool:
        batch = pending.take(most)
        assert len(batch) <= most
        assert len({(op.filter, op.id) for op in batch}) == len(batch)
        there.update({(op.filter, op.id): op.delete for op in batch})
        return bool(batch)

    for step in steps:
        if isinstance(step, list):
            pending.add(step)
            latest.update({(op.filter, op.id): op.delete for op in step})
        elif step == "take" and not flight:
            flight = deliver()
        elif step == "lose":
            pending.retry()
            flight = False
        elif step == "confirm":
            pending.confirm()
            flight = False
    pending.retry()
    while deliver():
        pending.confirm()
    assert there == latest
    assert len(pending) == 0
