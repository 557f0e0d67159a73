"""Tables, the page and the file of figures: nothing is left out, nothing made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import broker, document, report
from benchmarks.brokers import ISTHMUS, MOSQUITTO, NATS
from benchmarks.document import BEGIN, END, DocumentError
from benchmarks.results import Results, ResultsError
from benchmarks.targets import TARGETS, UNKNOWN

PAGE = f"# Benchmarks\n\nBefore.\n\n{BEGIN}\n\nold\n\n{END}\n\nAfter.\n"


@pytest.fixture
def results() -> Results:
    found = Results("2026-01-31", {"python": "CPython"}, {ISTHMUS: "1.0"}, load_before=0.25)
    found.put("qos0.cost", ISTHMUS, 0.1234)
    found.put("qos0.cost", MOSQUITTO, 10.0)
    found.put("qos0.rate", ISTHMUS, 5_000_000)
    found.put("qos0.load", ISTHMUS, 0.95)
    found.put("qos0.rate", MOSQUITTO, 100_000)
    found.put("qos0.load", MOSQUITTO, 0.5)
    found.notes.append("nats-server: was not there")
    return found


def cells(results: Results, title: str) -> list[list[str]]:
    return next(grid.rows for grid in report.grids(results) if grid.title.startswith(title))


def test_a_table_has_the_brokers_and_rows_with_figures(results: Results) -> None:
    assert cells(results, "CPU") == [["QoS 0, one to one", "0.12", "10.00"]]
    results.put("qos1.cost", NATS, 20)
    assert cells(results, "CPU") == [
        ["QoS 0, one to one", "0.12", "10.00", "–"],
        ["QoS 1, one to one", "–", "–", "20.00"],
    ]


def test_a_rate_that_the_load_may_have_limited_is_marked(results: Results) -> None:
    assert cells(results, "Deliveries") == [["QoS 0, one to one", "≥ 5,000,000", "100,000"]]


def test_every_target_is_told_also_those_not_measured(results: Results) -> None:
    rows = report.target_grid(results).rows
    assert len(rows) == len(TARGETS)
    assert rows[0][1:] == ["at most 1/12", "1/81", "met"]
    assert rows[-1][2:] == ["–", UNKNOWN]


def test_figures_go_between_the_marks_of_the_page(results: Results, tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(PAGE)
    document.write(results, page)
    text = page.read_text()
    assert text.startswith(f"# Benchmarks\n\nBefore.\n\n{BEGIN}\n")
    assert text.endswith(f"{END}\n\nAfter.\n")
    assert "old" not in text
    assert "| QoS 0, one to one | 0.12 | 10.00 |" in text
    assert "- nats-server: was not there" in text
    assert "Load average before the run: 0.25" in text
    assert "<svg" in (tmp_path / document.PLOT).read_text()[:1000]
    document.write(results, page)
    assert page.read_text() == text


def test_a_page_without_marks_is_left_alone(results: Results, tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("no marks")
    with pytest.raises(DocumentError, match="expected the lines"):
        document.write(results, page)
    assert page.read_text() == "no marks"


def test_our_own_page_has_the_marks() -> None:
    text = broker.PAGE.read_text()
    assert text.index(BEGIN) < text.index(END)


def test_figures_are_read_as_they_were_written(results: Results, tmp_path: Path) -> None:
    results.write(tmp_path / "figures.json")
    assert Results.read(tmp_path / "figures.json") == results


@pytest.mark.parametrize("text", ["{}", "[]", "no JSON", '{"figures": 1}'])
def test_what_is_no_file_of_figures_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text(text)
    with pytest.raises(ResultsError, match=r"figures\.json"):
        Results.read(path)
