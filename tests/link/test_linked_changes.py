"""Links changed by the configuration file while they run: only what changed is touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from brokers import Broker, Brokers, free_ports, is_listening
from emqx import EmqxClient, EmqxServer
from linked import People, call, cluster, forwarding, link, told, wait_state
from waiting import wait_for


@pytest.fixture
def eu() -> Iterator[EmqxServer]:
    """A server that links take for EMQX."""
    server = EmqxServer()
    yield server
    server.close()


@pytest.fixture
def us(start_broker: Brokers) -> Broker:
    return start_broker(cluster("us"), name="us")


def take_up(us: Broker, config: str) -> None:
    """Change the file, and have it taken up at once instead of a second or two later."""
    before = us.log().count("configuration taken up")
    us.write(config)
    us.hang_up()
    us.wait_log("configuration taken up", before + 1)


def test_links_come_change_and_go_with_the_file(us: Broker, eu: EmqxServer, people: People) -> None:
    bystander = people.subscriber(us, "bystander")
    take_up(us, cluster("us", link("eu", eu.port, pool_size=1)))
    (lane,) = eu.wait_live("msg")
    eu.wait_inits(1)
    take_up(us, cluster("us", link("eu", eu.port, pool_size=1, topics=["x/#"])))
    eu.wait_inits(2)
    assert not lane.closed
    take_up(us, cluster("us", link("eu", eu.port, pool_size=1, topics=["x/#"], enable=False)))
    wait_state(us, "eu", "stopped")
    eu.wait_live("msg", 0)
    take_up(us, cluster("us", link("eu", eu.port, pool_size=1, topics=["x/#"])))
    eu.wait_live("msg")
    take_up(us, cluster("us"))
    eu.wait_live("msg", 0)
    assert call(us, "GET", "/cluster/links") == (200, [])
    bystander.publish_acknowledged("bystander", b"the same connection all the while")
    assert bystander.take().payload == b"the same connection all the while"


def test_a_file_that_says_the_same_in_other_words_touches_nothing(
    us: Broker, eu: EmqxServer
) -> None:
    take_up(us, cluster("us", link("eu", eu.port, pool_size=1)))
    eu.wait_live("msg")
    eu.wait_inits()
    us.write(
        f"""cluster.name = us
        cluster.links = [{{ upstream = eu, server = "127.0.0.1:{eu.port}", pool_size = 1,
          topics = ["#"], retry_interval = 15000ms }}]
        log.level = debug"""
    )
    us.hang_up()
    us.wait_log("configuration taken up", 2)
    assert (eu.attempts, len(eu.inits)) == (2, 1)


def test_a_bad_file_leaves_the_running_configuration_in_force(
    us: Broker, eu: EmqxServer, people: People
) -> None:
    good = cluster("us", link("eu", eu.port, pool_size=1))
    take_up(us, good)
    eu.wait_live("msg")
    here = people.client(us)
    for wrong, told_of in (
        (good.replace("#", "a/#/b"), "cluster.links[0].topics[0]"),
        (good.replace('"topics"', '"topic"'), "cluster.links[0].topic"),
        ("cluster {", "expected"),
        (good + "listeners.tcp.default.bind = 99999\n", "listeners.tcp.default.bind"),
        (good + "mqtt.max_packet_size = nonsense\n", "mqtt.max_packet_size"),
    ):
        before = us.log().count("not taken up")
        us.write(wrong)
        us.hang_up()
        us.wait_log("not taken up", before + 1)
        error = call(us, "GET", "/status")[1]["configuration"]["error"]
        assert told_of in error
        assert "broker.conf" in error
    here.expect_nothing()
    assert (eu.attempts, len(eu.live("msg"))) == (2, 1)
    us.write(good)
    us.hang_up()
    wait_for(lambda: not call(us, "GET", "/status")[1]["configuration"]["error"])


def test_a_swapped_symbolic_link_is_noticed_as_kubernetes_makes_it(
    us: Broker, eu: EmqxServer, people: People
) -> None:
    """Without a signal: the file is a link through `..data`, which is swapped as a whole."""
    here = people.client(us)
    directory = us.directory

    def swap(name: str, config: str) -> None:
        us.write(config)  # with what every configuration of the test begins with
        content = us.file.read_text()
        (directory / name).mkdir()
        (directory / name / "broker.conf").write_text(content)
        new = directory / "..new"
        new.symlink_to(name)
        new.replace(directory / "..data")
        if not us.file.is_symlink():
            us.file.unlink()
            us.file.symlink_to(Path("..data") / "broker.conf")

    us.file.unlink()
    first = cluster("us", link("eu", eu.port, pool_size=1))
    swap("one", first)
    eu.wait_live("msg")
    us.file.unlink()
    swap("two", cluster("us", link("eu", eu.port, pool_size=1, enable=False)))
    wait_state(us, "eu", "stopped")
    here.expect_nothing()


def test_an_include_that_changes_is_taken_up(us: Broker, eu: EmqxServer) -> None:
    (us.directory / "links.conf").write_text("cluster.links = []\n")
    take_up(us, 'cluster.name = us\ninclude "links.conf"\nlog.level = debug\n')
    (us.directory / "links.conf").write_text(
        f'cluster.links = [{{ name = eu, server = "127.0.0.1:{eu.port}", topics = [] }}]'
    )
    eu.wait_live("msg", 8)


def test_listeners_open_and_close_and_leave_others_alone(us: Broker, people: People) -> None:
    stays = people.client(us)
    (more,) = free_ports(1)
    listener = f'listeners.tcp.more {{ bind = "127.0.0.1:{more}", max_connections = 1 }}\n'
    take_up(us, cluster("us", more=listener))
    wait_for(lambda: is_listening(more))
    goes = people.client(more)
    take_up(us, cluster("us", more=listener.replace("max_connections = 1", "max_connections = 2")))
    goes.expect_nothing()
    people.client(more)
    take_up(us, cluster("us"))
    wait_for(lambda: not is_listening(more))
    goes.expect_disconnect(0x98)
    stays.expect_nothing()


def test_a_new_name_of_the_cluster_begins_every_link_anew(us: Broker, eu: EmqxServer) -> None:
    take_up(us, cluster("us", link("eu", eu.port, pool_size=1)))
    eu.wait_live("routesync")
    eu.wait_inits()
    take_up(us, cluster("us-2", link("eu", eu.port, pool_size=1)))
    wait_for(lambda: [it.connect.client_id[:5] for it in eu.live("routesync")] == ["us-2:"])
    eu.wait_inits(2)
    (routes,) = eu.live("routesync")
    assert routes.publishes[0].topic == b"$LINK/cluster/route/us-2"


def test_changes_by_the_admin_api_last_over_restarts(
    us: Broker, eu: EmqxServer, people: People
) -> None:
    body = link("eu", eu.port, pool_size=1, username="u", password="s3cret")
    assert call(us, "POST", "/cluster/links", body)[0] == 201
    eu.wait_live("msg")
    us.restart()
    eu.wait_live("msg")
    shown = told(us, "eu")
    assert shown["password"] == "******"
    assert call(us, "PUT", "/cluster/links/link/eu", {**body, "password": "******"})[0] == 200
    us.restart()
    (lane,) = eu.wait_live("msg")
    assert lane.connect.password == b"s3cret"
    assert call(us, "DELETE", "/cluster/links/link/eu")[0] == 204
    us.restart()
    assert call(us, "GET", "/cluster/links") == (200, [])
    assert "s3cret" not in us.log()


def test_a_buffer_made_smaller_keeps_what_fits(us: Broker, eu: EmqxServer, people: People) -> None:
    take_up(us, cluster("us", link("eu", eu.port, pool_size=1)))
    eu.wait_live("msg")
    peer = EmqxClient(us.port, "eu")
    peer.hello()
    peer.introduce("us")
    peer.routes((b"t", b"t"))
    eu.acknowledging.clear()
    here = people.client(us)
    for number in range(40):
        here.publish_acknowledged("t", b"%02d" % number + bytes(1000))
    assert forwarding(us, "eu")["matched"] == 40
    take_up(us, cluster("us", link("eu", eu.port, pool_size=1, buffer={"max_bytes": "13KB"})))
    figures = forwarding(us, "eu")
    assert figures["matched"] == 40
    dropped = figures["dropped_by"]["buffer_full"]
    assert 25 <= dropped <= 30
    eu.acknowledging.set()
    eu.acknowledge()
    wait_for(lambda: forwarding(us, "eu")["success"] == 40 - dropped)
    peer.drop()
