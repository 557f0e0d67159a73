"""Linked brokers for tests: what their files say, what they tell of their links, traffic between.

Brokers are processes (`brokers`); what is awaited is read from the admin API, as a user would.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any, Final

from brokers import Broker, Brokers
from isthmus_broker.mqtt.codes import V5, PacketType
from isthmus_broker.mqtt.packets import Publish
from proxy import TcpProxy
from rawmqtt import CLOSED, Closed, RawClient
from waiting import DEADLINE, wait_for

Link = dict[str, Any]
"""A link as in `cluster.links`."""
_API_TIMEOUT: Final = 5.0


# -- configuration -------------------------------------------------------------------------------


def link(name: str, server: Broker | int | str, **settings: Any) -> Link:
    """A link that wants everything; `server`: a broker, a port of 127.0.0.1, or as in the file."""
    if isinstance(server, Broker):
        server = server.port
    address = server if isinstance(server, str) else f"127.0.0.1:{server}"
    return {"name": name, "server": address, "topics": ["#"], **settings}


def cluster(name: str, *links: Link, more: str = "") -> str:
    """What a configuration file says of a cluster; HOCON takes JSON."""
    return f"cluster {json.dumps({'name': name, 'links': links})}\n{more}\n"


def pair(start_broker: Brokers, **settings: Any) -> tuple[Broker, Broker]:
    """Clusters `us` and `eu`, linked in both directions by equal settings; back when they run."""
    us, eu = start_broker(name="us", start=False), start_broker(name="eu", start=False)
    us.write(cluster("us", link("eu", eu, **settings)))
    eu.write(cluster("eu", link("us", us, **settings)))
    us.start()
    eu.start()
    wait_running(us, "eu")
    wait_running(eu, "us")
    return us, eu


class Gated:
    """Clusters us and eu, where what us sends to eu passes a proxy."""

    def __init__(
        self, start_broker: Brokers, proxy: Callable[[int], TcpProxy], **settings: object
    ) -> None:
        self.us = start_broker(name="us", start=False)
        self.eu = start_broker(name="eu", start=False)
        self.gate = proxy(self.eu.port)
        self.us.write(cluster("us", link("eu", self.gate.port, **settings)))
        self.eu.write(cluster("eu", link("us", self.us)))
        self.us.start()
        self.eu.start()
        wait_running(self.us, "eu")
        wait_running(self.eu, "us")

    def lose_eu(self) -> None:
        """End eu behind a gate that stays shut, and wait until us knows."""
        self.gate.hold()
        self.eu.kill()
        self.gate.cut()
        wait_for(lambda: told(self.us, "eu")["status"] != "running", what="us knows")


Gate = Callable[..., Gated]


# -- the admin API -------------------------------------------------------------------------------


def call(broker: Broker, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Call the admin API; returns the status and the answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{broker.api}/api/v5{path}", data, method=method)
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=_API_TIMEOUT) as answer:
            status, said = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            status, said = error.code, error.read()
    return status, json.loads(said) if said else None


def told(broker: Broker, name: str) -> dict[str, Any]:
    """What the broker tells of a link, its directions with it."""
    status, answer = call(broker, "GET", f"/cluster/links/link/{name}")
    assert status == 200, answer
    return {**answer, **answer["node_status"][0]}


def forwarding(broker: Broker, name: str) -> dict[str, Any]:
    """What has become of the messages for another cluster."""
    status, answer = call(broker, "GET", f"/cluster/links/link/{name}/metrics")
    assert status == 200, answer
    found = answer["metrics"]["forwarding"]
    assert isinstance(found, dict)
    return found


def _asks(broker: Broker, name: str) -> dict[str, Any]:
    """As `told`; nothing while the broker is not there yet, or has no such link yet."""
    try:
        status, answer = call(broker, "GET", f"/cluster/links/link/{name}")
    except OSError:
        return {}
    return {**answer, **answer["node_status"][0]} if status == 200 else {}


def wait_state(
    broker: Broker, name: str, state: str, reason: str = "", timeout: float = DEADLINE
) -> dict[str, Any]:
    """Wait until a link is in this state, with `reason` within its reason."""
    seen: dict[str, Any] = {}

    def is_so() -> bool:
        seen.update(_asks(broker, name))
        return seen.get("status") == state and reason in seen["reason"]

    try:
        wait_for(is_so, timeout)
    except AssertionError as error:
        raise AssertionError(
            f'link {name}: not "{state}" with "{reason}" within {timeout:g} s but '
            f'"{seen.get("status")}" with "{seen.get("reason")}"'
        ) from error
    return seen


def wait_running(broker: Broker, name: str, timeout: float = DEADLINE) -> dict[str, Any]:
    """Wait until a link runs, in both directions."""
    return wait_state(broker, name, "running", timeout=timeout)


def wait_routes(broker: Broker, name: str, count: int, timeout: float = DEADLINE) -> None:
    """Wait until the other cluster has announced just so many routes to this broker."""
    wait_for(
        lambda: _asks(broker, name).get("outgoing", {}).get("routes") == count,
        timeout,
        f"{count} routes of {name}",
    )


def wait_settled(broker: Broker, name: str, timeout: float = DEADLINE) -> None:
    """Wait until nothing waits for the other cluster any more."""
    wait_for(
        lambda: forwarding(broker, name)["queuing"] + forwarding(broker, name)["inflight"] == 0,
        timeout,
        f"nothing left for {name}",
    )


# -- clients -------------------------------------------------------------------------------------


class People:
    """The clients of one test, which are closed after it."""

    def __init__(self) -> None:
        self._clients: list[RawClient] = []
        self._threads: list[threading.Thread] = []

    def client(
        self, broker: Broker | int, client_id: str = "", level: int = V5, **fields: Any
    ) -> RawClient:
        """A connected client (fields as in CONNECT)."""
        one = RawClient(broker if isinstance(broker, int) else broker.port, level)
        self._clients.append(one)
        answer = one.connect(client_id or f"client-{len(self._clients)}", **fields)
        assert answer.reason_code == 0, answer
        return one

    def subscriber(
        self, broker: Broker | int, *filters: str, qos: int = 1, level: int = V5, **options: Any
    ) -> RawClient:
        """A connected client that has subscribed (options as in SUBSCRIBE)."""
        one = self.client(broker, level=level)
        answer = one.subscribe(*filters, qos=qos, **options)
        assert max(answer.codes) < 0x80, answer
        return one

    def collector(
        self, broker: Broker | int, *filters: str, qos: int = 1, **options: Any
    ) -> Collector:
        """A subscriber that takes what comes."""
        found = Collector(self.subscriber(broker, *filters, qos=qos, **options))
        self._threads.append(found)
        return found

    def talker(self, broker: Broker, topic: str, pause: float = 0.002) -> Talker:
        """A client that publishes numbered messages."""
        found = Talker(self.client(broker, f"talker-{topic}"), topic, pause)
        self._threads.append(found)
        return found

    def close(self) -> None:
        """Close everything."""
        for one in self._clients:
            with contextlib.suppress(OSError):
                one.socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(DEADLINE)
        for one in self._clients:
            one.drop()


class Collector(threading.Thread):
    """Takes and acknowledges what comes for a client, until the connection ends."""

    def __init__(self, one: RawClient) -> None:
        super().__init__(daemon=True)
        self.got: list[Publish] = []
        self._client = one
        one.socket.settimeout(None)
        self.start()

    def run(self) -> None:
        """Take what comes."""
        one = self._client
        try:
            while True:
                packet = one.receive()
                if isinstance(packet, Publish):
                    if packet.qos:
                        one.ack(PacketType.PUBACK, packet)
                    self.got.append(packet)
        except (Closed, OSError):
            return

    @property
    def payloads(self) -> list[bytes]:
        """What has come, in its order."""
        return [packet.payload for packet in list(self.got)]

    def of(self, topic: str) -> list[bytes]:
        """What has come on one topic, in its order."""
        return [it.payload for it in list(self.got) if it.topic == topic.encode()]

    def wait(self, count: int, timeout: float = 30.0) -> list[bytes]:
        """Wait until so many different messages have come."""
        wait_for(
            lambda: len(set(self.payloads)) >= count,
            timeout,
            f"{count} messages: {len(set(self.payloads))} have come",
        )
        return self.payloads


class Talker(threading.Thread):
    """Publishes numbered messages at QoS 1 until told to stop, each once the last is accepted."""

    def __init__(self, one: RawClient, topic: str, pause: float) -> None:
        super().__init__(daemon=True)
        self.topic = topic
        self.accepted: list[bytes] = []
        """Payloads that the publisher's own broker has acknowledged."""
        self._client = one
        self._pause = pause
        self._enough = threading.Event()
        self.start()

    def run(self) -> None:
        """Publish."""
        number = 0
        try:
            while not self._enough.wait(self._pause):
                number += 1
                payload = b"%d" % number
                if self._client.publish_acknowledged(self.topic, payload) < 0x80:
                    self.accepted.append(payload)
        except (*CLOSED, Closed, OSError, AssertionError):
            return

    def wait(self, count: int) -> None:
        """Wait until so many messages have been accepted, from now on."""
        wanted = len(self.accepted) + count
        wait_for(lambda: len(self.accepted) >= wanted, what=f"{count} more messages accepted")

    def stop(self) -> list[bytes]:
        """Stop publishing; returns what has been accepted."""
        self._enough.set()
        self.join(DEADLINE)
        assert not self.is_alive()
        return self.accepted


def firsts(payloads: Sequence[bytes]) -> list[bytes]:
    """The first time that each was seen: repetitions left out."""
    return list(dict.fromkeys(payloads))


def pipeline(one: RawClient, topic: str, payloads: Sequence[bytes], window: int = 100) -> None:
    """Publish at QoS 1, with so many unacknowledged at a time; all are accepted."""
    for start in range(0, len(payloads), window):
        part = payloads[start : start + window]
        sent = [Publish(topic.encode(), payload, 1, packet_id=one.packet_id()) for payload in part]
        one.send(*sent)
        for packet in sent:
            assert one.expect_ack(PacketType.PUBACK, packet).reason_code < 0x80
