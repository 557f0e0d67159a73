"""The quick start's own two configuration files, with mosquitto's clients.

`seed/` holds the files as the quick start shows them; tests put loopback ports in place of its host
names. The names as they stand lead each cluster to itself, which is a test of its own.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from brokers import Broker, Brokers, free_ports
from linked import People, forwarding, told, wait_routes, wait_running, wait_state
from waiting import wait_for

SEED = Path(__file__).parent / "seed"
US, EU = "cluster-us-east", "cluster-eu-west"


class Seeded:
    """The two clusters."""

    def __init__(self, start_broker: Brokers) -> None:
        self.us = start_broker(name=US, start=False)
        self.eu = start_broker(name=EU, start=False)
        for broker in (self.us, self.eu):
            broker.ports["clink"] = free_ports(1)[0]
        self.us.write(self.text("us-east.conf", own=self.us, server=self.eu))
        self.eu.write(self.text("eu-west.conf", own=self.eu, server=self.us))

    def text(self, file: str, own: Broker, server: Broker) -> str:
        """One of the quick start's files."""
        found = (SEED / file).read_text()
        for host in ("emqx.us-east.myinfra.net:11883", "emqx.eu-west.myinfra.net:11883"):
            found = found.replace(host, f"127.0.0.1:{server.ports['clink']}")
        return found.replace("bind = 11883", f"bind = {own.ports['clink']}")

    def start(self) -> None:
        """Start both, and wait until both directions run."""
        self.us.start()
        self.eu.start()
        wait_running(self.us, EU)
        wait_running(self.eu, US)


@pytest.fixture
def seeded(start_broker: Brokers) -> Seeded:
    """The two clusters, running."""
    made = Seeded(start_broker)
    made.start()
    return made


class Sub:
    """A `mosquitto_sub` that prints each message on a line."""

    def __init__(self, broker: Broker, topic: str, qos: int) -> None:
        command = ["mosquitto_sub", "-p", str(broker.port), "-t", topic, "-q", str(qos)]
        self._process = subprocess.Popen(
            [*command, "-F", "%t|%p|%q|%r"], stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def line(self) -> str:
        """The next message: topic, payload, QoS, retain flag."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.communicate(timeout=10)


@pytest.fixture
def subs() -> Iterator[list[Sub]]:
    """What is put in is ended after the test."""
    found: list[Sub] = []
    yield found
    for sub in found:
        sub.close()


def pub(broker: Broker, topic: str, payload: str, qos: int = 0) -> None:
    """Run `mosquitto_pub`."""
    command = ["mosquitto_pub", "-p", str(broker.port), "-t", topic, "-m", payload]
    subprocess.run([*command, "-q", str(qos)], check=True, timeout=15)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_cross_in_both_directions(seeded: Seeded, subs: list[Sub], qos: int) -> None:
    us, eu = seeded.us, seeded.eu
    subs += [Sub(us, "linked/#", qos), Sub(eu, "linked/#", qos)]
    wait_routes(eu, US, 1)
    wait_routes(us, EU, 1)
    pub(eu, "linked/42", "Hello from the other side!", qos)
    assert subs[0].line() == f"linked/42|Hello from the other side!|{qos}|0"
    assert subs[1].line() == f"linked/42|Hello from the other side!|{qos}|0"
    pub(us, "linked/1", "Hello from US!", qos)
    assert subs[1].line() == f"linked/1|Hello from US!|{qos}|0"
    assert subs[0].line() == f"linked/1|Hello from US!|{qos}|0"


def test_the_links_client_ids_begin_as_configured(seeded: Seeded) -> None:
    assert told(seeded.us, EU)["clientid"] == "clink-us-east"
    assert told(seeded.eu, US)["clientid"] == "clink-eu-west"


def test_topics_may_be_emptied_and_given_back_while_running(
    seeded: Seeded, subs: list[Sub], people: People
) -> None:
    """The asymmetric variant: nothing to eu-west any more, and nobody loses its connection."""
    us, eu = seeded.us, seeded.eu
    here, there = people.client(us), people.client(eu)
    subs += [Sub(us, "linked/#", 1), Sub(eu, "linked/#", 1)]
    wait_routes(eu, US, 1)
    wait_routes(us, EU, 1)
    both = seeded.text("eu-west.conf", own=eu, server=us)
    listeners = both[both.index("# Dedicated listener") :]
    eu.write(seeded.text("eu-west-asymmetric.conf", own=eu, server=us) + listeners)
    wait_routes(us, EU, 0)
    pub(us, "linked/1", "only here", 1)
    assert subs[0].line() == "linked/1|only here|1|0"
    pub(eu, "linked/42", "still crosses", 1)
    assert subs[0].line() == "linked/42|still crosses|1|0"
    assert subs[1].line() == "linked/42|still crosses|1|0"  # and "only here" did not come
    assert forwarding(us, EU)["matched"] == 0
    wait_running(eu, US)
    eu.write(both)
    wait_routes(us, EU, 1)
    pub(us, "linked/1", "both again", 1)
    assert subs[1].line() == "linked/1|both again|1|0"
    for one in (here, there):
        one.expect_nothing()  # on the connection of the beginning


def test_the_quick_starts_host_names_lead_each_cluster_to_itself(start_broker: Brokers) -> None:
    seeded = Seeded(start_broker)
    us = seeded.us
    us.write(seeded.text("us-east.conf", own=us, server=us))
    us.start()
    wait_state(us, EU, "inconsistent", f'is this cluster itself, "{US}"')
    assert f'expected the address of "{EU}"' in told(us, EU)["reason"]


def test_a_link_comes_up_whichever_cluster_starts_first(start_broker: Brokers) -> None:
    seeded = Seeded(start_broker)
    seeded.eu.start()
    wait_for(lambda: "link disconnected" in seeded.eu.log())
    seeded.us.start()
    wait_running(seeded.us, EU)
    wait_running(seeded.eu, US)
