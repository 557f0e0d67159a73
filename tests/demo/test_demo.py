"""`hack/demo` as people run it: with a terminal, without one, with ports that are taken."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from demonstration import ports
from demonstration.ports import EU, US
from terminal import terminal
from waiting import wait_for

DEMO = str(Path(__file__).parents[2] / "hack" / "demo")
NOTHING_LEFT = "nothing is left running"


class Place:
    """Where a demo of these tests keeps its files, and so: which processes are its own."""

    def __init__(self, directory: Path) -> None:
        self.env = {**os.environ, "TMPDIR": str(directory)}
        self.offset = _free_offset()
        self._directory = directory

    def processes(self) -> list[int]:
        """Brokers and clients that the demo has started: they run in its directory."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                where = (process / "cwd").readlink()
            except OSError:
                continue  # it has ended
            if str(where).startswith(str(self._directory)):
                found.append(int(process.name))
        return found

    def clean(self) -> bool:
        """Whether neither processes nor files are left."""
        return not self.processes() and not any(self._directory.iterdir())


def _free_offset() -> int:
    """An offset whose ports are free, and not those of a demo that somebody may start."""
    while True:
        offset = random.randrange(1000, 3500)  # all below the ports that the kernel hands out
        if all(ports.is_free(port) for port in US.moved(offset).all + EU.moved(offset).all):
            return offset


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A place of its own; whatever is left there is killed after the test."""
    directory = tmp_path / "with space"
    directory.mkdir()
    made = Place(directory)
    yield made
    for process in made.processes():
        os.kill(process, signal.SIGKILL)


def run(
    *arguments: str, env: Mapping[str, str], timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [DEMO, *arguments],
        cwd="/",
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.slow
def test_check_shows_each_step_without_a_terminal(place: Place) -> None:
    done = run("--check", "--port-offset", str(place.offset), env=place.env)
    assert done.returncode == 0, done.stdout
    assert "\x1b" not in done.stdout
    lines = iter(done.stdout.splitlines())
    for expected in (
        "cluster-us-east   mqtt 127.0.0.1:",
        "cluster-eu-west   mqtt 127.0.0.1:",
        "link up in both directions",
        'us-east  received   linked/42  "Hello from the other side!"',
        'eu-west  received   linked/1   "Hello from US!"',
        "eu-west  asks for nothing: topics = []",
        "eu-west  received nothing of it",
        'us-east  received   linked/42  "Hello from the other side! (2)"',
        "eu-west  asks for everything again",
        'eu-west  received   linked/1   "Hello from US! (3)"',
        "eu-west  killed (kill -9)",
        "us-east  disconnected: ",
        "messages wait for eu-west",
        "eu-west  started again",
        "link up in both directions",
        "eu-west  took all",
        "us-east  received   linked/42",
        "eu-west  received   linked/1",
        NOTHING_LEFT,
    ):
        assert any(expected in line for line in lines), f"{expected}\n{done.stdout}"
    assert place.clean()


@pytest.mark.slow
def test_what_is_not_seen_fails_and_shows_the_brokers_logs(place: Place, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "mosquitto_pub").write_text("#!/bin/sh\nexec sleep 300\n")
    (programs / "mosquitto_pub").chmod(0o755)
    env = {**place.env, "PATH": f"{programs}:{place.env['PATH']}"}
    done = run("--check", "--port-offset", str(place.offset), env=env)
    assert done.returncode == 1
    assert "✘ us-east receives its own messages: not within" in done.stdout
    for cluster in ("cluster-us-east", "cluster-eu-west"):
        assert f"   {cluster} has logged:" in done.stdout
    assert "link running" in done.stdout
    assert place.clean()


@pytest.mark.slow
def test_keys_change_the_link_and_end_it(place: Place) -> None:
    command = [DEMO, "--port-offset", str(place.offset)]
    with terminal(command, place.env) as shown:
        shown.wait("q quits")
        assert f"mosquitto_sub -p {1883 + place.offset}" in shown.shown
        shown.press("a")
        shown.wait("eu-west  received nothing of it")
        shown.wait("makes the link symmetric again")
        shown.press("k")
        shown.wait("eu-west  killed (kill -9), back in 10 s")
        shown.wait("Connection refused")
        shown.wait("eu-west  started again")
        shown.press("q")
        assert shown.end() == 0
        assert NOTHING_LEFT in shown.shown
    assert place.clean()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "code"),
    [(signal.SIGINT, 0), (signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGKILL, -9)],
)
def test_nothing_is_left_however_it_ends(place: Place, end: signal.Signals, code: int) -> None:
    command = [DEMO, "--port-offset", str(place.offset)]
    with terminal(command, place.env) as shown:
        shown.wait("q quits")
        assert len(place.processes()) == 6  # two brokers, two publishers, two subscribers
        if end is signal.SIGINT:
            shown.press("\x03")
        else:
            shown.process.send_signal(end)
        assert shown.end() == code
        wait_for(lambda: not place.processes(), what="no process")
    if code == 0:
        assert place.clean()


@pytest.mark.slow
def test_other_ports_are_found_where_one_is_taken(place: Place) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("127.0.0.1", 1883))
        except OSError:
            pass  # somebody else has it: as good
        else:
            other.listen()
        with terminal([DEMO], place.env) as shown:
            shown.wait("1883 is taken by")
            shown.wait("all ports are moved by")
            shown.wait("link up in both directions")
            shown.press("\x03")
            assert shown.end() == 130  # before the live view: as an interrupted program does
    assert place.clean()


def test_ports_asked_for_that_are_taken(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 1883 + place.offset)):
        done = run("--check", "--port-offset", str(place.offset), env=place.env)
    assert done.returncode == 2
    name = Path("/proc/self/comm").read_text().strip()
    assert f"{1883 + place.offset} is taken by {name} (process {os.getpid()})" in done.stdout
    assert place.clean()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--help"], 0, "Usage: ./hack/demo"),
        (["--port-offset", "x"], 1, "--port-offset x: expected a number"),
        (["--chekc"], 1, "--chekc: unknown"),
    ],
)
def test_arguments_are_looked_at_before_anything_else(
    place: Place, arguments: list[str], code: int, said: str
) -> None:
    done = run(*arguments, env=place.env)
    assert done.returncode == code
    assert said in done.stdout
    assert "environment ready" not in done.stdout
