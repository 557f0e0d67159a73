"""What a cluster that behaves as EMQX 5.8.9 does on our listener, and how it is answered."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import pytest

from brokers import Broker, Brokers
from emqx import ACTOR, EmqxClient, compressed, message, op_terms
from isthmus_broker.link import etf
from isthmus_broker.link.etf import Atom, Term
from isthmus_broker.mqtt.codes import V5, PacketType
from isthmus_broker.mqtt.packets import Publish
from isthmus_broker.mqtt.properties import Property
from linked import People, call, cluster, forwarding, link, told, wait_routes
from rawmqtt import RawClient
from waiting import wait_for

OP = Atom("$op")
OK, ERROR = Atom("ok"), Atom("error")
INCARNATION = 1_795_448_752_212
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def broker(module_brokers: Brokers) -> Broker:
    """Cluster us, which wants `#` of every cluster but `narrow`; one link is off."""
    links = [
        link(name, 1, topics=["only/#"] if name == "narrow" else ["#"], pool_size=1)
        for name in ("eu", "asia", "narrow")
    ]
    return module_brokers(cluster("us", *links, link("off", 1, enable=False)), name="us")


@pytest.fixture
def us(broker: Broker) -> Iterator[Broker]:
    """The same, without what earlier tests have left."""
    for name in ("eu", "asia", "narrow"):
        call(broker, "PUT", f"/cluster/links/link/{name}/metrics/reset")
    return broker


Dial = Callable[..., EmqxClient]


@pytest.fixture
def emqx(us: Broker) -> Iterator[Dial]:
    """Call it with a cluster's name for a connection of its own, on which CONNECT is granted."""
    made: list[EmqxClient] = []

    def dial(name: str = "eu", client_id: str = "", **fields: object) -> EmqxClient:
        client_id = client_id or f"clink-{name}:routesync:{next(_numbers):08x}"
        made.append(EmqxClient(us.port, name, client_id))
        assert made[-1].hello(**fields).reason_code == 0
        return made[-1]

    yield dial
    for one in made:
        one.drop()


@pytest.fixture
def topic() -> str:
    """A topic that no other test uses."""
    return f"t{next(_numbers)}"


def incarnation() -> int:
    """A new one, above all before."""
    return INCARNATION + next(_numbers)


# -- the handshake -------------------------------------------------------------------------------


def test_the_connack_says_what_a_link_needs(us: Broker) -> None:
    one = EmqxClient(us.port, "eu")
    answer = one.hello()
    assert not answer.session_present
    assert answer.properties.get(Property.MAXIMUM_QOS, 2) != 0
    one.drop()


def test_an_introduction_is_answered(emqx: Dial) -> None:
    number = incarnation()
    assert emqx().introduce("us", number) == {
        10: ACTOR.encode(),
        14: 1,
        15: OK,
        16: Atom("true"),
        OP: b"actor_init_ack",
    }


def test_a_version_to_come_is_answered_with_ours(emqx: Dial) -> None:
    assert emqx().introduce("us", incarnation(), version=99)[14] == 1


def test_our_own_extension_is_answered_only_where_it_is_offered(emqx: Dial) -> None:
    assert b"isthmus.cluster" not in emqx().introduce("us", incarnation())
    one = emqx()
    assert one.subscribe(one.response_topic, qos=1).codes == [1]
    init = {10: b"n", 11: 1, 13: b"us", 14: 1, OP: b"actor_init", b"isthmus.cluster": b""}
    sent = one.control(init, properties=properties(one))
    assert one.answered(sent)[b"isthmus.cluster"] == b"us"


def properties(one: EmqxClient) -> dict[Property, str | bytes]:
    return {
        Property.RESPONSE_TOPIC: one.response_topic,
        Property.CORRELATION_DATA: b"4fa7e459b0ad5342",
    }


@pytest.mark.parametrize(
    ("name", "target", "reason"),
    [
        ("nobody", "us", b"unknown_cluster"),
        ("eu", "them", b"bad_remote_cluster_link_name"),
        ("off", "us", b"cluster_link_disabled"),
        ("us", "us", b"unknown_cluster"),
    ],
)
def test_a_refusal_is_an_answer_and_the_connection_stays(
    emqx: Dial, name: str, target: str, reason: bytes
) -> None:
    one = emqx(name)
    answer = one.introduce(target)
    assert answer[15] == (ERROR, reason)
    assert answer[16] == Atom("undefined")
    one.expect_nothing()
    # Five seconds later it connects again, with the same client id.
    again = emqx(name, one.client_id)
    one.expect_disconnect(0x8E)
    assert again.introduce(target)[15] == (ERROR, reason)


def test_a_known_actor_need_not_bootstrap(emqx: Dial, us: Broker, topic: str) -> None:
    number = incarnation()
    one = emqx()
    assert one.introduce("us", number)[16] == Atom("true")
    one.routes(*op_terms(topic), incarnation=number)
    one.drop()
    again = emqx("eu", one.client_id)
    assert again.introduce("us", number)[16] == Atom("false")
    wait_routes(us, "eu", 1)
    newer = emqx()
    assert newer.introduce("us", number + 1)[16] == Atom("true")
    wait_routes(us, "eu", 0)


def test_the_session_of_the_route_connection_is_kept(emqx: Dial, us: Broker) -> None:
    one = emqx()
    one.introduce("us", incarnation())
    one.drop()
    again = EmqxClient(us.port, "eu", one.client_id)
    assert again.hello().session_present
    again.drop()


# -- 0x83: what EMQX ends a connection for -------------------------------------------------------


def ended(one: EmqxClient) -> None:
    """The broker says 0x83, and no PUBACK."""
    one.expect_disconnect(0x83)


def test_a_second_introduction_ends_the_connection(emqx: Dial) -> None:
    one, number = emqx(), incarnation()
    one.introduce("us", number)
    init = {10: ACTOR.encode(), 11: number, 13: b"us", 14: 1, OP: b"actor_init"}
    one.control(init, properties=properties(one))
    ended(one)


def test_routes_before_an_introduction_end_the_connection(emqx: Dial) -> None:
    one = emqx()
    one.control({10: ACTOR.encode(), 11: 1, 12: [], OP: b"route"})
    ended(one)


def test_an_older_incarnation_ends_the_connection(emqx: Dial) -> None:
    number = incarnation()
    emqx().introduce("us", number)
    one = emqx()
    one.introduce("us", number - 1, take=False)
    ended(one)


def test_routes_of_another_incarnation_end_the_connection(emqx: Dial) -> None:
    one, number = emqx(), incarnation()
    one.introduce("us", number)
    one.control({10: ACTOR.encode(), 11: number + 1, 12: [], OP: b"route"})
    ended(one)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x83",
        b"no term",
        b"\x83h\x01" * 1000,
        b"\x83P\xff\xff\xff\xff" + bytes(20),
        etf.encode({OP: b"route", 10: b"n", 11: 1, 12: [(b"a/#/b", b"a")]}),
        etf.encode({OP: b"actor_init", 10: b"n"}),
    ],
    ids=["empty", "cut short", "text", "nested", "bomb", "no filter", "keys missing"],
)
def test_an_undecodable_payload_ends_the_connection(emqx: Dial, data: bytes) -> None:
    one = emqx()
    one.publish("$LINK/cluster/route/eu", data, 1)
    ended(one)


@pytest.mark.parametrize("response", [None, "elsewhere", "$LINK/cluster/resp/asia/node"])
def test_an_introduction_without_its_response_topic_ends_the_connection(
    emqx: Dial, response: str | None
) -> None:
    one = emqx()
    init = {10: ACTOR.encode(), 11: incarnation(), 13: b"us", 14: 1, OP: b"actor_init"}
    one.control(init, properties={} if response is None else {Property.RESPONSE_TOPIC: response})
    ended(one)


def test_an_unknown_operation_is_acknowledged_and_logged(us: Broker, emqx: Dial) -> None:
    one = emqx()
    sent = one.control({OP: b"sing", 10: ACTOR.encode()})
    one.expect_ack(PacketType.PUBACK, sent)
    us.wait_log("link operation not known")
    one.expect_nothing()


def test_a_heartbeat_before_the_introduction_is_passed_over(emqx: Dial) -> None:
    one = emqx()
    one.heartbeat()
    one.expect_nothing()


def test_a_heartbeats_incarnation_is_not_looked_at(emqx: Dial) -> None:
    one = emqx()
    one.introduce("us", incarnation())
    one.heartbeat(1)
    one.expect_nothing()


# -- routes --------------------------------------------------------------------------------------


def test_routes_that_come_twice_or_never_came_change_nothing(
    us: Broker, emqx: Dial, topic: str
) -> None:
    one, number = emqx(), incarnation()
    one.introduce("us", number)
    name = topic.encode()
    one.routes((name, name), (name, name), incarnation=number)
    one.routes((name, name), (name, b"$s/g/" + name), incarnation=number)
    wait_routes(us, "eu", 2)
    one.routes((100, name, name), (100, name, name), incarnation=number)
    one.routes((100, b"never", b"never"), (100, name, b"another"), incarnation=number)
    wait_routes(us, "eu", 1)
    one.routes((100, name, b"$s/g/" + name), incarnation=number)
    wait_routes(us, "eu", 0)


def test_routes_outside_the_links_topics_are_taken(us: Broker, emqx: Dial) -> None:
    """What the other side wants is not for this side's topics to say."""
    one, number = emqx("narrow"), incarnation()
    one.introduce("us", number)
    one.routes(*op_terms("elsewhere/#"), incarnation=number)
    wait_routes(us, "narrow", 1)


def test_two_actors_of_one_cluster_keep_apart(
    us: Broker, emqx: Dial, people: People, topic: str
) -> None:
    """EMQX has a second one for its persistent sessions, of incarnation 0."""
    one, number = emqx(), incarnation()
    one.introduce("us", number)
    name = topic.encode()
    one.routes((name, name), incarnation=number)
    durable = emqx()
    durable.response_topic = "$LINK/cluster/resp/eu/ps-routes-v1"
    assert durable.subscribe(durable.response_topic, qos=1).codes == [1]
    init = {10: b"ps-routes-v1", 11: 0, 13: b"us", 14: 1, OP: b"actor_init"}
    answer = durable.answered(durable.control(init, properties=properties(durable)))
    assert answer[15] == OK
    route = {10: b"ps-routes-v1", 11: 0, 12: [(name, b"$p/id/" + name)], OP: b"route"}
    durable.expect_ack(PacketType.PUBACK, durable.control(route))
    wait_routes(us, "eu", 2)
    one.routes((100, name, name), incarnation=number)
    wait_routes(us, "eu", 1)
    people.client(us).publish_acknowledged(topic, b"for the sleeper")
    assert forwarding(us, "eu")["matched"] == 1
    remove = {**route, 12: [(100, name, b"$p/id/" + name)]}
    durable.expect_ack(PacketType.PUBACK, durable.control(remove))
    wait_routes(us, "eu", 0)


# -- messages ------------------------------------------------------------------------------------


def test_forwarding_needs_no_introduction(
    us: Broker, emqx: Dial, people: People, topic: str
) -> None:
    here = people.subscriber(us, topic, qos=2)
    one = emqx("eu", "clink-eu:msg:93901918:1", clean_start=True, properties={})
    assert one.forwarded(message(topic, b"hello", 2)) == 0
    got = here.take()
    assert (got.payload, got.qos) == (b"hello", 2)  # what counts is the QoS inside
    assert forwarding(us, "eu")["received"] == 1


def test_nobody_to_get_it_is_success_all_the_same(emqx: Dial, topic: str) -> None:
    assert emqx().forwarded(message(topic, b"x")) == 0x10


def test_a_message_of_qos_2_that_is_sent_again_comes_once(
    us: Broker, emqx: Dial, people: People, topic: str
) -> None:
    """The sender has lost our acknowledgement, and the connection with it."""
    here = people.subscriber(us, topic, qos=2)
    again = message(topic, b"once", 2)
    for _ in range(2):
        assert emqx().forwarded(again) == 0
    assert emqx().forwarded(message(topic, b"the next", 2)) == 0
    assert [here.take().payload, here.take().payload] == [b"once", b"the next"]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_the_packets_own_qos_may_be_any(
    us: Broker, emqx: Dial, people: People, topic: str, qos: int
) -> None:
    here = people.subscriber(us, topic, qos=2)
    one = emqx()
    term = etf.encode(message(topic, b"x", qos))
    assert one.publish_acknowledged("$LINK/cluster/msg/eu", term, qos) < 0x80
    got = here.take()
    assert (got.payload, got.qos) == (b"x", qos)


def test_a_run_of_qos_0_comes_in_order(us: Broker, emqx: Dial, people: People, topic: str) -> None:
    here = people.subscriber(us, f"{topic}/#", qos=0)
    one = emqx()
    terms = [message(f"{topic}/{number % 3}", b"%d" % number, 0) for number in range(500)]
    one.send(*(Publish(b"$LINK/cluster/msg/eu", etf.encode(term)) for term in terms))
    assert [here.take().payload for _ in terms] == [b"%d" % number for number in range(500)]


def test_properties_inside_reach_subscribers(
    us: Broker, emqx: Dial, people: People, topic: str
) -> None:
    here = people.subscriber(us, topic)
    inside: dict[Atom, Term] = {
        Atom("Content-Type"): b"text/plain",
        Atom("User-Property"): [(b"k", b"v")],
        Atom("Payload-Format-Indicator"): 1,
        Atom("Response-Topic"): b"r/t",
        Atom("Correlation-Data"): b"\1\2",
        Atom("Message-Expiry-Interval"): 100,
    }
    emqx().forward(message(topic, b"x", headers={Atom("properties"): inside}))
    got = here.take().properties
    left = got.pop(Property.MESSAGE_EXPIRY_INTERVAL)
    assert isinstance(left, int)
    assert 80 < left <= 100
    assert got == {
        Property.CONTENT_TYPE: "text/plain",
        Property.USER_PROPERTY: [("k", "v")],
        Property.PAYLOAD_FORMAT_INDICATOR: 1,
        Property.RESPONSE_TOPIC: "r/t",
        Property.CORRELATION_DATA: b"\1\2",
    }


def test_expiry_counts_from_the_senders_timestamp(
    us: Broker, emqx: Dial, people: People, topic: str
) -> None:
    here = people.subscriber(us, topic)
    one = emqx()
    now = time.time_ns() // 1_000_000
    headers: dict[Atom, Term] = {Atom("properties"): {Atom("Message-Expiry-Interval"): 60}}
    assert one.forwarded(message(topic, b"too late", headers=headers, timestamp=now - 61_000)) == 0
    assert one.forwarded(message(topic, b"in time", headers=headers, timestamp=now - 30_000)) == 0
    # A clock ahead of ours does not lengthen it.
    assert one.forwarded(message(topic, b"ahead", headers=headers, timestamp=now + 500_000)) == 0
    left = []
    for payload in (b"in time", b"ahead"):
        got = here.take()
        assert got.payload == payload
        left.append(got.properties[Property.MESSAGE_EXPIRY_INTERVAL])
    assert 20 <= left[0] <= 30
    assert 50 <= left[1] <= 60
    assert told(us, "eu")["incoming"]["dropped_by"] == {"expired": 1}


def test_the_retain_flag_comes_and_nothing_is_stored(
    us: Broker, emqx: Dial, people: People, topic: str
) -> None:
    plain, aware = (
        people.subscriber(us, topic),
        people.subscriber(us, topic, retain_as_published=True),
    )
    flags: dict[Atom, Term] = {Atom("retain"): Atom("true")}
    emqx().forwarded(message(topic, b"x", flags=flags))
    assert (plain.take().retain, aware.take().retain) == (False, True)
    people.subscriber(us, topic).expect_nothing()


def test_a_topic_outside_the_links_topics_is_dropped_with_0x10(
    us: Broker, emqx: Dial, people: People
) -> None:
    here = people.subscriber(us, "#")
    one = emqx("narrow")
    for outside in ("other/1", "$SYS/x", "$LINK/cluster/msg/eu"):
        assert one.forwarded(message(outside, b"x")) == 0x10
    assert one.forwarded(message("only/1", b"inside")) == 0
    assert here.take().payload == b"inside"
    assert told(us, "narrow")["incoming"]["dropped_by"] == {"not_wanted": 3}


FORMS: dict[str, Callable[[str], Term | bytes]] = {
    "empty flags, headers and extra": lambda topic: message(topic, b"ok", flags={}, headers={}),
    "from an atom": lambda topic: message(topic, b"ok", publisher=Atom("emqx_mgmt")),
    "an iolist as payload": lambda topic: message(topic, [b"o", [107]]),
    "compressed": lambda topic: compressed(message(topic, b"ok")),
    "old atoms": lambda topic: etf.encode(message(topic, b"ok")).replace(
        b"w\x07message", b"d\x00\x07message", 1
    ),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_every_form_of_a_message_is_taken(
    us: Broker, emqx: Dial, people: People, topic: str, form: Callable[[str], Term | bytes]
) -> None:
    here = people.subscriber(us, topic)
    assert emqx().forwarded(form(topic)) == 0
    assert here.take().payload == b"ok"


WRONG: dict[str, Callable[[str], Term | bytes]] = {
    "no term": lambda _: b"garbage",
    "cut short": lambda topic: etf.encode(message(topic, b"x"))[:-9],
    "flags that are undefined": lambda topic: (
        *message(topic)[:4],
        Atom("undefined"),
        *message(topic)[5:],
    ),
    "a QoS that there is not": lambda topic: message(topic, b"x", 7),
    "a bomb": lambda _: b"\x83P\xff\xff\xff\xff" + bytes(50),
    "a wrong property": lambda topic: message(
        topic, headers={Atom("properties"): {Atom("Content-Type"): b"\xff\xfe"}}
    ),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_an_undecodable_message_reaches_nobody(
    us: Broker, emqx: Dial, people: People, topic: str, wrong: Callable[[str], Term | bytes]
) -> None:
    """Dropped and counted; the connection goes on. EMQX's own broker would publish it as it is."""
    here = people.subscriber(us, topic, "#")
    one = emqx()
    assert one.forwarded(wrong(topic)) == 0x99
    assert one.forwarded(message(topic, b"the next one")) == 0
    assert here.take().payload == b"the next one"
    here.expect_nothing()
    assert told(us, "eu")["incoming"]["dropped_by"] == {"undecodable": 1}


@pytest.mark.parametrize("name", ["a/+", "#", "", "a\x00b", "a/" * 200])
def test_a_topic_that_is_no_name_reaches_nobody(
    us: Broker, emqx: Dial, people: People, name: str
) -> None:
    here = people.subscriber(us, "#")
    for qos in (0, 1):
        assert emqx().forwarded(message(name, b"x", qos)) in (0, 0x10, 0x99)
    here.expect_nothing()


# -- strangers -----------------------------------------------------------------------------------


def test_messages_for_a_link_that_is_not_there_are_refused(
    us: Broker, raw: Callable[..., RawClient]
) -> None:
    one = raw(us.port, V5)
    one.connect("stranger")
    for name in ("nobody", "off"):
        code = one.publish_acknowledged(f"$LINK/cluster/msg/{name}", etf.encode(message("t", b"x")))
        assert code == 0x87
    one.expect_nothing()


@pytest.mark.parametrize(
    "filter",
    [
        "$LINK/#",
        "$LINK/cluster/#",
        "$LINK/cluster/msg/eu",
        "$LINK/cluster/msg/+",
        "$LINK/cluster/route/eu",
        "$LINK/cluster/resp/#",
        "$LINK/cluster/resp/+/+",
        "$LINK/cluster/resp/eu/#",
        "$share/g/$LINK/cluster/msg/eu",
        "+/cluster/msg/eu",
    ],
)
def test_nobody_can_listen_in(us: Broker, people: People, emqx: Dial, filter: str) -> None:
    listener = people.client(us)
    code = listener.subscribe(filter).codes[0]
    assert code == (0 if filter.startswith("+") else 0x87)
    emqx().introduce("us", incarnation())
    emqx().forwarded(message("t", b"x"))
    listener.expect_nothing()


@pytest.mark.parametrize("topic", ["$LINK/x", "$LINK/cluster/resp/eu/n", "$LINK/cluster/msg/eu/x"])
def test_other_topics_under_link_are_for_nobody(us: Broker, people: People, topic: str) -> None:
    one = people.client(us)
    assert one.publish_acknowledged(topic, b"x") == 0x87
    one.expect_nothing()


def test_a_disabled_link_forgets_routes_and_lets_the_other_side_come_back(
    start_broker: Brokers, people: People
) -> None:
    us = start_broker(cluster("us", link("eu", 1)), name="us")
    one = EmqxClient(us.port, "eu")
    one.hello()
    one.introduce("us")
    one.routes(*op_terms("t"))
    wait_routes(us, "eu", 1)
    switch(us, enable=False)
    one.heartbeat()  # on a connection that was not closed
    one.expect_disconnect(0x83)
    people.client(us).publish_acknowledged("t")
    off = EmqxClient(us.port, "eu")
    off.hello()
    assert off.introduce("us")[15] == (ERROR, b"cluster_link_disabled")
    switch(us, enable=True)
    again = EmqxClient(us.port, "eu")
    again.hello()
    assert again.introduce("us")[16] == Atom("true")
    off.expect_disconnect(0x8E)
    for client in (one, off, again):
        client.drop()


def switch(us: Broker, *, enable: bool) -> None:
    assert call(us, "PUT", "/cluster/links/link/eu", link("eu", 1, enable=enable))[0] == 200


def test_take_over_leaks_no_connection(us: Broker, emqx: Dial) -> None:
    before = call(us, "GET", "/status")[1]["connections"]
    for _ in range(20):
        emqx("nobody", "clink-nobody:routesync:00000001").introduce("us")
    wait_for(lambda: call(us, "GET", "/status")[1]["connections"] <= before + 1)
