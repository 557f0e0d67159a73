"""Results as tables of text: the same rows for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.brokers import NAMES
from benchmarks.measures import TABLES, Measure, Table
from benchmarks.results import Results
from benchmarks.targets import MET, MISSED, Target, Verdict, verdicts

SATURATED: Final = 0.9
"""From this share of its core on, the load may have been the limit of a rate."""
_STYLES: Final = {MET: "green", MISSED: "bold red"}


@dataclass(frozen=True)
class Grid:
    """A table of cells."""

    title: str
    head: list[str]
    rows: list[list[str]]


def grids(results: Results) -> Iterator[Grid]:
    """Every table that has figures."""
    for table in TABLES:
        names = [name for name in NAMES if any(results.get(it.key, name) for it in table.rows)]
        if names:
            yield _grid(table, names, results)


def target_grid(results: Results) -> Grid:
    """The targets: what is wanted, what was measured, what follows."""
    rows = [[it.target.what, wanted(it.target), measured(it), it.state] for it in verdicts(results)]
    return Grid("Targets", ["Isthmus", "target", "measured", ""], rows)


def wanted(target: Target) -> str:
    """A target's limit in words."""
    return f"at {'least' if target.at_least else 'most'} {_amount(target, target.limit)}"


def measured(verdict: Verdict) -> str:
    """What is held against the limit."""
    return "–" if verdict.value is None else _amount(verdict.target, verdict.value)


def show(results: Results, console: Console) -> None:
    """Print everything."""
    for grid in (*grids(results), target_grid(results)):
        table = RichTable(title=grid.title, title_justify="left", title_style="bold")
        for number, name in enumerate(grid.head):
            table.add_column(name, justify="right" if number else "left")
        for row in grid.rows:
            table.add_row(*row, style=_STYLES.get(row[-1]))
        console.print(table)
        console.print()
    for note in results.notes:
        console.print(f"- {note}", highlight=False)


def markdown(grid: Grid) -> str:
    """One table of the page."""
    rule = ["---", *["---:"] * (len(grid.head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (grid.head, rule, *grid.rows))


def _grid(table: Table, names: list[str], results: Results) -> Grid:
    rows = [
        [it.name, *[_cell(it, name, results) for name in names]]
        for it in table.rows
        if it.key in results.figures
    ]
    return Grid(table.title, ["", *names], rows)


def _cell(measure: Measure, name: str, results: Results) -> str:
    value = results.get(measure.key, name)
    if value is None:
        return "–"
    text = f"{value:,.{measure.digits}f}"
    work, _, kind = measure.key.rpartition(".")
    if kind == "rate" and (results.get(f"{work}.load", name) or 0) >= SATURATED:
        return f"≥ {text}"  # the load could not do more
    return text


def _amount(target: Target, value: float) -> str:
    if target.of is None:
        digits = 0 if value >= 100 or value == int(value) else 2
        return f"{value:,.{digits}f} {target.unit}".rstrip()
    if value <= 0.5:
        return f"1/{1 / value:.{0 if value < 0.1 else 1}f}".replace(".0", "")
    return f"{value:.2f} ×" if value != 1 else "1 ×"
