"""Routes of other clusters against a model: actors, incarnations, time to live, idempotence."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from isthmus_broker.link.imports import ACTOR_TTL, Imports, StaleIncarnation, UnknownActor
from isthmus_broker.link.routes import RouteOp
from isthmus_broker.mqtt import topics

CLUSTERS = ("eu", "asia")
ACTORS = (b"node", b"ps-routes-v1")
FILTERS = (b"a", b"a/b", b"+/b", b"#", b"$a/+")
NAMES = (b"a", b"a/b", b"c/b", b"c", b"$a/b", b"$SYS/a", b"$LINK/a")
OPS = st.builds(
    RouteOp, st.sampled_from(FILTERS), st.sampled_from([b"1", b"2"]), delete=st.booleans()
)
BATCHES = st.lists(OPS, max_size=6)
Held = set[tuple[bytes, bytes]]


class Known:
    """What the model has of one actor."""

    def __init__(self, incarnation: int, now: float) -> None:
        self.incarnation = incarnation
        self.seen = now
        self.held: Held = set()


class ImportsMachine(RuleBasedStateMachine):
    """Does to `Imports` and to the model whatever comes to mind."""

    def __init__(self) -> None:
        super().__init__()
        self.imports = Imports()
        self.now = 0.0
        self.model: dict[str, dict[bytes, Known]] = {name: {} for name in CLUSTERS}

    def filters(self) -> set[tuple[str, bytes]]:
        return {
            (cluster, filter)
            for cluster, actors in self.model.items()
            for known in actors.values()
            for filter, _ in known.held
        }

    @rule(seconds=st.sampled_from([1.0, 9.0, ACTOR_TTL - 1]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        before = self.filters()
        late = [
            (cluster, name)
            for cluster, actors in self.model.items()
            for name, known in actors.items()
            if self.now - known.seen >= ACTOR_TTL
        ]
        for cluster, name in late:
            del self.model[cluster][name]
        gone, changed = self.imports.expire(self.now)
        assert sorted(gone) == sorted((cluster, name.decode()) for cluster, name in late)
        self.check_changed(before, changed)

    @rule(
        cluster=st.sampled_from(CLUSTERS),
        name=st.sampled_from(ACTORS),
        incarnation=st.integers(1, 3),
    )
    def introduction(self, cluster: str, name: bytes, incarnation: int) -> None:
        known = self.model[cluster].get(name)
        if known is not None and incarnation < known.incarnation:
            with pytest.raises(StaleIncarnation):
                self.imports.introduce(cluster, name, incarnation, self.now)
            return
        before = self.filters()
        need, changed = self.imports.introduce(cluster, name, incarnation, self.now)
        assert need == (known is None or incarnation > known.incarnation)
        if need:
            self.model[cluster][name] = Known(incarnation, self.now)
        elif known is not None:
            known.seen = self.now
        self.check_changed(before, changed)

    @rule(cluster=st.sampled_from(CLUSTERS), name=st.sampled_from(ACTORS), ops=BATCHES)
    def routes_of_nobody(self, cluster: str, name: bytes, ops: list[RouteOp]) -> None:
        known = self.model[cluster].get(name)
        wrong = UnknownActor if known is None else StaleIncarnation
        incarnation = 1 if known is None else known.incarnation - 1
        with pytest.raises(wrong):
            self.imports.apply(cluster, name, incarnation, ops, self.now)

    @precondition(lambda self: any(self.model.values()))
    @rule(data=st.data(), ops=BATCHES)
    def routes(self, data: st.DataObject, ops: list[RouteOp]) -> None:
        present = [(cluster, name) for cluster, them in self.model.items() for name in them]
        cluster, name = data.draw(st.sampled_from(present))
        known = self.model[cluster][name]
        before = self.filters()
        known.seen = self.now
        for op in ops:
            if op.delete:
                known.held.discard((op.filter, op.id))
            else:
                known.held.add((op.filter, op.id))
        changed = self.imports.apply(cluster, name, known.incarnation, ops, self.now)
        assert self.touched(before) <= set(changed)
        assert set(changed) <= {op.filter for op in ops}

    @rule(cluster=st.sampled_from(CLUSTERS), name=st.sampled_from(ACTORS))
    def heartbeat(self, cluster: str, name: bytes) -> None:
        known = self.model[cluster].get(name)
        if known is None:
            with pytest.raises(UnknownActor):
                self.imports.heartbeat(cluster, name, self.now)
        else:
            known.seen = self.now
            self.imports.heartbeat(cluster, name, self.now)

    @rule(cluster=st.sampled_from(CLUSTERS))
    def link_removed(self, cluster: str) -> None:
        before = self.filters()
        self.model[cluster] = {}
        self.check_changed(before, self.imports.drop_cluster(cluster))

    def touched(self, before: set[tuple[str, bytes]]) -> set[bytes]:
        return {filter for _, filter in before ^ self.filters()}

    def check_changed(self, before: set[tuple[str, bytes]], changed: Iterable[bytes]) -> None:
        """The router has to hear of just the filters that are new or gone."""
        assert set(changed) == self.touched(before)

    @invariant()
    def messages_go_where_somebody_wants_them(self) -> None:
        held = self.filters()
        for name in NAMES:
            wanted = {
                cluster
                for cluster, filter in held
                if topics.match(filter, name) and not name.startswith((b"$SYS/", b"$LINK/"))
            }
            found = self.imports.match(name)
            assert set(found) == wanted
            assert len(found) == len(wanted)

    @invariant()
    def figures_are_right(self) -> None:
        for cluster, actors in self.model.items():
            held = set().union(*(known.held for known in actors.values())) if actors else set()
            assert self.imports.count(cluster) == len(held)
            seen = max((known.seen for known in actors.values()), default=None)
            assert self.imports.last_seen(cluster) == seen


TestImports = ImportsMachine.TestCase
TestImports.settings = settings(max_examples=150)


def test_a_route_that_two_actors_hold_is_one_and_stays_until_the_last_lets_go() -> None:
    imports = Imports()
    route = RouteOp(b"a", b"a")
    for name in ACTORS:
        imports.introduce("eu", name, 1, 0.0)
        imports.apply("eu", name, 1, [route], 0.0)
    assert imports.count("eu") == 1
    assert imports.apply("eu", ACTORS[0], 1, [route._replace(delete=True)], 0.0) == []
    assert imports.match(b"a") == ("eu",)
    assert imports.introduce("eu", ACTORS[1], 2, 0.0) == (True, [b"a"])
    assert (imports.count("eu"), imports.match(b"a")) == (0, ())
