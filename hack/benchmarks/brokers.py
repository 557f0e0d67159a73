"""The three brokers, alone and as linked pairs: their configuration and their processes.

Each stands as it comes, but for limits that would end a load early (docs/benchmarks.md lists
them). Clients speak MQTT 3.1.1 to all of them, nats-server included.
"""

from __future__ import annotations

import getpass
import json
import re
import select
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks import clients, machine, mqtt
from benchmarks.processes import Process

ISTHMUS: Final = "Isthmus"
MOSQUITTO: Final = "mosquitto"
NATS: Final = "nats-server"
NAMES: Final = (ISTHMUS, MOSQUITTO, NATS)
LINKED: Final = "bench/#"
"""What the links of all pairs carry."""
_LINKED_WITHIN: Final = 30.0
"""Seconds that a link has to come up."""


@dataclass
class Broker:
    """A running broker; `port` speaks MQTT."""

    name: str
    port: int
    process: Process
    api_port: int = 0
    config: Path = field(default_factory=Path)

    def api(self, path: str) -> Any:
        """What the admin API (of Isthmus) answers to GET."""
        url = f"http://127.0.0.1:{self.api_port}{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)


@dataclass(frozen=True)
class Pair:
    """Two linked brokers: what is published on `near` arrives at subscribers of `far`."""

    near: Broker
    far: Broker

    @property
    def processes(self) -> list[Process]:
        """Both processes."""
        return [self.near.process, self.far.process]

    def wait_linked(self) -> None:
        """Wait until a message gets across.

        Raises:
            LoadError: none does, in time.
        """
        topic, deadline = "bench/linked", time.monotonic() + _LINKED_WITHIN
        packet = mqtt.publish(topic, b"are you there?")
        with (
            clients.subscriber(self.far.port, "linked-sub", topic) as there,
            clients.connect(self.near.port, "linked-pub") as here,
        ):
            while time.monotonic() < deadline:
                here.sendall(packet)
                if select.select([there], [], [], 0.1)[0]:
                    return
        raise clients.LoadError(f"the link of {self.near.name} carries nothing")


class Hall:
    """Starts brokers in a directory of their own, and ends every one of them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ends = ExitStack()
        self._count = 0
        self._cores = machine.cores().brokers

    def close(self) -> None:
        """End all processes."""
        self._ends.close()

    def alone(self, name: str) -> Broker:
        """One broker by itself."""
        return _ALONE[name](self)

    def linked(self, name: str) -> Pair:
        """Two of them, linked in both directions where the broker has that."""
        pair = _LINKED[name](self)
        pair.wait_linked()
        return pair

    def isthmus(self, cluster: str, ports: tuple[int, int], links: str = "") -> Broker:
        """An Isthmus: `ports` are those of MQTT and of the admin API; `links` is HOCON."""
        port, api_port = ports
        config = self.file(f"{cluster}-{port}.conf", isthmus_config(cluster, ports, links))
        command = [sys.executable, "-P", "-m", "isthmus_broker", "run", "--config", str(config)]
        process = self._start(f"isthmus-{cluster}", command, port)
        process.wait_listening(api_port)
        return Broker(ISTHMUS, port, process, api_port, config)

    def mosquitto(self, port: int, bridge: str = "") -> Broker:
        """A mosquitto; `bridge` is more configuration."""
        text = _MOSQUITTO.format(port=port, user=getpass.getuser(), bridge=bridge)
        config = self.file(f"mosquitto-{port}.conf", text)
        process = self._start(f"mosquitto-{port}", [program("mosquitto"), "-c", str(config)], port)
        return Broker(MOSQUITTO, port, process)

    def nats(self, domain: str, port: int, leaf: str = "") -> Broker:
        """A nats-server with its MQTT listener; `leaf` is more configuration."""
        client_port = machine.free_ports(1)[0]
        store = self._directory / f"nats-{domain}-{self._next()}"
        text = _NATS.format(
            domain=domain, port=port, client_port=client_port, store=store, leaf=leaf
        )
        config = self.file(f"{store.name}.conf", text)
        process = self._start(store.name, [program("nats-server"), "-c", str(config)], port)
        return Broker(NATS, port, process)

    def file(self, name: str, text: str) -> Path:
        """Write a file in the directory."""
        path = self._directory / name
        path.write_text(text)
        return path

    def _start(self, name: str, command: list[str], port: int) -> Process:
        process = Process(f"{name}-{self._next()}", command, self._cores, self._directory)
        self._ends.callback(process.stop)
        process.wait_listening(port)
        return process

    def _next(self) -> int:
        self._count += 1
        return self._count


@contextmanager
def hall() -> Iterator[Hall]:
    """A hall in a temporary directory."""
    with TemporaryDirectory(prefix="isthmus-bench-") as directory:
        it = Hall(Path(directory))
        try:
            yield it
        finally:
            it.close()


def isthmus_config(cluster: str, ports: tuple[int, int], links: str) -> str:
    """The configuration of an Isthmus."""
    return _ISTHMUS.format(cluster=cluster, port=ports[0], api_port=ports[1], links=links)


def isthmus_link(name: str, port: int, *, topics: str = LINKED, enable: bool = True) -> str:
    """One entry of `cluster.links`."""
    switch = "true" if enable else "false"
    return (
        f'{{name = "{name}", enable = {switch}, server = "127.0.0.1:{port}",'
        f' topics = ["{topics}"], retry_interval = 15s}}'
    )


def program(name: str) -> str:
    """The path of a broker that Debian packages.

    Raises:
        machine.MachineError: it is not installed.
    """
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        raise machine.MachineError(f"{name} is not installed; hack/bench installs it on Debian")
    return found


def versions() -> dict[str, str]:
    """The version of each broker."""
    from importlib.metadata import version

    return {
        ISTHMUS: version("isthmus"),
        MOSQUITTO: _version([program("mosquitto"), "-h"]),
        NATS: _version([program("nats-server"), "--version"]),
    }


def _version(command: list[str]) -> str:
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20).stdout
    found = re.search(r"\d+\.\d+\.\d+", said)
    return found.group() if found else "unknown"


# --- Alone --------------------------------------------------------------------------------------


def _isthmus(where: Hall) -> Broker:
    port, api_port = machine.free_ports(2)
    return where.isthmus("alone", (port, api_port))


def _mosquitto(where: Hall) -> Broker:
    return where.mosquitto(machine.free_ports(1)[0])


def _nats(where: Hall) -> Broker:
    return where.nats("alone", machine.free_ports(1)[0])


_ALONE: Final[dict[str, Callable[[Hall], Broker]]] = {
    ISTHMUS: _isthmus,
    MOSQUITTO: _mosquitto,
    NATS: _nats,
}

# --- Linked -------------------------------------------------------------------------------------


def _isthmus_pair(where: Hall) -> Pair:
    near, near_api, far, far_api = machine.free_ports(4)
    return Pair(
        where.isthmus("near", (near, near_api), isthmus_link("far", far)),
        where.isthmus("far", (far, far_api), isthmus_link("near", near)),
    )


def _mosquitto_pair(where: Hall) -> Pair:
    far = where.mosquitto(machine.free_ports(1)[0])
    bridge = _BRIDGE.format(port=far.port, topics=LINKED)
    return Pair(where.mosquitto(machine.free_ports(1)[0], bridge), far)


def _nats_pair(where: Hall) -> Pair:
    port, leaf_port, far_port = machine.free_ports(3)
    far = where.nats("far", far_port, f"leafnodes {{ listen: 127.0.0.1:{leaf_port} }}")
    remote = f'leafnodes {{ remotes: [{{ url: "nats://127.0.0.1:{leaf_port}" }}] }}'
    return Pair(where.nats("near", port, remote), far)


_LINKED: Final[dict[str, Callable[[Hall], Pair]]] = {
    ISTHMUS: _isthmus_pair,
    MOSQUITTO: _mosquitto_pair,
    NATS: _nats_pair,
}

# --- Configurations -----------------------------------------------------------------------------

_ISTHMUS: Final = """\
cluster {{
  name = "{cluster}"
  links = [{links}]
}}
listeners.tcp.default {{
  bind = "127.0.0.1:{port}"
  # The load is one client that sends as fast as it can.
  messages_rate = infinity
  bytes_rate = infinity
  max_conn_rate = infinity
}}
api.bind = "127.0.0.1:{api_port}"
"""

_MOSQUITTO: Final = """\
listener {port} 127.0.0.1
user {user}
allow_anonymous true
log_type error
log_type warning
# By default, 1,000 messages may wait for a client.
max_queued_messages 0
{bridge}
"""

_BRIDGE: Final = """\
connection bench
address 127.0.0.1:{port}
topic {topics} out 1
cleansession true
notifications false
restart_timeout 1
"""

_NATS: Final = """\
server_name: {domain}
listen: 127.0.0.1:{client_port}
jetstream {{ store_dir: "{store}", domain: {domain} }}
mqtt {{ listen: 127.0.0.1:{port} }}
{leaf}
"""
