"""Writes the CRDs that are made from the operator's models: for kubectl, and for the chart.

.venv/bin/python hack/gen_crds.py           write them
.venv/bin/python hack/gen_crds.py --check   fail where a file is not as it would be written
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import yaml

from isthmus_operator.crds import definitions

CHECKOUT: Final = Path(__file__).resolve().parent.parent
PLAIN: Final = CHECKOUT / "crds"
CHART: Final = CHECKOUT / "charts/isthmus-operator/templates/crds"

_HEAD: Final = "# Made by hack/gen_crds.py from operator/isthmus_operator/model.py. Do not edit.\n"
_KEEP: Final = """\
  annotations:
    {{- if .Values.crds.keep }}
    helm.sh/resource-policy: keep
    {{- end }}
    {{- with .Values.crds.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "isthmus.labels" . | nindent 4 }}
"""


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """YAML as people write it: no anchors, lists indented."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the base has it
        return True

    def increase_indent(self, flow: bool = False, *_: object, **__: object) -> None:
        super().increase_indent(flow, indentless=False)


def files() -> dict[Path, str]:
    """What is to be written, and where."""
    found = {}
    for plural, definition in definitions().items():
        text = yaml.dump(definition, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
        found[PLAIN / f"isthmus.dev_{plural}.yaml"] = _HEAD + text
        found[CHART / f"{plural}.yaml"] = _templated(text)
    return found


def _templated(text: str) -> str:
    """The same as a template of the chart."""
    if "{{" in text:
        raise ValueError("a CRD with {{ in it can't be a template of Helm: quote it")
    head, spec = text.split("\nspec:\n", 1)
    return (
        f"{{{{- if .Values.crds.install }}}}\n{_HEAD}{head}\n{_KEEP}spec:\n{spec}{{{{- end }}}}\n"
    )


def _stale(wanted: dict[Path, str]) -> list[Path]:
    there = {*PLAIN.glob("*"), *CHART.glob("*")}
    changed = [path for path, text in wanted.items() if _read(path) != text]
    return sorted([*changed, *(there - set(wanted))])


def _read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def main(arguments: list[str]) -> int:
    """Write, or check; the exit code."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    wanted = files()
    stale = _stale(wanted)
    if arguments:
        for path in stale:
            print(f"{path.relative_to(CHECKOUT)} is stale; run: .venv/bin/python hack/gen_crds.py")
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path in wanted:
            path.write_text(wanted[path])
        else:
            path.unlink()
        print(f"{path.relative_to(CHECKOUT)}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
