"""Links that the admin API has changed: a file beside the configuration, merged over it.

It holds whole links, by name, and the names of those removed; what it does not name stays as the
configuration says. Plain JSON, which is also HOCON. It may hold passwords: only its owner reads it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from isthmus_broker.errors import ConfigurationError, Mistake, StoreError
from isthmus_broker.settings import hocon
from isthmus_broker.settings.tree import Node

_HEADER: Final = (
    "# Links changed through the admin API. They win over the configuration file;\n"
    "# delete this file to go back to it.\n"
)


def overlay_path(config: Path | None, data_dir: Path | None) -> Path | None:
    """Where changes are kept; None: nowhere, since there is neither file nor directory."""
    if data_dir is not None:
        return data_dir / "links.conf"
    return None if config is None else config.with_name(f"{config.stem}.links.conf")


def read(path: Path) -> Node | None:
    """Read the overlay; None where there is none.

    Raises:
        ConfigurationError: it is damaged.

    """
    if not path.exists():
        return None
    return hocon.load(path, {}).root


def merge(root: Node, overlay: Node) -> list[str]:
    """Put the overlay's links into the tree; returns the names that it changes or removes."""
    changed = _links(overlay)
    removed = _names(overlay)
    cluster = _section(root, "cluster")
    links: list[Node] = []
    known = cluster.find(("links",)).value
    for link in known if isinstance(known, list) else []:
        name = link_name(link)
        if name in changed:
            links.append(changed[name])
        elif name not in removed:
            links.append(link)
    before = {link_name(link) for link in (known if isinstance(known, list) else [])}
    links.extend(link for name, link in changed.items() if name not in before)
    assert isinstance(cluster.value, dict)  # noqa: S101 - _section makes it one
    cluster.value["links"] = Node(links, overlay.file, overlay.line)
    return sorted(before & (removed | changed.keys()))


def write(path: Path, name: str, link: Mapping[str, Any] | None) -> None:
    """Add or replace a link, or remove it (None); either all of it is on the disk or nothing.

    Raises:
        StoreError: the file can't be written.

    """
    overlay = read(path)
    links = {} if overlay is None else {key: it.plain() for key, it in _links(overlay).items()}
    removed = set() if overlay is None else _names(overlay)
    links.pop(name, None)
    removed.discard(name)
    if link is None:
        removed.add(name)
    else:
        links[name] = dict(link)
    content = json.dumps({"links": [*links.values()], "removed": sorted(removed)}, indent=2)
    replace(path, f"{_HEADER}{content}\n".encode())


def restore(path: Path, content: bytes | None) -> None:
    """Put back what `path` held before a change that was not taken."""
    if content is None:
        path.unlink(missing_ok=True)
    else:
        replace(path, content)


def replace(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file so that a crash leaves the old one or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"{path} can't be written: {error.strerror}") from error


def link_name(link: Node) -> str:
    """Return the name of a link in the tree, whichever key it has it under."""
    if not isinstance(link.value, dict):
        return ""
    named = link.value.get("name") or link.value.get("upstream")
    return str(named.value) if named is not None else ""


def _links(overlay: Node) -> dict[str, Node]:
    if not isinstance(overlay.value, dict) or overlay.value.keys() - {"links", "removed"}:
        raise ConfigurationError(
            [Mistake("", "expected the keys links and removed only", overlay.file)]
        )
    listed = overlay.value.get("links")
    links = listed.value if listed is not None and isinstance(listed.value, list) else []
    return {link_name(link): link for link in links}


def _names(overlay: Node) -> set[str]:
    assert isinstance(overlay.value, dict)  # noqa: S101 - _links has looked
    listed = overlay.value.get("removed")
    names = listed.value if listed is not None and isinstance(listed.value, list) else []
    return {str(name.value) for name in names}


def _section(root: Node, key: str) -> Node:
    assert isinstance(root.value, dict)  # noqa: S101 - a document is an object
    section = root.value.get(key)
    if section is None or not isinstance(section.value, dict):
        section = Node({}, root.file, root.line)
        root.value[key] = section
    return section
