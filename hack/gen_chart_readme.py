"""Writes the table of values in the chart's README, from values.yaml and values.schema.json.

.venv/bin/python hack/gen_chart_readme.py           write it
.venv/bin/python hack/gen_chart_readme.py --check   fail where it is not as it would be written
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

CHART: Final = Path(__file__).resolve().parent.parent / "charts/isthmus-operator"
README: Final = CHART / "README.md"

_BEGIN: Final = "<!-- values: made by hack/gen_chart_readme.py -->\n"
_END: Final = "<!-- end of values -->\n"


def rows() -> Iterator[tuple[str, Any, str]]:
    """Each value: its path, its default, what it means."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    yield from _rows(values, schema, "")


def _rows(values: dict[str, Any], schema: Any, path: str) -> Iterator[tuple[str, Any, str]]:
    for name, value in values.items():
        node = schema["properties"][name]
        if "properties" in node:
            yield from _rows(value, node, f"{path}{name}.")
        else:
            yield f"{path}{name}", value, node["description"]


def text() -> str:
    """The README as it is to be."""
    head, rest = README.read_text().split(_BEGIN)
    tail = rest.split(_END)[1]
    lines = [
        f"| `{path}` | `{json.dumps(value)}` | {meaning} |\n" for path, value, meaning in rows()
    ]
    table = "| Value | Default | Meaning |\n| --- | --- | --- |\n" + "".join(lines)
    return f"{head}{_BEGIN}{table}{_END}{tail}"


def main(arguments: list[str]) -> int:
    """Write, or check; the exit code."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    wanted = text()
    if not arguments:
        README.write_text(wanted)
    elif README.read_text() != wanted:
        print("The chart's README is stale; run: .venv/bin/python hack/gen_chart_readme.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
