"""What a running node shows of itself: the admin API, metrics and `$SYS` topics."""

from __future__ import annotations

import urllib.request

import pytest

from brokers import Broker, Brokers
from linked import People, call, cluster, link, wait_state
from waiting import wait_for

SYS = """
sys_topics.sys_msg_interval = 1s
authorization.rules = [{ permit = allow, action = subscribe, topics = ["$SYS/#"] }]
"""


@pytest.fixture(scope="module")
def node(module_brokers: Brokers) -> Broker:
    """A node with a link that finds nobody."""
    return module_brokers(cluster("us", link("eu", 1), more=SYS))


def get(broker: Broker, path: str) -> str:
    with urllib.request.urlopen(broker.api + path, timeout=5) as answer:
        found: bytes = answer.read()
    return found.decode()


def test_it_is_alive_and_ready(node: Broker) -> None:
    assert get(node, "/healthz") == "ok\n"
    wait_for(lambda: get(node, "/readyz") == "ok\n")


def test_the_status_tells_clients_and_configuration(node: Broker, people: People) -> None:
    people.client(node)
    status, told = call(node, "GET", "/status")
    assert status == 200
    assert (told["cluster"], told["ready"], told["connections"]) == ("us", True, 1)
    assert told["configuration"]["file"] == str(node.file)
    assert told["configuration"]["error"] == ""


def test_the_status_tells_why_a_changed_file_is_not_in_force(start_broker: Brokers) -> None:
    broker = start_broker("mqtt.max_qos_allowed = 1")

    def told() -> tuple[str, str]:
        found = call(broker, "GET", "/status")[1]["configuration"]
        return found["hash"], found["error"]

    before, error = told()
    assert not error
    broker.write("mqtt.max_qos_allowed = 3")
    wait_for(lambda: "mqtt.max_qos_allowed" in told()[1], what="the mistake")
    assert told()[0] == before
    broker.write("mqtt.max_qos_allowed = 2")
    wait_for(lambda: told()[0] != before)
    assert told()[1] == ""


def test_metrics_count_messages_and_show_links(node: Broker, people: People) -> None:
    here = people.subscriber(node, "t")
    here.publish_acknowledged("t")
    here.take()
    wait_state(node, "eu", "disconnected", "Connection refused")
    lines = get(node, "/metrics").splitlines()
    figures = {name: value for name, _, value in (line.rpartition(" ") for line in lines)}
    assert float(figures["isthmus_messages_received_total"]) >= 1
    assert float(figures["isthmus_messages_sent_total"]) >= 1
    assert figures['isthmus_link_up{link="eu"}'] == "0.0"
    assert float(figures["process_resident_memory_bytes"]) > 1e6


def test_sys_topics_tell_what_there_is(node: Broker, people: People) -> None:
    here = people.subscriber(node, "$SYS/brokers/+/version", "$SYS/brokers/+/links/eu/status")
    first = {it.topic: it for it in (here.take(), here.take())}
    assert all(packet.retain for packet in first.values())
    assert {topic.rpartition(b"/")[2] for topic in first} == {b"version", b"status"}
    again = here.take()  # and again, each second
    assert (again.retain, again.topic in first) == (False, True)


def test_sys_topics_are_not_for_everybody(start_broker: Brokers, people: People) -> None:
    broker = start_broker()
    assert people.client(broker).subscribe("$SYS/#").codes == [0x87]


def test_the_api_moves_and_ends_with_the_configuration(start_broker: Brokers) -> None:
    broker = start_broker()
    here = broker.ports["api"]
    assert get(broker, "/healthz") == "ok\n"
    broker.write("api.enable = false")
    broker.wait_log("configuration taken up")
    with pytest.raises(OSError, match="refused"):
        get(broker, "/healthz")
    broker.write("")
    broker.wait_log(f"bind=127.0.0.1:{here} listener=api", count=2)
    assert get(broker, "/healthz") == "ok\n"
