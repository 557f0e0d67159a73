"""A link of ours to a server that behaves as EMQX 5.8.9 does: what it may count on, and we too.

One broker for all tests; each test adds a link of its own by the admin API.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from brokers import Broker, Brokers
from emqx import CONNACK, EmqxClient, EmqxServer, Manners, message
from isthmus_broker.link import etf
from isthmus_broker.link.etf import Atom
from isthmus_broker.link.routes import RouteOp
from isthmus_broker.mqtt.codes import PacketType
from isthmus_broker.mqtt.packets import Disconnect
from isthmus_broker.mqtt.properties import Property
from linked import People, call, cluster, forwarding, told, wait_settled, wait_state
from proxy import doorstep
from waiting import wait_for

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def us(module_brokers: Brokers) -> Broker:
    """The broker whose links are looked at."""
    return module_brokers(cluster("us"), name="us")


class Far:
    """A link to a server that is taken for EMQX, and EMQX's own link to us."""

    def __init__(self, us: Broker, server: EmqxServer, settings: dict[str, Any]) -> None:
        self.us = us
        self.server = server
        self.name = f"eu{next(_numbers)}"
        self.clients: list[EmqxClient] = []
        self.settings = {
            "name": self.name,
            "server": f"127.0.0.1:{server.port}",
            "topics": ["#"],
            "pool_size": 1,
            **settings,
        }
        status, answer = call(us, "POST", "/cluster/links", self.settings)
        assert status == 201, answer

    def change(self, **settings: Any) -> None:
        """Change the link."""
        self.settings.update(settings)
        status, answer = call(
            self.us, "PUT", f"/cluster/links/link/{self.name}", dict(self.settings)
        )
        assert status == 200, answer

    def announce(self, *filters: str) -> EmqxClient:
        """Have EMQX introduce itself here, and subscribe to filters."""
        client = EmqxClient(self.us.port, self.name)
        self.clients.append(client)
        assert client.hello().reason_code == 0
        assert client.introduce("us")[15] == Atom("ok")
        client.routes(*[(one.encode(), one.encode()) for one in filters])
        return client

    def wait(self, state: str, reason: str = "", timeout: float = 15.0) -> dict[str, Any]:
        """Wait until a state of the link is reached."""
        return wait_state(self.us, self.name, state, reason, timeout)

    def incoming(self, state: str, reason: str = "") -> None:
        """Wait until a state of the direction from there to us is reached."""

        def is_so() -> bool:
            found = told(self.us, self.name)["incoming"]
            return bool(found["state"] == state and reason in found["reason"])

        wait_for(is_so, what=f"{state} {reason}")

    def close(self) -> None:
        """Remove the link, and close everything."""
        call(self.us, "DELETE", f"/cluster/links/link/{self.name}")
        for client in self.clients:
            client.drop()


Make = Callable[..., Far]


@pytest.fixture
def far(us: Broker, emqx_server: Callable[..., EmqxServer]) -> Iterator[Make]:
    """Call it (with a server's manners and a link's settings) for a link."""
    made: list[Far] = []

    def make(manners: Manners | None = None, **settings: Any) -> Far:
        made.append(Far(us, emqx_server(manners), settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


# -- connections ---------------------------------------------------------------------------------


def test_connections_are_those_of_cluster_linking(far: Make) -> None:
    one = far(pool_size=3, clientid="clink", username="linker", password="s3cret")
    (routes,) = one.server.wait_live("routesync")
    lanes = one.server.wait_live("msg", 3)
    prefix, kind, tail = routes.connect.client_id.split(":")
    assert (prefix, kind) == ("clink", "routesync")
    assert len(bytes.fromhex(tail)) == 4
    assert sorted(lane.connect.client_id for lane in lanes) == [
        f"clink:msg:{tail}:{number}" for number in (1, 2, 3)
    ]
    assert not routes.connect.clean_start
    assert routes.connect.properties[Property.SESSION_EXPIRY_INTERVAL] == 60
    for lane in lanes:
        assert lane.connect.clean_start
        assert Property.SESSION_EXPIRY_INTERVAL not in lane.connect.properties
    for heard in (routes, *lanes):
        assert (heard.connect.level, heard.connect.keep_alive) == (5, 60)
        assert (heard.connect.username, heard.connect.password) == ("linker", b"s3cret")


def test_without_a_clientid_it_is_the_clusters_name(far: Make) -> None:
    (routes,) = far().server.wait_live("routesync")
    assert routes.connect.client_id.startswith("us:routesync:")


def test_it_subscribes_to_answers_before_it_introduces_itself(us: Broker, far: Make) -> None:
    one = far()
    init = one.server.wait_inits()
    (routes,) = one.server.wait_live("routesync")
    assert routes.filters == [b"$LINK/cluster/resp/us/isthmus@127.0.0.1"]
    packet = routes.publishes[0]
    assert (packet.topic, packet.qos) == (b"$LINK/cluster/route/us", 1)
    assert packet.properties[Property.RESPONSE_TOPIC] == routes.filters[0].decode()
    correlation = packet.properties[Property.CORRELATION_DATA]
    assert isinstance(correlation, bytes)
    assert len(correlation) == 16
    assert (init.actor, init.target) == (b"isthmus@127.0.0.1", one.name)
    assert init.incarnation > 1_700_000_000_000  # milliseconds since the epoch


MANNERS = {
    "PUBACK first": Manners(),
    "answer first": Manners(puback_first=False),
    "answer at QoS 0": Manners(answer_qos=0),
    "PUBACK 0x00": Manners(ack_code=0),
    "known already": Manners(need_bootstrap=False),
    "more keys": Manners(extra={17: Atom("true"), 99: [1], b"x": {}}),
    "a CONNACK without properties": Manners(connack={}),
}


@pytest.mark.parametrize("manners", MANNERS.values(), ids=MANNERS.keys())
def test_routes_are_said_whatever_the_manners(far: Make, people: People, manners: Manners) -> None:
    one = far(manners)
    subscriber = people.subscriber(one.us, "a/b", "$share/g/c/+")
    one.incoming("running")
    one.server.wait_ops(RouteOp(b"a/b", b"a/b"), RouteOp(b"c/+", b"$s/g/c/+"))
    subscriber.unsubscribe("a/b")
    wait_for(lambda: one.server.ops[-1] == RouteOp(b"a/b", b"a/b", delete=True))


def test_the_answer_is_acknowledged(far: Make) -> None:
    """EMQX hangs for good without."""
    one = far()
    one.incoming("running")
    (routes,) = one.server.wait_live("routesync")
    wait_for(lambda: [it.type for it in routes.acks] == [PacketType.PUBACK])


def test_answers_to_somebody_else_are_passed_over(far: Make, people: People) -> None:
    one = far(Manners(answers=False))
    one.server.wait_inits()
    (routes,) = one.server.wait_live("routesync")
    topic = routes.filters[0].decode()
    wrong = {Property.CORRELATION_DATA: b"of another"}
    routes.one.publish(topic, b"whatever", 1, properties=wrong)
    routes.one.publish(topic, b"without any", 1)
    wait_for(lambda: len(routes.acks) == 2)
    assert told(one.us, one.name)["incoming"]["state"] == "connecting"


def test_known_routes_are_not_said_again_on_a_new_connection(far: Make, people: People) -> None:
    one = far()
    subscriber = people.subscriber(one.us, "a")
    one.server.wait_ops(RouteOp(b"a", b"a"))
    one.incoming("running")
    first = one.server.inits[-1]
    one.server.manners.need_bootstrap = False
    one.server.wait_live("routesync")[0].break_off()
    again = one.server.wait_inits(2)
    assert again == first  # incarnation and all
    subscriber.subscribe("b", qos=1)
    one.server.wait_ops(RouteOp(b"a", b"a"), RouteOp(b"b", b"b"))


def test_a_server_that_has_forgotten_gets_everything_again(far: Make, people: People) -> None:
    one = far()
    people.subscriber(one.us, "a")
    one.server.wait_ops(RouteOp(b"a", b"a"))
    one.server.wait_live("routesync")[0].break_off()
    one.server.wait_ops(RouteOp(b"a", b"a"), RouteOp(b"a", b"a"))


@pytest.mark.slow
def test_heartbeats_go_out_at_qos_0(far: Make) -> None:
    one = far()
    init = one.server.wait_inits()
    wait_for(lambda: one.server.heartbeats, 20)
    assert one.server.heartbeats[0].actor == init.actor
    assert one.server.heartbeats[0].incarnation == init.incarnation


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("unknown_cluster", '"{name}" has no link to "us"'),
        ("cluster_link_disabled", '"{name}" has disabled its link to "us"'),
        ("bad_remote_cluster_link_name", 'is called something else, not "{name}"'),
        ("whatever comes next", "refuses the link: whatever comes next"),
    ],
)
def test_a_refusal_is_told_and_not_tried_again_soon(far: Make, error: str, reason: str) -> None:
    one = far(Manners(error))
    one.wait("inconsistent", reason.format(name=one.name))
    one.incoming("inconsistent")
    assert len(one.server.inits) == 1
    assert not one.server.live("routesync")


def test_a_refused_link_tries_again_once_the_other_side_introduces_itself(far: Make) -> None:
    one = far(Manners("unknown_cluster"))
    one.incoming("inconsistent")
    one.server.manners.error = ""
    one.announce()
    one.wait("running")


def test_nothing_is_sent_to_a_cluster_that_refuses_the_link(far: Make, people: People) -> None:
    """It may be another one than we mean; what waits is kept."""
    one = far(Manners("bad_remote_cluster_link_name"))
    one.incoming("inconsistent")
    peer = one.announce("t")
    here = people.client(one.us)
    here.publish_acknowledged("t", b"1")
    here.publish_acknowledged("t", b"2", 0)
    one.server.wait_live("msg")
    wait_for(lambda: forwarding(one.us, one.name)["queuing"] == 2)
    assert one.server.messages == []
    one.server.manners.error = ""
    peer.drop()
    one.announce("t")
    one.server.wait_messages(b"1", b"2")


@pytest.mark.parametrize(
    ("manners", "state", "reason"),
    [
        (Manners(refuse=0x87), "inconsistent", "connection refused: not authorized (0x87)"),
        (Manners(refuse=0x86), "inconsistent", "bad user name or password (0x86)"),
        (Manners(refuse=0x84), "inconsistent", "unsupported protocol version (0x84)"),
        (Manners(suback_code=0x87), "inconsistent", "does not accept this client as"),
        (Manners(ack_code=0x87, answers=False), "inconsistent", "does not accept this client as"),
        (
            Manners(connack={Property.MAXIMUM_QOS: 0}),
            "disconnected",
            "the listener takes QoS 0 only, and a link needs QoS 1",
        ),
        (Manners(say=[1]), "disconnected", "an answer that can't be understood"),
        (
            Manners(say={15: Atom("ok"), 10: b"n", 14: 1, Atom("$op"): b"actor_init_ack"}),
            "disconnected",
            "an answer that can't be understood: key 16",
        ),
    ],
)
def test_why_it_does_not_run_is_told(far: Make, manners: Manners, state: str, reason: str) -> None:
    one = far(manners)
    one.incoming(state, reason)
    one.wait(state, reason)


def test_a_listener_that_hangs_up_is_told_with_its_reason(far: Make) -> None:
    one = far()
    one.incoming("running")
    (routes,) = one.server.wait_live("routesync")
    one.server.manners.answers = False
    routes.one.send(Disconnect(0x8E))
    one.incoming("disconnected", "disconnected: session taken over (0x8E)")


def test_no_answer_is_an_answer_after_five_seconds(far: Make) -> None:
    one = far(Manners(answers=False))
    one.incoming("disconnected", "no answer within 5 s while handshaking")
    one.server.manners.answers = True
    one.incoming("running")


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no CONNACK: no MQTT listener"),
        (b"", "the other side closed the connection"),
        (b"\x20\xff\xff\xff\xff\xff", "a packet of"),
        (b"\x30\x80\x80\x80\x01", "no CONNACK: no MQTT listener"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "it expects TLS (mqtts://)"),
        (b"\x20\x02\x00\x01", "unsupported protocol version (0x84)"),
        (b"\x20\x03\x00\x00\x05", "a packet that breaks the protocol"),
        (b"\x20\x02\x00\x00" * 2, "a second CONNACK"),
        (b"\x20\x02\x00\x00\x32\x03\x00\x01a", "a packet that breaks the protocol"),
        (b"\x20\x02\x00\x00\x90\x01\x00", "a packet that breaks the protocol"),
        (b"\x20\x02\x00\x00\x82\x06\x00\x01\x00\x00\x01a\x00", "breaks the protocol"),
        (b"\x20\x02\x00\x00\xc0\x00", "PingReq is not for a server to send"),
    ],
)
def test_somebody_who_speaks_no_mqtt_is_told(us: Broker, says: bytes, reason: str) -> None:
    name = f"odd{next(_numbers)}"

    def handle(one: Any) -> None:
        one.recv(4096)
        one.sendall(says)
        while says and one.recv(4096):
            pass
        one.close()

    with doorstep(handle) as door:
        link = {"name": name, "server": f"127.0.0.1:{door.port}", "topics": [], "pool_size": 1}
        assert call(us, "POST", "/cluster/links", link)[0] == 201
        wait_for(lambda: reason in told(us, name)["incoming"]["reason"], what=reason)
        call(us, "DELETE", f"/cluster/links/link/{name}")


def test_an_answer_too_large_is_not_read(far: Make) -> None:
    one = far(Manners(extra={b"x": bytes(70_000)}))
    one.incoming("disconnected", "at most 65536 were asked for")


# -- messages ------------------------------------------------------------------------------------


def test_messages_cross_as_emqx_has_them(far: Make, people: People) -> None:
    one = far()
    one.announce("t")
    here = people.client(one.us, "publisher")
    here.publish_acknowledged("t", b"of QoS 0", 0)
    here.publish_acknowledged("t", b"of QoS 1", 1)
    here.publish_acknowledged("t", b"of QoS 2", 2, retain=True)
    one.server.wait_messages(b"of QoS 0", b"of QoS 1", b"of QoS 2")
    (lane,) = one.server.wait_live("msg")
    assert [it.qos for it in lane.publishes] == [0, 1, 1]
    for packet in lane.publishes:
        assert packet.topic == b"$LINK/cluster/msg/us"
        assert packet.properties == {}
        assert not packet.retain
    terms = [etf.decode(packet.payload) for packet in lane.publishes]
    assert [term[2] for term in terms] == [0, 1, 2]
    assert {term[3] for term in terms} == {b"publisher"}
    assert [term[4][Atom("retain")] for term in terms] == ["false", "false", "true"]
    assert len({term[1] for term in terms}) == 3
    wait_settled(one.us, one.name)
    assert forwarding(one.us, one.name)["success"] == 3


@pytest.mark.parametrize("code", [0, 0x10])
def test_two_reason_codes_are_success(far: Make, people: People, code: int) -> None:
    one = far(Manners(message_code=code))
    one.announce("t")
    people.client(one.us).publish_acknowledged("t", b"x")
    wait_for(lambda: forwarding(one.us, one.name)["success"] == 1)
    assert forwarding(one.us, one.name)["dropped"] == 0


def test_any_other_reason_code_is_final_for_that_message(far: Make, people: People) -> None:
    one = far(Manners(message_code=0x97))
    one.announce("t")
    here = people.client(one.us)
    here.publish_acknowledged("t", b"1")
    wait_for(lambda: forwarding(one.us, one.name)["failed"] == 1)
    one.server.manners.message_code = 0
    here.publish_acknowledged("t", b"2")
    one.server.wait_messages(b"1", b"2")
    wait_settled(one.us, one.name)
    figures = forwarding(one.us, one.name)
    assert (figures["success"], figures["failed"], figures["retried"]) == (1, 1, 0)
    assert figures["dropped_by"] == {"refused_0x97": 1}


@pytest.mark.parametrize(("maximum", "window"), [(5, 5), (None, 32), (65_535, 32)])
def test_the_other_sides_receive_maximum_is_kept(
    far: Make, people: People, maximum: int | None, window: int
) -> None:
    connack = {**CONNACK, Property.RECEIVE_MAXIMUM: maximum}
    if maximum is None:
        del connack[Property.RECEIVE_MAXIMUM]
    one = far(Manners(connack=connack))
    one.announce("t")
    one.server.wait_live("msg")
    one.server.acknowledging.clear()
    here = people.client(one.us)
    sent = [b"%d" % number for number in range(100)]
    for payload in sent:
        here.publish_acknowledged("t", payload)
    wait_for(lambda: len(one.server.unacknowledged) == window)
    assert forwarding(one.us, one.name)["inflight"] == window
    one.server.acknowledging.set()
    one.server.acknowledge()
    one.server.wait_messages(*sent)
    assert one.server.most_unacknowledged == window


def test_the_other_sides_largest_packet_is_kept(far: Make, people: People) -> None:
    one = far(Manners(connack={**CONNACK, Property.MAXIMUM_PACKET_SIZE: 1000}))
    one.announce("t")
    one.server.wait_live("msg")
    here = people.client(one.us)
    for qos in (0, 1):
        here.publish_acknowledged("t", bytes(1000), qos)
        here.publish_acknowledged("t", b"small", qos)
    one.server.wait_messages(b"small", b"small")
    assert forwarding(one.us, one.name)["dropped_by"] == {"too_large": 2}


def test_what_was_in_flight_is_sent_again_in_its_order(far: Make, people: People) -> None:
    one = far()
    one.announce("t")
    one.server.acknowledging.clear()
    here = people.client(one.us)
    sent = [b"%d" % number for number in range(40)]
    for payload in sent:
        here.publish_acknowledged("t", payload)
    wait_for(lambda: len(one.server.unacknowledged) == 32)
    one.server.unacknowledged.clear()
    one.server.acknowledging.set()
    one.server.wait_live("msg")[0].break_off()
    one.server.wait_messages(*sent[:32], *sent)
    assert forwarding(one.us, one.name)["retried"] == 32


def test_each_publisher_has_its_connection(far: Make, people: People) -> None:
    one = far(pool_size=4)
    one.announce("t/#")
    one.server.wait_live("msg", 4)
    publishers = [people.client(one.us, f"publisher-{number}") for number in range(12)]
    for turn in range(3):
        for number, client in enumerate(publishers):
            client.publish_acknowledged(f"t/{number}", b"%d" % turn)
    wait_for(lambda: len(one.server.messages) == 36)
    used = [lane for lane in one.server.live("msg") if lane.publishes]
    assert len(used) > 1
    by_topic: dict[bytes, list[tuple[int, bytes]]] = {}
    for lane in used:
        for packet in lane.publishes:
            term = etf.decode(packet.payload)
            by_topic.setdefault(term[6], []).append((id(lane), term[7]))
    for came in by_topic.values():
        assert len({lane for lane, _ in came}) == 1
        assert [payload for _, payload in came] == [b"0", b"1", b"2"]


def test_random_ordering_uses_every_connection(far: Make, people: People) -> None:
    one = far(pool_size=4, ordering="random")
    one.announce("t")
    one.server.wait_live("msg", 4)
    here = people.client(one.us)
    for number in range(8):
        here.publish_acknowledged("t", b"%d" % number)
    wait_for(lambda: len(one.server.messages) == 8)
    assert [len(lane.publishes) for lane in one.server.live("msg")] == [2, 2, 2, 2]


def test_a_message_from_one_link_never_goes_onto_another(far: Make, people: People) -> None:
    one, other = far(), far()
    peer = one.announce("gossip")
    other.announce("gossip")
    there = people.subscriber(one.us, "gossip")
    assert peer.forwarded(message("gossip", b"from there")) == 0
    assert there.take().payload == b"from there"
    people.client(one.us).publish_acknowledged("gossip", b"from here")
    one.server.wait_messages(b"from here")
    other.server.wait_messages(b"from here")


# -- changes while it runs -----------------------------------------------------------------------


def test_changed_topics_are_a_new_incarnation_on_a_new_connection(
    far: Make, people: People
) -> None:
    one = far(topics=["a/#"])
    people.subscriber(one.us, "a/1", "b/1")
    one.server.wait_ops(RouteOp(b"a/1", b"a/1"))
    first = one.server.inits[-1]
    lanes = one.server.wait_live("msg")
    one.change(topics=["b/#"])
    second = one.server.wait_inits(2)
    assert second.incarnation > first.incarnation
    one.server.wait_ops(RouteOp(b"a/1", b"a/1"), RouteOp(b"b/1", b"b/1"))
    assert one.server.routes[-1].incarnation == second.incarnation
    one.incoming("running")
    assert one.server.live("msg") == lanes  # nothing else was touched


def test_a_changed_pool_keeps_what_waits(far: Make, people: People) -> None:
    one = far()
    one.announce("t")
    one.server.acknowledging.clear()
    here = people.client(one.us)
    sent = [b"%d" % number for number in range(50)]
    for payload in sent:
        here.publish_acknowledged("t", payload)
    wait_for(lambda: len(one.server.unacknowledged) == 32)
    one.server.unacknowledged.clear()
    one.server.acknowledging.set()
    one.change(pool_size=3)
    one.server.wait_live("msg", 3)
    wait_for(lambda: one.server.messages[-1:] == [(b"t", b"49")])
    assert [it for _, it in one.server.messages] == sent[:32] + sent
    (routes,) = one.server.wait_live("routesync")
    assert len(one.server.inits) == 1
    assert not routes.closed


def test_a_changed_server_is_gone_to(
    far: Make, people: People, emqx_server: Callable[..., EmqxServer]
) -> None:
    one = far()
    one.announce("t")
    one.server.wait_live("msg")
    other = emqx_server()
    one.change(server=f"127.0.0.1:{other.port}")
    other.wait_live("msg")
    other.wait_live("routesync")
    one.server.wait_live("msg", 0)
    one.server.wait_live("routesync", 0)
    people.client(one.us).publish_acknowledged("t", b"to the new one")
    other.wait_messages(b"to the new one")
    assert other.inits[0].incarnation > one.server.inits[0].incarnation


def test_a_disabled_link_closes_and_an_enabled_one_opens(far: Make, people: People) -> None:
    one = far()
    peer = one.announce("t")
    one.wait("running")
    (routes,) = one.server.wait_live("routesync")
    one.change(enable=False)
    one.wait("stopped")
    one.server.wait_live("msg", 0)
    one.server.wait_live("routesync", 0)
    assert routes.disconnect is not None  # it says goodbye
    people.client(one.us).publish_acknowledged("t", b"to nobody")
    peer.drop()
    one.change(enable=True)
    one.announce("t")
    one.wait("running")
    people.client(one.us).publish_acknowledged("t", b"again")
    one.server.wait_messages(b"again")


def test_a_removed_link_is_forgotten(far: Make, people: People) -> None:
    one = far()
    one.announce("t")
    one.wait("running")
    assert call(one.us, "DELETE", f"/cluster/links/link/{one.name}")[0] == 204
    one.server.wait_live("msg", 0)
    one.server.wait_live("routesync", 0)
    people.client(one.us).publish_acknowledged("t", b"to nobody")
    assert call(one.us, "GET", f"/cluster/links/link/{one.name}")[0] == 404
    stranger = EmqxClient(one.us.port, one.name)
    one.clients.append(stranger)
    stranger.hello()
    assert stranger.introduce("us")[15] == (Atom("error"), b"unknown_cluster")


def test_other_links_are_left_alone_by_a_change(far: Make) -> None:
    one, other = far(), far()
    (routes,) = other.server.wait_live("routesync")
    (lane,) = other.server.wait_live("msg")
    other.incoming("running")
    one.incoming("running")
    one.change(pool_size=2, topics=["x"], clientid="changed")
    one.server.wait_live("msg", 2)
    one.change(enable=False)
    one.wait("stopped")
    assert not routes.closed
    assert not lane.closed
    assert len(other.server.inits) == 1


def test_a_live_link_survives_a_change_that_is_a_mistake(far: Make) -> None:
    one = far()
    one.incoming("running")
    wrong = {**one.settings, "topics": ["a/#/b"], "server": "nowhere"}
    status, answer = call(one.us, "PUT", f"/cluster/links/link/{one.name}", wrong)
    assert status == 400
    assert {it["key"] for it in answer["mistakes"]} == {"topics[0]", "server"}
    assert json.dumps(answer).count("not a topic filter") >= 1
    (routes,) = one.server.wait_live("routesync")
    assert not routes.closed
