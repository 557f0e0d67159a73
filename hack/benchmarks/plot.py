"""The plot of the page: one dot a broker; costs on a logarithmic scale, so far apart they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.brokers import ISTHMUS, MOSQUITTO, NAMES, NATS
from benchmarks.measures import WORKS, Measure
from benchmarks.results import Results

_COLOURS: Final = {ISTHMUS: "#0b6e4f", MOSQUITTO: "#c1666b", NATS: "#4a6fa5"}
_MARKERS: Final = {ISTHMUS: "o", MOSQUITTO: "s", NATS: "D"}
_VALUES: Final = {ISTHMUS: (0, 6, "center"), MOSQUITTO: (3, -13, "right"), NATS: (-3, -13, "left")}
"""Where a value stands beside its dot: right and up in points, and how it is aligned."""
_PANELS: Final = (
    (
        "CPU seconds for a million deliveries",
        tuple([Measure(f"{key}.cost", name, 2) for key, name in WORKS.items()]),
    ),
    (
        "Latency, median, microseconds",
        (Measure("latency.median", "one broker"), Measure("link-latency.median", "over a link")),
    ),
    ("Memory of an idle connection, bytes", (Measure("idle.bytes", "each"),)),
)


def draw(results: Results, path: Path) -> bool:
    """Write the plot as SVG; False where there is nothing to show."""
    panels = [
        (title, rows)
        for title, all_rows in _PANELS
        if (rows := [row for row in all_rows if results.figures.get(row.key)])
    ]
    if not panels:
        return False
    heights = [len(rows) + 1.4 for _, rows in panels]
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "isthmus", "font.family": "sans-serif"}
    with mpl.rc_context(settings):
        figure = Figure(figsize=(8.2, 0.42 * sum(heights) + 0.7), layout="constrained")
        grid = figure.add_gridspec(len(panels), 1, height_ratios=heights)
        for number, (title, rows) in enumerate(panels):
            _panel(figure.add_subplot(grid[number]), title, rows, results)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=len(NAMES), frameon=False)
        figure.savefig(path, metadata={"Date": None}, facecolor="white")
    return True


def _panel(axes: Any, title: str, rows: list[Measure], results: Results) -> None:
    """One scale: a line for each row, a dot and its value for each broker."""
    places = range(len(rows), 0, -1)
    for name in NAMES:
        found = [
            (value, place, row)
            for row, place in zip(rows, places, strict=True)
            if (value := results.get(row.key, name)) is not None
        ]
        axes.scatter(
            *([value for value, _, _ in found], [place for _, place, _ in found]),
            c=_COLOURS[name],
            marker=_MARKERS[name],
            s=46,
            label=name,
            zorder=3,
        )
        *offset, alignment = _VALUES[name]
        for value, place, row in found:
            axes.annotate(
                f"{value:,.{row.digits if value < 10 else 0}f}",
                (value, place),
                xytext=offset,
                textcoords="offset points",
                ha=alignment,
                fontsize=8,
                color=_COLOURS[name],
            )
    if rows[0].digits:
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=0)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_yticks(list(places), [row.name for row in rows], fontsize=9)
    axes.set_ylim(0.4, len(rows) + 0.75)
    axes.margins(x=0.08)
    axes.grid(axis="y", color="#dddddd", zorder=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.minorticks_off()
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
