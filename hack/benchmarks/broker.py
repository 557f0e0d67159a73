"""`hack/bench broker`: run suites, print tables and targets, write the page."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks import brokers, document, machine, report
from benchmarks.document import DocumentError
from benchmarks.machine import MachineError
from benchmarks.results import Results, ResultsError
from benchmarks.suites import FULL, QUICK, SUITES, Run, perform

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
_EPILOG: Final = """\
suites: alone (throughput of one broker), linked (over a link), latency, idle (connections),
faults (a subscriber that stops reading, a link into a black hole), routes (bootstrap of a link)

examples:
  hack/bench                               everything, some eight minutes; writes docs/benchmarks.md
  hack/bench --quick                       everything once and briefly: whether it works at all
  hack/bench --only alone --only latency   two suites
  hack/bench --json now.json               keep the figures; `--from now.json` shows them again

Without --quick and --only, docs/benchmarks.md and its plot are written. The load has one core and
the brokers another: run it on a machine that does nothing else.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 where everything could be measured."""
    options = _parser().parse_args(arguments)
    console = Console()
    try:
        if options.from_file:
            results, good = Results.read(options.from_file), True
        else:
            results, good = _measured(options)
        report.show(results, console)
        if options.json:
            results.write(options.json)
        if options.page or not (options.quick or options.only or options.from_file):
            document.write(results, PAGE)
            console.print(f"written: {PAGE}")
    except (MachineError, ResultsError, DocumentError) as error:
        print(f"hack/bench: {error}", file=sys.stderr)
        return 1
    return 0 if good else 1


def _measured(options: argparse.Namespace) -> tuple[Results, bool]:
    machine.raise_file_limit()
    chosen = machine.cores()
    results = Results(
        datetime.now(tz=UTC).date().isoformat(),
        machine.described(),
        brokers.versions(),
        quick=options.quick,
        load_before=os.getloadavg()[0],
    )
    os.sched_setaffinity(0, chosen.load)
    begun = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - begun:5.0f} s  {text}", file=sys.stderr, flush=True)

    names = [name for name in SUITES if not options.only or name in options.only]
    return results, perform(names, Run(results, QUICK if options.quick else FULL, say))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hack/bench broker",
        description="Runs Isthmus, mosquitto and nats-server side by side under the same loads.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="seconds instead of minutes; figures mean little")
    add("--only", action="append", choices=SUITES, metavar="SUITE", help="may be repeated")
    add("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    add("--from", type=Path, metavar="FILE", dest="from_file", help="show figures, measure nothing")
    add("--page", action="store_true", help="write docs/benchmarks.md in any case")
    return parser


if __name__ == "__main__":
    sys.exit(main())
