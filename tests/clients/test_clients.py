"""Well-known clients against the running broker: each over each transport that it has, at both
protocol levels and every quality of service.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gmqtt
import paho.mqtt.client as paho
import pytest
from gmqtt.mqtt.constants import MQTTv50, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from brokers import Broker
from certificates import Pki
from rawmqtt import RawClient
from waiting import DEADLINE, wait_for, wait_for_async

KINDS = ("tcp", "ssl", "ws", "wss")
HERE = Path(__file__).parent
LEVELS = pytest.mark.parametrize("level", [4, 5], ids=["3.1.1", "5.0"])
ALL = pytest.mark.parametrize("kind", KINDS)
STREAMS = pytest.mark.parametrize("kind", ["tcp", "ssl"])

_numbers = itertools.count(1)


@pytest.fixture
def broker(module_broker: Broker) -> Broker:
    """A broker with a listener of each kind, for the whole module."""
    return module_broker


@pytest.fixture
def prefix() -> str:
    """Of topics that no other test uses."""
    return f"clients/{next(_numbers)}"


# -- mosquitto -----------------------------------------------------------------------------------


def mosquitto(broker: Broker, pki: Pki, kind: str, level: int, program: str) -> list[str]:
    found = shutil.which(program)
    assert found, f"{program}: expected Debian's mosquitto-clients"
    command = [found, "-h", "localhost", "-p", str(broker.ports[kind])]
    command += ["-V", "5" if level == 5 else "311"]
    return [*command, "--cafile", str(pki.ca)] if kind == "ssl" else command


@pytest.fixture
def mosquitto_sub(broker: Broker, pki: Pki, prefix: str) -> Iterator[Any]:
    """Call it with a transport and a level for a subscriber that is there by then."""
    made: list[subprocess.Popen[str]] = []

    def start(kind: str, level: int, count: int) -> subprocess.Popen[str]:
        command = mosquitto(broker, pki, kind, level, "mosquitto_sub")
        command += ["-t", f"{prefix}/#", "-q", "2", "-C", str(count), "-F", "%t|%p|%q|%r"]
        made.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        probe = RawClient(broker.port)
        probe.connect(f"{prefix}-probe")
        topic = f"{prefix}/probe"
        wait_for(lambda: probe.publish_acknowledged(topic, b"?") == 0, what="the subscription")
        probe.drop()
        return made[-1]

    yield start
    for process in made:
        if process.poll() is None:
            process.kill()
        process.communicate()


@STREAMS
@LEVELS
def test_mosquitto(
    broker: Broker, pki: Pki, prefix: str, mosquitto_sub: Any, kind: str, level: int
) -> None:
    subscriber = mosquitto_sub(kind, level, count=5)
    for qos in (0, 1, 2):
        command = mosquitto(broker, pki, kind, level, "mosquitto_pub")
        command += ["-t", f"{prefix}/{qos}", "-m", f"at {qos}", "-q", str(qos)]
        subprocess.run(command, check=True, timeout=DEADLINE)
    command = mosquitto(broker, pki, kind, level, "mosquitto_pub")
    lines = subprocess.run(
        [*command, "-t", f"{prefix}/lines", "-l", "-q", "1"],
        input="a line\n",
        text=True,
        check=True,
        timeout=DEADLINE,
    )
    assert lines.returncode == 0
    out, _ = subscriber.communicate(timeout=DEADLINE)
    assert subscriber.returncode == 0
    assert out.splitlines() == [
        f"{prefix}/probe|?|1|0",
        f"{prefix}/0|at 0|0|0",
        f"{prefix}/1|at 1|1|0",
        f"{prefix}/2|at 2|2|0",
        f"{prefix}/lines|a line|1|0",
    ]


def test_mosquitto_gets_what_is_retained(broker: Broker, pki: Pki, prefix: str) -> None:
    publish = mosquitto(broker, pki, "tcp", 5, "mosquitto_pub")
    publish += ["-t", prefix, "-m", "kept", "-r", "-q", "1"]
    subprocess.run([*publish, "-D", "publish", "user-property", "k", "v"], check=True, timeout=15)
    read = mosquitto(broker, pki, "tcp", 5, "mosquitto_sub")
    read += ["-t", prefix, "-C", "1", "-W", "10", "-F", "%p|%r|%P"]
    shown = subprocess.run(read, capture_output=True, text=True, check=True, timeout=15).stdout
    assert shown.strip() == "kept|1|k:v"


# -- paho ----------------------------------------------------------------------------------------


class Paho:
    """A paho client that keeps what it has got."""

    def __init__(
        self,
        broker: Broker,
        pki: Pki,
        kind: str,
        level: int,
        client_id: str,
        *,
        clean_session: bool | None = None,
    ) -> None:
        self.got: list[paho.MQTTMessage] = []
        self.connected = threading.Event()
        self.subscribed = threading.Event()
        self.codes: list[str] = []
        self.present = False
        client = self.client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session,
            protocol=paho.MQTTv5 if level == 5 else paho.MQTTv311,
            transport="websockets" if kind.startswith("ws") else "tcp",
        )
        if kind in ("ssl", "wss"):
            client.tls_set(str(pki.ca))
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = lambda _client, _data, message: self.got.append(message)
        client.connect("localhost", broker.ports[kind])
        client.loop_start()
        assert self.connected.wait(DEADLINE)

    def _on_connect(self, _client: Any, _data: Any, flags: Any, code: Any, _p: Any) -> None:
        self.present = flags.session_present
        self.codes.append(str(code))
        self.connected.set()

    def _on_subscribe(self, _client: Any, _data: Any, _mid: int, codes: Any, _p: Any) -> None:
        self.codes += map(str, codes)
        self.subscribed.set()

    def subscribe(self, topic: str) -> None:
        """Subscribe at QoS 2, and wait until that is granted."""
        self.client.subscribe(topic, qos=2)
        assert self.subscribed.wait(DEADLINE)

    def close(self) -> None:
        """Disconnect."""
        self.client.disconnect()
        self.client.loop_stop()


@ALL
@LEVELS
def test_paho(broker: Broker, pki: Pki, prefix: str, kind: str, level: int) -> None:
    one = Paho(broker, pki, kind, level, f"{prefix}-paho")
    try:
        one.subscribe(f"{prefix}/#")
        assert one.codes == ["Success", "Granted QoS 2"]
        for qos in (0, 1, 2):
            properties = None
            if level == 5:
                properties = Properties(PacketTypes.PUBLISH)
                properties.UserProperty = [("k", "v"), ("k", str(qos))]
                properties.CorrelationData = bytes(range(256))
            sent = one.client.publish(f"{prefix}/{qos}", f"at {qos}", qos, properties=properties)
            sent.wait_for_publish(DEADLINE)
        wait_for(lambda: len(one.got) == 3)
        assert [(it.topic, it.payload.decode(), it.qos) for it in one.got] == [
            (f"{prefix}/{qos}", f"at {qos}", qos) for qos in (0, 1, 2)
        ]
        if level == 5:
            assert one.got[2].properties.UserProperty == [("k", "v"), ("k", "2")]
            assert one.got[2].properties.CorrelationData == bytes(range(256))
    finally:
        one.close()


@ALL
def test_paho_sends_a_megabyte(broker: Broker, pki: Pki, prefix: str, kind: str) -> None:
    """Over WebSocket, too, where it comes in many frames."""
    one = Paho(broker, pki, kind, 5, f"{prefix}-paho")
    try:
        one.subscribe(f"{prefix}/#")
        body = bytes(range(256)) * 4000
        one.client.publish(f"{prefix}/large", body, 1).wait_for_publish(DEADLINE)
        wait_for(lambda: one.got)
        assert one.got[0].payload == body
    finally:
        one.close()


def test_paho_goes_on_with_its_session(broker: Broker, pki: Pki, prefix: str) -> None:
    name = f"{prefix}-session"
    first = Paho(broker, pki, "tcp", 4, name, clean_session=False)
    first.subscribe(prefix)
    first.close()
    other = Paho(broker, pki, "ws", 4, f"{prefix}-other")
    other.client.publish(prefix, b"while you were away", 1).wait_for_publish(DEADLINE)
    other.close()
    again = Paho(broker, pki, "ssl", 4, name, clean_session=False)
    try:
        wait_for(lambda: [it.payload for it in again.got] == [b"while you were away"])
        assert (first.present, again.present) == (False, True)
    finally:
        again.close()


# -- gmqtt ---------------------------------------------------------------------------------------


@STREAMS
@LEVELS
async def test_gmqtt(broker: Broker, pki: Pki, prefix: str, kind: str, level: int) -> None:
    client = gmqtt.Client(f"{prefix}-gmqtt")
    got: list[tuple[str, bytes, int, Any]] = []
    subscribed = asyncio.Event()
    client.on_subscribe = lambda *_: subscribed.set()

    def on_message(_client: Any, topic: str, payload: bytes, qos: int, properties: Any) -> int:
        got.append((topic, bytes(payload), qos, properties.get("user_property")))
        return 0

    client.on_message = on_message
    version = MQTTv50 if level == 5 else MQTTv311
    tls: Any = pki.context() if kind == "ssl" else False
    await client.connect("localhost", broker.ports[kind], ssl=tls, version=version)
    client.subscribe(f"{prefix}/#", qos=2)
    await asyncio.wait_for(subscribed.wait(), DEADLINE)
    for qos in (0, 1, 2):
        more: Any = {"user_property": ("k", str(qos))} if level == 5 else {}
        client.publish(f"{prefix}/{qos}", f"at {qos}", qos=qos, **more)
    await wait_for_async(lambda: len(got) == 3)
    assert sorted(got, key=lambda it: it[0]) == [
        (f"{prefix}/{qos}", b"at %d" % qos, qos, [("k", str(qos))] if level == 5 else None)
        for qos in (0, 1, 2)
    ]
    await client.disconnect()


# -- MQTT.js -------------------------------------------------------------------------------------

SCHEMES = {"tcp": "mqtt://", "ssl": "mqtts://", "ws": "ws://", "wss": "wss://"}


@ALL
@LEVELS
def test_mqtt_js(broker: Broker, pki: Pki, prefix: str, kind: str, level: int) -> None:
    node = shutil.which("node")
    assert node, "expected Node.js"
    assert (HERE / "node_modules/mqtt").exists(), "expected the packages of tests/clients"
    path = "/mqtt" if kind.startswith("ws") else ""
    url = f"{SCHEMES[kind]}localhost:{broker.ports[kind]}{path}"
    done = subprocess.run(
        [node, str(HERE / "round_trip.mjs"), url, str(level), str(pki.ca), prefix],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    came = [json.loads(line) for line in done.stdout.splitlines()]
    assert came == [
        *(
            {
                "topic": f"{prefix}/{qos}",
                "payload": f"from MQTT.js, {qos}",
                "qos": qos,
                "retain": False,
                "user": {"key": f"value {qos}"} if level == 5 else None,
            }
            for qos in (0, 1, 2)
        ),
        *(
            {
                "topic": f"{prefix}/{name}",
                "payload": payload,
                "qos": 1,
                "retain": False,
                "user": None,
            }
            for name, payload in (("retained", "kept"), ("will", "gone"), ("retained", ""))
        ),
    ]


# -- all of them ---------------------------------------------------------------------------------


def test_a_message_published_over_one_transport_comes_over_all(
    broker: Broker, pki: Pki, prefix: str
) -> None:
    """Between protocol levels, too."""
    everybody = [
        Paho(broker, pki, kind, level, f"{prefix}-{kind}-{level}")
        for kind in KINDS
        for level in (4, 5)
    ]
    try:
        for one in everybody:
            one.subscribe(f"{prefix}/#")
        for number, one in enumerate(everybody):
            one.client.publish(f"{prefix}/{number}", b"%d" % number, 1).wait_for_publish(DEADLINE)
        wait_for(lambda: all(len(one.got) == len(everybody) for one in everybody))
        for one in everybody:
            assert [it.payload for it in one.got] == [b"%d" % n for n in range(len(everybody))]
    finally:
        for one in everybody:
            one.close()
