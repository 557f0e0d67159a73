"""How the demo looks: steps as lines, the link as a table that lives below them; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from demonstration.reading import Direction

Mark = Literal["done", "more", "failed", "note"]
_MARKS: Final[dict[Mark, tuple[str, str]]] = {
    "done": ("✔", "green"),
    "more": (" ", ""),
    "failed": ("✘", "red"),
    "note": ("•", "yellow"),
}
_STATES: Final = {"running": "green", "connecting": "yellow"}
_WIDTH: Final = 66
"""Columns for what a step says, before the time that it took; also in `hack/demo`."""
_TICK: Final = 0.001
"""Seconds: brokers take their times no finer."""
_STALE: Final = 2.0
"""Seconds after which it matters how old a message is."""


@dataclass(frozen=True)
class Step:
    """A line that tells what has been seen."""

    text: str
    took: float | None = None
    """Seconds."""
    mark: Mark = "done"


@dataclass(frozen=True)
class Arrival:
    """The last message that a side has received."""

    side: str
    topic: str = ""
    text: str = ""
    """Empty: none yet."""
    age: float = 0.0
    """Seconds since it came."""
    latency: float | None = None
    """Seconds that it took; None: not known."""


@dataclass(frozen=True)
class Screen:
    """What the live view shows."""

    directions: Sequence[Direction]
    arrivals: Sequence[Arrival]
    hints: Sequence[str] = ()
    """What to try."""
    asymmetric: bool = False
    busy: bool = False
    """Whether what a key began is not done yet."""
    ended: bool = False
    """Whether it has ended, and keys do nothing any more."""


def step(it: Step) -> Text:
    """A step as a line."""
    sign, style = _MARKS[it.mark]
    line = Text.assemble(" ", (sign, style), " ", printable(it.text), no_wrap=it.took is not None)
    if it.took is not None:
        line.pad_right(max(0, _WIDTH - len(it.text)))
        line.append(f"{seconds(it.took):>8}", "dim")
    return line


def log(name: str, lines: str) -> Text:
    """The end of a log."""
    shown = "\n".join(f"   │ {printable(line)}" for line in lines.splitlines())
    return Text(f"   {name} has logged:\n{shown or '   │ nothing'}")


def seconds(took: float) -> str:
    """A time as people say it: 0.9 ms, 84 ms, 1.2 s, 12 s."""
    for unit, factor in (("ms", 1000), ("s", 1)):
        value = took * factor
        if unit == "s" or value < 999.5:
            return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
    raise AssertionError


def screen(it: Screen) -> RenderableType:
    """The live view."""
    parts: list[RenderableType] = ["", _table(it.directions)]
    reasons = dict.fromkeys(one.reason for one in it.directions if one.reason)
    parts += [Text(f"   {printable(reason)}", "dim") for reason in reasons]
    parts += ["", *map(_arrival, it.arrivals)]
    if not it.ended:
        parts += ["", *_hints(it.hints), _keys(it)]
    return Group(*parts)


def _table(directions: Sequence[Direction]) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("LINK", no_wrap=True)
    table.add_column("STATE", no_wrap=True, min_width=12)
    for name, width in (("ROUTES", 6), ("MSG/S", 5), ("LAG", 6), ("WAITING", 7)):
        table.add_column(name, justify="right", no_wrap=True, min_width=width)
    for one in directions:
        table.add_row(
            f"{one.source} → {one.target}",
            Text(one.state, _STATES.get(one.state, "red")),
            _number(one.routes),
            _rate(one.rate),
            _lag(one.lag),
            Text(_number(one.waiting), "yellow" if one.waiting else ""),
        )
    return Padding(table, (0, 0, 0, 1))


def _rate(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def _lag(value: float | None) -> str:
    if value is None:
        return "-"
    return seconds(value) if value >= _TICK else "<1 ms"


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def _arrival(it: Arrival) -> Text:
    if not it.text and not it.topic:
        return Text(f" {it.side}  received nothing yet", "dim")
    text = f'{it.side}  received  {it.topic:<9}  "{it.text}"'
    line = Text.assemble(" ", printable(text), no_wrap=True, overflow="ellipsis")
    line.truncate(_WIDTH + 1, overflow="ellipsis", pad=True)
    if it.age > _STALE:
        return line.append(f"{seconds(it.age)} ago".rjust(10), "yellow")
    if it.latency is not None:
        line.append(seconds(it.latency).rjust(10), "dim")
    return line


def _hints(hints: Sequence[str]) -> list[RenderableType]:
    if not hints:
        return []
    lines = [Text(f"   {hint}", "cyan", overflow="fold") for hint in hints]
    return [Text(" Try it yourself, in another terminal:"), *lines]


def _keys(it: Screen) -> Text:
    style = "dim" if it.busy else ""
    turn = "makes the link symmetric again" if it.asymmetric else "makes the link asymmetric"
    return Text.assemble(
        *(" ", ("a", "bold"), (f" {turn}   ", style)),
        *(("k", "bold"), (" kills eu-west for ten seconds   ", style)),
        *(("q", "bold"), " quits"),
    )


def printable(text: str) -> str:
    """Text without what a terminal would take for commands."""
    return "".join(sign if sign.isprintable() else "·" for sign in text)
