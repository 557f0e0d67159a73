"""The pure parts of the demo: its configurations, ports, what it reads and how it looks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.console import Console

from demonstration import ports, reading, view
from demonstration.clusters import TREE, moved
from demonstration.ports import EU, US, PortsTaken, choose
from demonstration.reading import Direction, Told, direction
from demonstration.view import Arrival, Screen, Step

SEED = Path(__file__).parents[1] / "link" / "seed"
FILES = ["us-east.conf", "eu-west.conf", "eu-west-asymmetric.conf"]

# -- configurations ------------------------------------------------------------------------------


def _without_addresses(text: str) -> str:
    text = re.sub(r'server = "[^"]+:\d+"', "server = ADDRESS", text)
    return re.sub(r'bind = ("127\.0\.0\.1:)?\d+"?', "bind = ADDRESS", text)


@pytest.mark.parametrize("file", FILES)
def test_configurations_are_the_quick_starts_but_for_hosts_and_ports(file: str) -> None:
    ours, theirs = (TREE / file).read_text(), (SEED / file).read_text()
    assert ours != theirs
    assert _without_addresses(ours) == _without_addresses(theirs)


@pytest.mark.parametrize(
    ("file", "ours", "theirs"),
    [("us-east.conf", US, EU), ("eu-west.conf", EU, US), ("eu-west-asymmetric.conf", None, US)],
)
def test_configurations_have_the_ports_that_are_told(
    file: str, ours: ports.Ports | None, theirs: ports.Ports
) -> None:
    text = moved((TREE / file).read_text(), 10)
    assert f'server = "127.0.0.1:{theirs.link + 10}"' in text
    assert ours is None or f'bind = "127.0.0.1:{ours.link + 10}"' in text
    assert text.count("127.0.0.1") == 1 + (ours is not None)


# -- ports ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "taken", "offset", "noted"),
    [
        (None, set(), 0, []),
        (None, {1883}, 10, [1883]),
        (None, {1883, 2893, 28103}, 30, [1883]),
        (None, {1893}, 0, []),
        (100, {1883}, 100, []),
    ],
)
def test_an_offset_is_chosen(
    wanted: int | None, taken: set[int], offset: int, noted: list[int]
) -> None:
    assert choose(wanted, lambda port: port not in taken) == (offset, noted)


@pytest.mark.parametrize("wanted", [7, 65_535, None])
def test_no_offset_can_be_chosen(wanted: int | None) -> None:
    with pytest.raises(PortsTaken, match=r"--port-offset"):
        choose(wanted, lambda port: False)


# -- what is told --------------------------------------------------------------------------------


def told(state: str = "running", reason: str = "", routes: int = 1, waiting: int = 0) -> Told:
    one = {"state": state, "reason": reason, "routes": routes, "rate": 2.0, "lag": 0.001}
    link = {"node_status": [{"incoming": one, "outgoing": one}]}
    metrics = {"forwarding": {"queuing": waiting, "inflight": 0}}
    return reading.told(link, {"metrics": metrics})


AWAY = ("disconnected", "refused")


@pytest.mark.parametrize(
    ("sender", "receiver", "expected"),
    [
        (told(), told(), Direction("a", "b", "running", "", 1, 2.0, 0.001, 0)),
        (
            told(*AWAY, waiting=3),
            told(),
            Direction("a", "b", *AWAY, routes=1, rate=2.0, lag=0.001, waiting=3),
        ),
        (
            told(),
            told(*AWAY),
            Direction("a", "b", *AWAY, routes=1, rate=2.0, lag=0.001, waiting=0),
        ),
        (None, told(*AWAY), Direction("a", "b", *AWAY)),
        (None, None, Direction("a", "b", "down", "neither cluster answers")),
    ],
)
def test_a_direction_is_told_by_its_sender_else_by_its_receiver(
    sender: Told | None, receiver: Told | None, expected: Direction
) -> None:
    assert direction("a", "b", sender, receiver) == expected


# -- how it looks --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("took", "expected"),
    [
        (0.0009, "0.9 ms"),
        (0.0099, "9.9 ms"),
        (0.00996, "10 ms"),
        (0.084, "84 ms"),
        (0.9999, "1.0 s"),
        (1.24, "1.2 s"),
        (11.6, "12 s"),
        (90, "90 s"),
    ],
)
def test_times(took: float, expected: str) -> None:
    assert view.seconds(took) == expected


def rendered(screen: Screen, width: int = 80) -> list[str]:
    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        console.print(view.screen(screen))
    return capture.get().splitlines()


BOTH = (
    Direction("cluster-eu-west", "cluster-us-east", "inconsistent", "why\x1b[31m", 100, 0.5, 12, 5),
    Direction("cluster-us-east", "cluster-eu-west", "running", "", 1, 1234.5, 0.0009, 100_000),
)


def test_the_live_view_fits_80_columns() -> None:
    arrivals = (
        Arrival("us-east", "linked/42", "x" * 200, 0.1, 0.001),
        Arrival("eu-west", "linked/1", "Hello from US!", 5),
        Arrival("eu-west"),
    )
    lines = rendered(Screen(BOTH, arrivals, ["mosquitto_sub -p 1883"]))
    assert max(map(len, lines)) <= 80
    assert lines[1].split() == ["LINK", "STATE", "ROUTES", "MSG/S", "LAG", "WAITING"]
    assert lines[2].split()[3:] == ["inconsistent", "100", "0.5", "12", "s", "5"]
    assert lines[4] == "   why·[31m"
    assert lines[6].endswith("1.0 ms")
    assert lines[7].endswith("5.0 s ago")
    assert lines[8] == " eu-west  received nothing yet"
    assert lines[-1].startswith(" a makes the link asymmetric")


def test_the_live_view_says_what_the_key_does_next() -> None:
    assert "symmetric again" in rendered(Screen(BOTH, (), asymmetric=True))[-1]
    assert "quits" not in "".join(rendered(Screen(BOTH, (), ended=True)))


def test_steps_line_up() -> None:
    lines = [view.step(it).plain for it in (Step("a", 0.001), Step("a" * 66, 12.3), Step("b"))]
    assert len(lines[0]) == len(lines[1]) <= 80
    assert lines[0].endswith("1.0 ms")
    assert lines[2] == " ✔ b"
