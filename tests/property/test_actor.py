"""Route replication between an actor and the routes that a receiver keeps of it.

Connections break at any moment, answers are lost or refused, the receiver forgets, subscriptions
come and go all the while: whenever the actor says that everything is confirmed, the receiver has
just what there is; and left alone, it always gets there.
"""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from isthmus_broker.link import actor as machine
from isthmus_broker.link import payload
from isthmus_broker.link.actor import Action, Actor, Close, Names, Publish, State, Subscribe
from isthmus_broker.link.exports import Exports
from isthmus_broker.link.imports import ACTOR_TTL, Imports, StaleIncarnation, UnknownActor
from isthmus_broker.link.payload import ActorInit, ActorInitAck, Heartbeat, Routes

NAMES = Names("us", "eu", "eu:1883", b"node")
SUBSCRIPTIONS = st.tuples(
    st.sampled_from([b"a", b"a/b", b"+/b", b"b/#", b"#"]), st.sampled_from([None, b"g"])
)
BATCH = machine.BATCH
TOPICS = (b"a/#", b"+/b")


class ReplicationMachine(RuleBasedStateMachine):
    """An actor, a receiver that follows the protocol, and a bad line between them."""

    def __init__(self) -> None:
        super().__init__()
        machine.BATCH = 2  # type: ignore[misc] # so that a bootstrap takes several
        self.now = 0.0
        self.exports = Exports(TOPICS)
        self.present: set[tuple[bytes, bytes | None]] = set()
        self.correlations = 0
        self.actor = Actor(NAMES, 1, self.exports, self.new_correlation)
        self.receiver = Imports()
        self.introduced = False
        self.connected = False
        self.due: list[object] = []
        """What is on its way to the actor: SUBACK, PUBACKs, answers."""
        self.in_flight = 0
        self.closes = 0

    def new_correlation(self) -> bytes:
        self.correlations += 1
        return b"%d" % self.correlations

    # -- the line --------------------------------------------------------------------------------

    def carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            if not self.connected:
                return
            match action:
                case Subscribe(topic):
                    assert topic == b"$LINK/cluster/resp/us/node"
                    self.due.append("suback")
                case Publish():
                    if action.qos:
                        self.in_flight += 1
                        assert self.in_flight == 1, "one packet at a time"
                    self.receive(action)
                case Close():
                    self.closes += 1
                    self.break_line()

    def receive(self, packet: Publish) -> None:
        """As `ingress` does it."""
        control = payload.decode_control(packet.payload)
        try:
            match control:
                case ActorInit(name, incarnation):
                    assert packet.correlation
                    assert not self.introduced
                    need, _ = self.receiver.introduce("us", name, incarnation, self.now)
                    self.introduced = True
                    self.due.append("puback")
                    answer = payload.encode_control(ActorInitAck(name, need_bootstrap=need))
                    self.due.append((packet.correlation, answer))
                case Routes(name, incarnation, ops):
                    assert self.introduced, "routes before an introduction"
                    assert 0 < len(ops) <= machine.BATCH
                    self.receiver.apply("us", name, incarnation, ops, self.now)
                    self.due.append("puback")
                case Heartbeat(name):
                    assert packet.qos == 0
                    self.receiver.heartbeat("us", name, self.now)
        except (UnknownActor, StaleIncarnation):
            self.break_line()  # DISCONNECT 0x83, no PUBACK

    def arrive(self, number: int, code: int = 0) -> None:
        what = self.due.pop(number)
        if what == "suback":
            self.carry_out(self.actor.subscribed(1, self.now))
        elif what == "puback":
            self.in_flight -= 1
            self.carry_out(self.actor.acknowledged(code, self.now))
        else:
            assert isinstance(what, tuple)
            self.carry_out(self.actor.answered(*what, self.now))

    def break_line(self) -> None:
        self.connected = self.introduced = False
        self.due.clear()
        self.in_flight = 0
        self.actor.disconnected()

    # -- what happens ----------------------------------------------------------------------------

    @rule(subscription=SUBSCRIPTIONS)
    def subscription_comes_or_goes(self, subscription: tuple[bytes, bytes | None]) -> None:
        if subscription in self.present:
            self.present.discard(subscription)
            ops = self.exports.unsubscribed(*subscription)
        else:
            self.present.add(subscription)
            ops = self.exports.subscribed(*subscription)
        self.actor.changed(ops)

    @precondition(lambda self: self.due)
    @rule()
    def everything_arrives(self) -> None:
        """And what is answered to it, for a while."""
        for _ in range(4):
            if self.due:
                self.arrive(0)

    @precondition(lambda self: not self.connected)
    @rule()
    def connects(self) -> None:
        self.connected = True
        self.carry_out(self.actor.connected(self.now))

    @precondition(lambda self: self.connected)
    @rule()
    def line_breaks(self) -> None:
        self.break_line()

    @precondition(lambda self: self.due)
    @rule(data=st.data())
    def something_arrives(self, data: st.DataObject) -> None:
        """In any order: the answer before or after its PUBACK."""
        self.arrive(data.draw(st.integers(0, len(self.due) - 1)))

    @precondition(lambda self: self.due == ["puback"] and self.actor.is_accepted)
    @rule()
    def a_batch_is_refused(self) -> None:
        """Though the receiver has taken it: to say it again changes nothing."""
        self.arrive(0, 0x97)

    @precondition(lambda self: self.connected)
    @rule()
    def a_stray_answer_comes(self) -> None:
        self.carry_out(self.actor.answered(b"stray", b"\x83j", self.now))

    @rule(seconds=st.sampled_from([0.01, 0.2, 1.0, 5.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.receiver.expire(self.now)
        if self.connected:
            self.carry_out(self.actor.run(self.now))

    @rule()
    def receiver_forgets(self) -> None:
        """It restarts, or its link was off and on again."""
        self.receiver = Imports()
        if self.connected:
            self.break_line()

    @rule()
    def actor_restarts(self) -> None:
        """Another process: the subscriptions of its clients are gone with it."""
        if self.connected:
            self.break_line()
        self.present.clear()
        self.exports = Exports(TOPICS)
        self.actor = Actor(NAMES, self.actor.incarnation + 1, self.exports, self.new_correlation)

    # -- what always holds -----------------------------------------------------------------------

    def held(self) -> int:
        return self.receiver.count("us")

    def check_same(self) -> None:
        for op in self.exports:
            assert self.receiver.match(op.filter.replace(b"+", b"x").replace(b"#", b"y")) == ("us",)
        assert self.held() == len(self.exports)

    @invariant()
    def when_all_is_confirmed_the_receiver_has_what_there_is(self) -> None:
        if self.connected and self.actor.state is State.ONLINE and not self.actor.unconfirmed:
            self.check_same()

    @invariant()
    def somebody_will_look_again(self) -> None:
        """While connected there is always a time at which the actor wants to be asked."""
        if self.connected:
            assert self.actor.due < math.inf
        else:
            assert self.actor.state is State.DISCONNECTED

    def teardown(self) -> None:
        """Left alone, it gets there."""
        try:
            self.settle()
        finally:
            machine.BATCH = BATCH  # type: ignore[misc]

    def settle(self) -> None:
        for _ in range(200):
            if not self.connected:
                self.connects()
            elif self.due:
                self.arrive(0)
            elif self.actor.state is State.ONLINE and not self.actor.unconfirmed:
                break
            else:
                self.now = max(self.now, self.actor.due)
                self.carry_out(self.actor.run(self.now))
        assert self.actor.state is State.ONLINE
        self.check_same()
        until = self.now + 2 * ACTOR_TTL
        while self.now < until and self.connected:
            self.now = self.actor.due
            self.receiver.expire(self.now)
            self.carry_out(self.actor.run(self.now))
        assert self.connected, "heartbeats keep it alive"
        self.check_same()


def test_what_goes_while_a_bootstrap_is_broken_off_is_deleted_after_it() -> None:
    """The receiver has part of it, and asks for no new one."""
    both = ReplicationMachine()
    both.subscription_comes_or_goes((b"a/b", None))
    both.connects()
    both.everything_arrives()
    assert both.held() == 1
    assert both.actor.state is State.BOOTSTRAPPING
    both.line_breaks()
    both.subscription_comes_or_goes((b"a/b", None))
    both.teardown()
    assert both.held() == 0


TestReplication = ReplicationMachine.TestCase
TestReplication.settings = settings(max_examples=300, stateful_step_count=40)
