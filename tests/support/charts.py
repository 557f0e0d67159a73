"""The chart by the real helm: rendered, refused, installed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from clusters import Cluster, programs

Document = dict[str, Any]

CHART = Path(__file__).parents[2] / "charts/isthmus-operator"
NAMESPACE = "isthmus"
RELEASE = "isthmus"
NAME = "isthmus-operator"
"""Of the release's objects."""


class Refused(Exception):
    """Helm did not do it; the text is what it said."""


def command(cluster: Cluster | None, *arguments: str) -> list[str]:
    """A command line of helm."""
    where = [f"--kubeconfig={cluster.kubeconfig}"] if cluster else []
    return [str(programs.path("helm")), *where, *arguments]


def helm(*arguments: str, cluster: Cluster | None = None) -> str:
    """Run helm; returns what it wrote.

    Raises:
        Refused: it did not succeed.
    """
    done = subprocess.run(
        command(cluster, *arguments), capture_output=True, text=True, timeout=180, check=False
    )
    if done.returncode:
        raise Refused(done.stderr or done.stdout)
    return done.stdout


def settings(values: Document) -> list[str]:
    """Arguments that set values, each a JSON document by its dotted path."""
    return [f"--set-json={path}={json.dumps(value)}" for path, value in values.items()]


def rendered(values: Document | None = None) -> list[Document]:
    """Every object of the chart, hooks too, with these values by dotted paths."""
    arguments = ("template", RELEASE, str(CHART), "--namespace", NAMESPACE)
    text = helm(*arguments, *settings(values or {}))
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(documents: list[Document], kind: str) -> list[Document]:
    """Those of a kind."""
    return [document for document in documents if document["kind"] == kind]


def named(documents: list[Document], kind: str, name: str = NAME) -> Document:
    """The one of that kind and name."""
    (found,) = (one for one in of_kind(documents, kind) if one["metadata"]["name"] == name)
    return found
