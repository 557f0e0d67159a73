"""The page docs/benchmarks.md: figures go between two marks, the rest is written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks import plot, report
from benchmarks.results import Results
from benchmarks.targets import MET, verdicts

BEGIN: Final = "<!-- figures: written by hack/bench -->"
END: Final = "<!-- end of figures -->"
PLOT: Final = "benchmarks.svg"


class DocumentError(Exception):
    """The page has no place for figures."""


def write(results: Results, page: Path) -> None:
    """Put the figures into the page, and the plot beside it.

    Raises:
        DocumentError: the marks are missing.
    """
    text = page.read_text()
    before, begin, rest = text.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not begin or not end:
        raise DocumentError(f"{page}: expected the lines {BEGIN} and {END}")
    plot.draw(results, page.with_name(PLOT))
    page.write_text(f"{before}{BEGIN}\n\n{figures(results)}\n\n{END}{after}")


def figures(results: Results) -> str:
    """Everything that a run has found, as Markdown."""
    parts = [_summary(results)]
    grid = report.target_grid(results)
    parts.append(f"### {grid.title}\n\n{report.markdown(grid)}")
    parts.append(f"![CPU, latency and memory of the three brokers]({PLOT})")
    parts += [f"### {it.title}\n\n{report.markdown(it)}" for it in report.grids(results)]
    if results.notes:
        parts.append("\n".join(f"- {note}" for note in results.notes))
    return "\n\n".join(parts)


def _summary(results: Results) -> str:
    found = verdicts(results)
    met = sum(it.state == MET for it in found)
    where = "; ".join(results.machine.values())
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    return (
        f"{met} of {len(found)} targets are met. Measured on {results.when}: {versions}; {where}."
        f" Load average before the run: {results.load_before:.2f}."
    )
