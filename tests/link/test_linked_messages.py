"""What crosses a link between two broker processes, what does not, and how it arrives."""

from __future__ import annotations

import time

import pytest

from brokers import Broker, Brokers
from isthmus_broker.mqtt.codes import V5, V311
from isthmus_broker.mqtt.packets import Will
from isthmus_broker.mqtt.properties import Properties, Property
from linked import (
    People,
    call,
    cluster,
    forwarding,
    link,
    pair,
    pipeline,
    told,
    wait_routes,
    wait_running,
    wait_settled,
)
from waiting import wait_for

Linked = tuple[Broker, Broker]


@pytest.fixture(scope="module")
def module_pair(module_brokers: Brokers) -> Linked:
    """Clusters us and eu with everything in both directions."""
    return pair(module_brokers)


@pytest.fixture
def linked(module_pair: Linked) -> Linked:
    """The same, without what earlier tests have left: no routes, and counters at zero."""
    for broker, other in zip(module_pair, ("eu", "us"), strict=True):
        wait_routes(broker, other, 0)
        call(broker, "PUT", f"/cluster/links/link/{other}/metrics/reset")
    return module_pair


def test_only_what_somebody_over_there_subscribes_to_crosses(
    linked: Linked, people: People
) -> None:
    us, eu = linked
    there = people.subscriber(eu, "wanted/+")
    wait_routes(us, "eu", 1)
    here = people.client(us)
    for topic in ("unwanted/1", "wanted", "wanted/1/2", "$wanted/1"):
        here.publish_acknowledged(topic, b"stays")
    here.publish_acknowledged("wanted/1", b"crosses")
    assert there.take().payload == b"crosses"
    assert forwarding(us, "eu")["matched"] == 1
    assert forwarding(eu, "us")["received"] == 1


def test_a_message_crosses_once_however_many_routes_match(linked: Linked, people: People) -> None:
    us, eu = linked
    first = people.subscriber(eu, "a/b", "a/+", "a/#", "#", "+/b")
    second = people.subscriber(eu, "a/b", "+/+")
    wait_routes(us, "eu", 6)
    here = people.client(us)
    here.publish_acknowledged("a/b", b"one")
    here.publish_acknowledged("a/b", b"two")
    for one in (first, second):
        assert [one.take().payload, one.take().payload] == [b"one", b"two"]
        one.expect_nothing()
    wait_settled(us, "eu")
    assert forwarding(us, "eu")["matched"] == 2
    assert forwarding(eu, "us")["received"] == 2


def test_it_goes_on_crossing_until_the_last_one_unsubscribes(
    linked: Linked, people: People
) -> None:
    us, eu = linked
    first, second = people.subscriber(eu, "t"), people.subscriber(eu, "t")
    wait_routes(us, "eu", 1)
    here = people.client(us)
    first.unsubscribe("t")
    here.publish_acknowledged("t", b"for the other")
    assert second.take().payload == b"for the other"
    second.disconnect()
    wait_routes(us, "eu", 0)
    here.publish_acknowledged("t", b"for nobody")
    assert forwarding(us, "eu")["matched"] == 1


def test_a_shared_group_over_there_gets_each_message_once(linked: Linked, people: People) -> None:
    us, eu = linked
    members = [people.collector(eu, "$share/g/jobs/+") for _ in range(3)]
    whole = people.collector(eu, "jobs/#")
    wait_routes(us, "eu", 2)
    sent = [b"%d" % number for number in range(60)]
    pipeline(people.client(us), "jobs/1", sent)
    whole.wait(60)
    assert whole.payloads == sent
    wait_settled(us, "eu")
    people.client(eu).expect_nothing()
    got = [one.payloads for one in members]
    assert sorted([payload for part in got for payload in part]) == sorted(sent)
    assert all(got)


def test_groups_on_both_sides_get_their_own_share(linked: Linked, people: People) -> None:
    """A shared group is one per cluster: each side's members get every message once."""
    us, eu = linked
    here, there = people.collector(us, "$share/g/t"), people.collector(eu, "$share/g/t")
    wait_routes(us, "eu", 1)
    sent = [b"%d" % number for number in range(20)]
    pipeline(people.client(us), "t", sent)
    assert there.wait(20) == sent
    assert here.wait(20) == sent


def test_a_retained_message_crosses_and_is_not_kept_over_there(
    linked: Linked, people: People
) -> None:
    us, eu = linked
    plain = people.subscriber(eu, "state/+")
    as_published = people.subscriber(eu, "state/+", retain_as_published=True)
    wait_routes(us, "eu", 1)
    people.client(us).publish_acknowledged("state/1", b"on", retain=True)
    assert (plain.take().retain, as_published.take().retain) == (False, True)
    late = people.subscriber(eu, "state/1")
    late.expect_nothing()
    assert people.subscriber(us, "state/1").take().retain


PROPERTIES: Properties = {
    Property.PAYLOAD_FORMAT_INDICATOR: 1,
    Property.CONTENT_TYPE: "text/plain; charset=utf-8",
    Property.RESPONSE_TOPIC: "answers/ü",
    Property.CORRELATION_DATA: bytes(range(256)),
    Property.USER_PROPERTY: [("k", "1"), ("ключ", "значение"), ("k", "2"), ("", "")],
}


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_properties_cross_as_they_are(linked: Linked, people: People, qos: int) -> None:
    us, eu = linked
    there = people.subscriber(eu, "t", qos=2)
    wait_routes(us, "eu", 1)
    here = people.client(us)
    here.publish_acknowledged("t", "Grüße".encode(), qos, properties=PROPERTIES)
    got = there.take()
    assert (got.payload, got.qos) == ("Grüße".encode(), qos)
    assert got.properties == PROPERTIES


def test_what_is_left_of_the_expiry_crosses(linked: Linked, people: People) -> None:
    us, eu = linked
    there = people.subscriber(eu, "t")
    wait_routes(us, "eu", 1)
    here = people.client(us)
    here.publish_acknowledged("t", properties={Property.MESSAGE_EXPIRY_INTERVAL: 100})
    left = there.take().properties[Property.MESSAGE_EXPIRY_INTERVAL]
    assert isinstance(left, int)
    assert 80 < left <= 100


def test_a_message_that_expires_while_the_other_side_is_away_is_never_delivered(
    start_broker: Brokers, people: People
) -> None:
    us, eu = pair(start_broker)
    there = people.subscriber(eu, "t")
    wait_routes(us, "eu", 1)
    here = people.client(us)
    eu.freeze()
    expiring: Properties = {Property.MESSAGE_EXPIRY_INTERVAL: 1}
    here.publish_acknowledged("t", b"short-lived", properties=expiring)
    published = time.monotonic()
    here.publish_acknowledged("t", b"kept")
    wait_for(lambda: time.monotonic() > published + 1.1)
    eu.thaw()
    assert there.take().payload == b"kept"
    wait_settled(us, "eu")
    there.expect_nothing()


@pytest.mark.parametrize(("published", "subscribed"), [(0, 2), (1, 2), (2, 2), (2, 1), (1, 0)])
@pytest.mark.parametrize("level", [V311, V5])
def test_the_quality_of_service_crosses(
    linked: Linked, people: People, published: int, subscribed: int, level: int
) -> None:
    us, eu = linked
    there = people.subscriber(eu, "t", qos=subscribed, level=level)
    wait_routes(us, "eu", 1)
    people.client(us, level=level).publish_acknowledged("t", b"x", published)
    assert there.take().qos == min(published, subscribed)


def test_a_request_is_answered_across(linked: Linked, people: People) -> None:
    us, eu = linked
    server, asker = people.subscriber(eu, "rpc/add"), people.subscriber(us, "answers/me")
    wait_routes(us, "eu", 1)
    wait_routes(eu, "us", 1)
    asked: Properties = {
        Property.RESPONSE_TOPIC: "answers/me",
        Property.CORRELATION_DATA: b"\x00\xff7",
    }
    asker.publish_acknowledged("rpc/add", b"2+2", properties=asked)
    request = server.take()
    topic = request.properties[Property.RESPONSE_TOPIC]
    assert isinstance(topic, str)
    back: Properties = {Property.CORRELATION_DATA: request.properties[Property.CORRELATION_DATA]}
    server.publish_acknowledged(topic, b"4", properties=back)
    answer = asker.take()
    assert (answer.payload, answer.properties) == (b"4", back)


@pytest.mark.parametrize("qos", [0, 1])
def test_large_payloads_cross_whole(linked: Linked, people: People, qos: int) -> None:
    us, eu = linked
    there = people.subscriber(eu, "large", qos=qos)
    wait_routes(us, "eu", 1)
    here = people.client(us)
    bodies = [bytes([number]) * (512 << 10) for number in range(8)]
    for body in bodies:
        here.publish_acknowledged("large", body, qos)
    assert [there.take().payload for _ in bodies] == bodies


def test_a_payload_that_only_fits_before_it_is_wrapped_is_dropped_and_counted(
    linked: Linked, people: People
) -> None:
    us, eu = linked
    there = people.subscriber(eu, "large", "small")
    wait_routes(us, "eu", 2)
    here = people.client(us)
    here.publish_acknowledged("large", bytes((1 << 20) - 40))
    here.publish_acknowledged("small", b"after it")
    assert there.take().payload == b"after it"
    assert forwarding(us, "eu")["dropped_by"] == {"too_large": 1}


@pytest.mark.parametrize("qos", [0, 1])
def test_each_publishers_order_holds_over_a_pool(
    start_broker: Brokers, people: People, qos: int
) -> None:
    us, eu = pair(start_broker, pool_size=4)
    there = people.collector(eu, "load/+", qos=qos)
    wait_routes(us, "eu", 1)
    publishers = [people.client(us, f"publisher-{number}") for number in range(6)]
    sent = [b"%d" % number for number in range(300)]
    for start in range(0, len(sent), 50):
        for number, one in enumerate(publishers):
            if qos:
                pipeline(one, f"load/{number}", sent[start : start + 50])
            else:
                for payload in sent[start : start + 50]:
                    one.publish(f"load/{number}", payload)
    for one in publishers:
        one.expect_nothing()
    total = len(sent) * len(publishers)
    wait_for(lambda: len(there.got) >= total, 30, f"{total} messages")
    for number in range(len(publishers)):
        assert there.of(f"load/{number}") == sent


def test_topics_are_cut_to_what_is_wanted(start_broker: Brokers, people: People) -> None:
    """A subscription of `#` over there asks for no more than the link's topics."""
    us, eu = start_broker(name="us", start=False), start_broker(name="eu", start=False)
    us.write(cluster("us", link("eu", eu, topics=[])))
    eu.write(cluster("eu", link("us", us, topics=["tn/+/data", "linked/#"])))
    us.start()
    eu.start()
    wait_running(us, "eu")
    there = people.subscriber(eu, "#")
    wait_routes(us, "eu", 2)
    here = people.client(us)
    for topic in ("tn/1/other", "tn/1/data/2", "elsewhere"):
        here.publish_acknowledged(topic, b"stays")
    here.publish_acknowledged("tn/1/data", b"1")
    here.publish_acknowledged("linked/1/2", b"2")
    assert sorted([there.take().payload, there.take().payload]) == [b"1", b"2"]
    assert forwarding(us, "eu")["matched"] == 2


def test_system_topics_stay_at_home(linked: Linked, people: People) -> None:
    us, eu = linked
    people.subscriber(eu, "#", "+/broker/#")
    wait_routes(us, "eu", 2)
    assert forwarding(us, "eu")["matched"] == 0


def test_a_will_crosses(linked: Linked, people: People) -> None:
    us, eu = linked
    there = people.subscriber(eu, "wills/+")
    wait_routes(us, "eu", 1)
    people.client(us, will=Will(b"wills/1", b"gone", 1)).reset()
    assert there.take().payload == b"gone"


def test_a_persistent_session_over_there_gets_what_came_while_it_was_away(
    linked: Linked, people: People
) -> None:
    us, eu = linked
    kept: Properties = {Property.SESSION_EXPIRY_INTERVAL: 300}
    sleeper = people.client(eu, "sleeper", properties=kept)
    sleeper.subscribe("t", qos=1)
    wait_routes(us, "eu", 1)
    sleeper.drop()
    people.client(us).publish_acknowledged("t", b"kept for you")
    wait_settled(us, "eu")
    back = people.client(eu, "sleeper", clean_start=False, properties=kept)
    assert back.take().payload == b"kept for you"
    back.disconnect(properties={Property.SESSION_EXPIRY_INTERVAL: 0})


def _wired(start_broker: Brokers, links: dict[str, str]) -> dict[str, Broker]:
    """Clusters named by letters, each linked in both directions to those it says."""
    brokers = {name: start_broker(name=name, start=False) for name in links}
    for name, others in links.items():
        found = [link(other, brokers[other], pool_size=2) for other in others]
        brokers[name].write(cluster(name, *found))
        brokers[name].start()
    for name, others in links.items():
        for other in others:
            wait_running(brokers[name], other)
    return brokers


def _one_copy(brokers: dict[str, Broker], people: People, reached: set[str]) -> None:
    subscribers = {name: people.subscriber(broker, "t/#") for name, broker in brokers.items()}
    for broker in brokers.values():
        for other in _neighbours(broker):
            wait_routes(broker, other, 1)
    here = people.client(brokers["a"])
    for payload in (b"1", b"2", b"3"):
        here.publish_acknowledged("t/1", payload)
    for name in reached:
        assert [subscribers[name].take().payload for _ in range(3)] == [b"1", b"2", b"3"]
    for broker in brokers.values():
        for other in _neighbours(broker):
            wait_settled(broker, other)
    for one in subscribers.values():
        one.expect_nothing()


def _neighbours(broker: Broker) -> list[str]:
    return [it["name"] for it in call(broker, "GET", "/cluster/links")[1]]


def test_in_a_line_of_three_a_message_goes_one_link_far(
    start_broker: Brokers, people: People
) -> None:
    brokers = _wired(start_broker, {"a": "b", "b": "ac", "c": "b"})
    _one_copy(brokers, people, {"a", "b"})
    assert forwarding(brokers["b"], "c")["matched"] == 0


def test_in_a_triangle_everybody_gets_one_copy(start_broker: Brokers, people: People) -> None:
    brokers = _wired(start_broker, {"a": "bc", "b": "ac", "c": "ab"})
    _one_copy(brokers, people, {"a", "b", "c"})
    assert forwarding(brokers["b"], "c")["matched"] == 0
    assert forwarding(brokers["c"], "b")["matched"] == 0


def test_routes_are_told_in_both_directions(linked: Linked, people: People) -> None:
    us, eu = linked
    people.subscriber(eu, "a", "b", "$share/g/a")
    wait_routes(us, "eu", 3)
    assert told(eu, "us")["incoming"]["routes"] == 3
    assert told(us, "eu")["incoming"]["routes"] == 0
