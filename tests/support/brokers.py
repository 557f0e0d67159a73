"""Real brokers for tests: processes with a configuration file, ports of their own and a log.

`Brokers` makes them and ends them; tests get one by the fixture `start_broker`.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from certificates import Pki
from waiting import DEADLINE, wait_for

_PORTS: Final = range(15_000, 32_000)
"""Below those that the kernel hands out, so that no outgoing connection takes one meanwhile."""
_given: set[int] = set()
_LISTENING: Final = "0A"
KINDS: Final = ("tcp", "ssl", "ws", "wss")


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, each handed out once."""
    found: list[int] = []
    while len(found) < count:
        port = random.choice(_PORTS)
        if port not in _given and _is_free(port):
            _given.add(port)
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def is_listening(port: int) -> bool:
    """Whether somebody listens on a port; told by the kernel, so that no connection is needed."""
    suffix = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING and fields[1].endswith(suffix):
                return True
    return False


class Broker:
    """One broker process, which can be ended and started again on the same ports.

    Its configuration begins with a listener named `default` of each of `kinds`, on loopback, with
    TLS from `pki` where it needs that, and the admin API; then comes what the test says, which may
    add to these and change them.
    """

    def __init__(
        self,
        directory: Path,
        config: str,
        *,
        kinds: Sequence[str] = ("tcp",),
        pki: Pki | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.file = directory / "broker.conf"
        self.log_file = directory / "broker.log"
        self.ports = dict(zip((*kinds, "api"), free_ports(len(kinds) + 1), strict=True))
        self.process: subprocess.Popen[bytes] | None = None
        self.expects_traceback = False
        self._pki = pki
        self._env = dict(env or {})
        self._frozen = False
        self.write(config)

    @property
    def port(self) -> int:
        """Port of the first listener."""
        return next(iter(self.ports.values()))

    @property
    def api(self) -> str:
        """Base URL of the admin API."""
        return f"http://127.0.0.1:{self.ports['api']}"

    @property
    def pid(self) -> int:
        """Process id of the running broker."""
        assert self.process is not None
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None

    def write(self, config: str) -> None:
        """Change the configuration file (which a running broker takes up)."""
        self.file.write_text(self._preamble() + config)

    def log(self) -> str:
        """What the broker has logged since the test began."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def wait_log(self, text: str, count: int = 1, timeout: float = DEADLINE) -> None:
        """Wait until `text` stands `count` times in the log."""
        wait_for(lambda: self.log().count(text) >= count, timeout, f"{text!r} in the log")

    # -- life ------------------------------------------------------------------------------------

    def start(self, *, ready: bool = True) -> Broker:
        """Start, and wait until every listener is open."""
        assert not self.running, "it runs already"
        command = [sys.executable, "-m", "isthmus_broker", "run", "--config", str(self.file)]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self._env},
            )
        if ready:
            self.wait_listening(self.ports.values())
        return self

    def wait_listening(self, ports: Iterable[int]) -> None:
        """Wait until each of these ports is listened on."""
        for port in ports:
            self._wait_listening(port)
        assert self.running, f"the broker ended at once:\n{self.log()}"

    def _wait_listening(self, port: int) -> None:
        wait_for(lambda: is_listening(port) or not self.running, what=f"port {port}")

    def stop(self) -> None:
        """End it as a system would: SIGTERM, and it exits with 0."""
        code = self._end(signal.SIGTERM)
        assert code == 0, f"exit code {code}\n{self.log()}"

    def kill(self) -> None:
        """End it without any warning (`kill -9`)."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start again, on the same ports."""
        if self.running:
            self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop the process where it stands: its sockets stay open and nothing answers."""
        self._frozen = True
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self._frozen = False
        os.kill(self.pid, signal.SIGCONT)

    def hang_up(self) -> None:
        """Have it read its configuration again (SIGHUP)."""
        os.kill(self.pid, signal.SIGHUP)

    def _end(self, number: signal.Signals) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            if self._frozen:
                self.thaw()
            self.process.send_signal(number)
        try:
            return self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def _preamble(self) -> str:
        lines = [f'api.bind = "127.0.0.1:{self.ports["api"]}"']
        for kind in KINDS:
            if kind not in self.ports:
                continue
            lines.append(f'listeners.{kind}.default.bind = "127.0.0.1:{self.ports[kind]}"')
            if kind in ("ssl", "wss"):
                assert self._pki is not None
                server = self._pki.server
                lines.append(
                    f'listeners.{kind}.default.ssl_options {{ certfile = "{server.cert}", '
                    f'keyfile = "{server.key}", cacertfile = "{self._pki.ca}" }}'
                )
        if "tcp" not in self.ports and not {"ssl", "ws", "wss"} & set(self.ports):
            lines.append("listeners.tcp.default.enable = false")
        return "\n".join(lines) + "\n"


class Brokers:
    """Makes the brokers of one test, and ends them."""

    def __init__(self, directory: Path, pki: Pki) -> None:
        self.all: list[Broker] = []
        self._directory = directory
        self._pki = pki

    def __call__(
        self,
        config: str = "",
        *,
        name: str = "",
        kinds: Sequence[str] = ("tcp",),
        env: Mapping[str, str] | None = None,
        start: bool = True,
    ) -> Broker:
        """Make a broker and, unless told otherwise, start it and wait until it listens."""
        name = name or f"broker{len(self.all) or ''}"
        broker = Broker(self._directory / name, config, kinds=kinds, pki=self._pki, env=env)
        self.all.append(broker)
        return broker.start() if start else broker

    def close(self) -> None:
        """End every broker; complain about those that end badly or have logged a traceback."""
        wrong: list[str] = []
        for broker in self.all:
            if broker.running:
                try:
                    broker.stop()
                except (AssertionError, subprocess.TimeoutExpired) as error:
                    wrong.append(f"{broker.directory.name} did not end well: {error}")
            if "Traceback" in broker.log() and not broker.expects_traceback:
                wrong.append(f"{broker.directory.name} has logged a traceback:\n{broker.log()}")
        assert not wrong, "\n".join(wrong)
