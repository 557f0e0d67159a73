"""A session against a client that follows the specification, over a line that breaks at any time.

Everything but the sockets is the broker's own. What a session of the client should have had, it
gets: QoS 1 at least once, QoS 2 just once, each publisher's messages in their order, within the
window; and packet identifiers that are in use belong to one message each.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from isthmus_broker.mqtt.codes import V5, V311, PacketType
from isthmus_broker.mqtt.packets import Acknowledgement, Packet, Publish
from isthmus_broker.mqtt.properties import Properties, Property
from nodes import PureClient, PureNode

EXPIRY = 1000
IN_FLIGHT = 128
"""Messages that may be in flight where the client sets no Receive Maximum."""
TOPICS = (b"t/1", b"t/2")


class SessionMachine(RuleBasedStateMachine):
    """A publisher that stays, and a subscriber that comes and goes."""

    def __init__(self) -> None:
        super().__init__()
        self.node = PureNode(max_mqueue_len=100_000)
        self.publisher = self.node.client("publisher")
        self.numbers = 0
        self.level = V5
        self.window = 100
        self.here: PureClient | None = None
        self.todo: list[Packet] = []
        """What has come for the subscriber, and it has not answered."""
        self.got: dict[int, list[int]] = {1: [], 2: []}
        """Numbers as they came, by QoS; of QoS 2, as the client's application got them."""
        self.arrived: list[int] = []
        self.expected: dict[int, list[int]] = {1: [], 2: []}
        self.unreleased: dict[int, int] = {}
        """QoS 2: identifiers that the client has answered with PUBREC, until their PUBREL."""
        self.in_use: dict[int, int] = {}
        self.comes(level=V5, window=100)
        assert self.here is not None
        self.here.subscribe(b"t/+", qos=2)

    # -- the subscriber --------------------------------------------------------------------------

    @precondition(lambda self: self.here is None)
    @rule(level=st.sampled_from([V5, V311]), window=st.sampled_from([1, 2, 100]))
    def comes(self, level: int, window: int) -> None:
        fields: Properties = {}
        if level == V5:
            fields = {
                Property.SESSION_EXPIRY_INTERVAL: EXPIRY,
                Property.RECEIVE_MAXIMUM: window,
            }
        self.level, self.window = level, window if level == V5 else IN_FLIGHT
        first = not hasattr(self, "begun")
        self.here = self.node.client(
            "subscriber", level, clean_start=False, properties=fields, keep_alive=0
        )
        assert self.here.connack.session_present == (not first)
        self.begun = True
        self.in_use.clear()
        self.look()

    @precondition(lambda self: self.here is not None)
    @rule()
    def goes(self) -> None:
        assert self.here is not None
        self.here.lose()
        self.here = None
        self.todo.clear()

    @precondition(lambda self: self.here is not None)
    @rule(level=st.sampled_from([V5, V311]))
    def is_taken_over(self, level: int) -> None:
        """It connects again while the old connection seems alive [MQTT-3.1.4-3]."""
        before = self.here
        self.todo.clear()
        self.comes(level, 100)
        assert before is not None
        assert before.closed

    def look(self) -> None:
        """Take what has come, as the client's library does."""
        assert self.here is not None
        for packet in self.here.take():
            self.todo.append(packet)
            if not isinstance(packet, Publish):
                continue
            number = int(packet.payload)
            if packet.qos:
                assert self.in_use.setdefault(packet.packet_id, number) == number
                assert len(self.in_use) <= self.window
            if packet.qos == 2:
                if packet.packet_id in self.unreleased:
                    assert packet.dup
                    assert self.unreleased[packet.packet_id] == number
                    continue
                self.unreleased[packet.packet_id] = number
            self.got[packet.qos].append(number)
            if number not in self.arrived:
                self.arrived.append(number)

    @precondition(lambda self: self.here is not None and self.todo)
    @rule(data=st.data())
    def answers(self, data: st.DataObject) -> None:
        """One of the packets, not always the oldest."""
        self.answer(data.draw(st.integers(0, min(3, len(self.todo) - 1))))

    @precondition(lambda self: self.here is not None and self.todo)
    @rule()
    def answers_everything(self) -> None:
        while self.todo:
            self.answer(0)

    def answer(self, number: int) -> None:
        assert self.here is not None
        packet = self.todo.pop(number)
        if isinstance(packet, Publish) and packet.qos == 1:
            self.in_use.pop(packet.packet_id, None)
            self.here.send(Acknowledgement(PacketType.PUBACK, packet.packet_id))
        elif isinstance(packet, Publish) and packet.qos == 2:
            self.here.send(Acknowledgement(PacketType.PUBREC, packet.packet_id))
        elif isinstance(packet, Acknowledgement):
            assert packet.type is PacketType.PUBREL
            self.unreleased.pop(packet.packet_id, None)
            self.in_use.pop(packet.packet_id, None)
            self.here.send(Acknowledgement(PacketType.PUBCOMP, packet.packet_id))
        self.look()

    # -- the publisher ---------------------------------------------------------------------------

    @rule(qos=st.sampled_from([1, 1, 2]), topic=st.sampled_from(TOPICS), count=st.integers(1, 5))
    def publishes(self, qos: int, topic: bytes, count: int) -> None:
        for _ in range(count):
            self.numbers += 1
            sent = self.publisher.publish(topic, b"%d" % self.numbers, qos)
            if qos == 2:
                # Once more, as after a lost PUBREC: it is one message [MQTT-4.3.3-10].
                self.publisher.send(replace(sent, dup=True))
                self.publisher.send(Acknowledgement(PacketType.PUBREL, sent.packet_id))
            self.expected[qos].append(self.numbers)
        answers = [it.type for it in self.publisher.take() if isinstance(it, Acknowledgement)]
        kinds = (
            [PacketType.PUBACK]
            if qos == 1
            else [PacketType.PUBREC, PacketType.PUBREC, PacketType.PUBCOMP]
        )
        assert answers == kinds * count
        if self.here is not None:
            self.look()

    @rule(seconds=st.sampled_from([1.0, EXPIRY - 1.0]))
    def time_passes(self, seconds: float) -> None:
        """Less than it takes the session to end."""
        if self.here is None:
            self.comes(self.level, 100)
            self.goes()
        self.node.advance(seconds)

    # -- what always holds -----------------------------------------------------------------------

    @invariant()
    def first_deliveries_are_in_order(self) -> None:
        assert self.arrived == sorted(self.arrived)

    @invariant()
    def qos_2_comes_once(self) -> None:
        assert len(self.got[2]) == len(set(self.got[2]))

    def teardown(self) -> None:
        """In the end it gets everything."""
        if self.here is None:
            self.comes(V5, 2)
        self.answers_everything()
        assert list(dict.fromkeys(self.got[1])) == self.expected[1]
        assert self.got[2] == self.expected[2]
        session = self.node.registry.sessions["subscriber"]
        assert (session.inflight, session.queued, session.queue_bytes) == (0, 0, 0)


TestSessions = SessionMachine.TestCase
TestSessions.settings = settings(max_examples=80)
