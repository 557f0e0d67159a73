"""The tree that HOCON text becomes: values with their places, merging, references.

Left to others: reading the text (`hocon`), and what the keys mean (`models`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from isthmus_broker.errors import ConfigurationError, Mistake

Key = tuple[str, ...]


@dataclass(slots=True)
class Node:
    """A resolved value: dict, list, text, or None for `null`."""

    value: dict[str, Node] | list[Node] | str | None
    file: str
    line: int
    quoted: bool = False

    def plain(self) -> object:
        """The value without places; keys that are `null` are left out."""
        if isinstance(self.value, dict):
            members = self.value.items()
            return {key: node.plain() for key, node in members if node.value is not None}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def find(self, path: tuple[str | int, ...]) -> Node:
        """Return the node at `path`, or the last one on the way there that exists."""
        node = self
        for step in path:
            inner: Node | None = None
            if isinstance(node.value, dict):
                inner = node.value.get(str(step))
            elif isinstance(node.value, list) and isinstance(step, int):
                inner = node.value[step] if step < len(node.value) else None
            if inner is None:
                break
            node = inner
        return node


@dataclass(slots=True)
class Reference:
    """`${path}`; `prefix` is where an included file stands, which is looked up first."""

    path: Key
    optional: bool
    prefix: Key
    file: str
    line: int


@dataclass(slots=True)
class Pending(Node):
    """A value that waits for its references: what stands beside each other, blanks included."""

    parts: list[Node | Reference] = field(default_factory=list)
    previous: Node | None = None
    """What the key had before, for a reference to itself."""
    resolving: bool = False


@dataclass(slots=True)
class Document:
    """What `load` gives back: the tree, and the files that it was made from."""

    root: Node
    files: list[Path] = field(default_factory=list)
    missing: list[tuple[Path, str, int]] = field(default_factory=list)
    """Included files that do not exist, with the place of the include; HOCON lets them be."""


def assign(target: Node, key: Key, value: Node, file: str, line: int) -> None:
    """Set a dotted key: objects merge, everything else replaces (HOCON, "Duplicate keys")."""
    for step in reversed(key[1:]):
        value = Node({step: value}, file, line)
    members = target.value
    assert isinstance(members, dict)  # noqa: S101 - only objects have members
    existing: Node | None = members.get(key[0])
    members[key[0]] = _merged(existing, value)


def _merged(existing: Node | None, value: Node) -> Node:
    if isinstance(value, Pending):
        value.previous = existing
        return value
    if existing is None or not isinstance(value.value, dict):
        return value
    if isinstance(existing, Pending):
        return Pending(None, value.file, value.line, parts=[existing, value], previous=existing)
    if not isinstance(existing.value, dict):
        return value
    for key, member in value.value.items():
        existing.value[key] = _merged(existing.value.get(key), member)
    return existing


# --- References ---------------------------------------------------------------------------------


def resolved(document: Document, env: Mapping[str, str]) -> Document:
    """Replace every reference, in place.

    Raises:
        ConfigurationError: one leads nowhere, or in a circle.

    """
    try:
        _Resolver(document.root, env).run()
    except RecursionError as error:
        raise ConfigurationError([Mistake("", "nested too deep", document.root.file)]) from error
    return document


class _Resolver:
    """Replaces every `Pending` of a tree by what it stands for."""

    def __init__(self, root: Node, env: Mapping[str, str]) -> None:
        self._root = root
        self._env = env

    def run(self) -> None:
        """Resolve the whole tree, in place."""
        self._tree(self._root)

    def _tree(self, node: Node) -> None:
        if isinstance(node.value, dict):
            for key in list(node.value):
                self._member(node.value, key)
                if key in node.value:
                    self._tree(node.value[key])
        elif isinstance(node.value, list):
            items = [self._settle(item) for item in node.value]
            node.value = [item for item in items if item is not None]
            for item in node.value:
                self._tree(item)

    def _member(self, members: dict[str, Node], key: str) -> None:
        settled = self._settle(members[key])
        if settled is None:
            del members[key]  # An optional reference to nothing leaves the key unset.
        else:
            members[key] = settled

    def _settle(self, value: Node) -> Node | None:
        if not isinstance(value, Pending):
            return value
        if value.resolving:
            raise _cycle(value)
        value.resolving = True
        parts: list[Node] = []
        for part in value.parts:
            node = self._part(part, value)
            if node is not None:
                parts.append(node)
        value.resolving = False
        return _concatenated(parts, value) if parts else self._before(value)

    def _before(self, value: Pending) -> Node | None:
        """`a = 1, a = ${?UNSET}` leaves a at 1."""
        return None if value.previous is None else self._settle(value.previous)

    def _part(self, part: Node | Reference, owner: Pending) -> Node | None:
        if isinstance(part, Reference):
            return self._reference(part, owner)
        return self._settle(part)

    def _reference(self, reference: Reference, owner: Pending) -> Node | None:
        for path in dict.fromkeys(((*reference.prefix, *reference.path), reference.path)):
            found = self._lookup(path, owner)
            if found is not None:
                return _copy(found, reference)
        name = ".".join(reference.path)
        if name in self._env:
            return Node(self._env[name], reference.file, reference.line, quoted=False)
        if reference.optional:
            return None
        raise ConfigurationError(
            [
                Mistake(
                    name,
                    f"${{{name}}} is neither a key nor an environment variable "
                    f"(${{?{name}}} would be optional)",
                    reference.file,
                    reference.line,
                )
            ]
        )

    def _lookup(self, path: Key, owner: Pending) -> Node | None:
        node: Node | None = self._root
        for step in path:
            members = None if node is None else node.value
            if not isinstance(members, dict) or step not in members:
                return None
            value = members[step]
            if isinstance(value, Pending) and value.resolving:
                if value is not owner:
                    raise _cycle(owner)
                node = None if value.previous is None else self._settle(value.previous)
            else:
                settled = self._settle(value)
                if settled is not None:
                    members[step] = settled
                node = settled
        return node


def _cycle(value: Pending) -> ConfigurationError:
    return ConfigurationError(
        [Mistake("", "this value refers to itself in a circle", value.file, value.line)]
    )


def _copy(node: Node, reference: Reference) -> Node:
    """Values keep the place where they were written, but not their identity."""
    if isinstance(node.value, (dict, list)):
        return _copy_value(node)
    return Node(node.value, reference.file, reference.line, node.quoted)


def _copy_value(node: Node) -> Node:
    if isinstance(node, Pending):
        return node
    if isinstance(node.value, dict):
        return Node({k: _copy_value(v) for k, v in node.value.items()}, node.file, node.line)
    if isinstance(node.value, list):
        return Node([_copy_value(item) for item in node.value], node.file, node.line)
    return node


def _concatenated(parts: list[Node], owner: Pending) -> Node:
    if len(parts) == 1:
        return parts[0]
    solid = [part for part in parts if not _is_blank(part)]
    if solid and all(isinstance(part.value, dict) for part in solid):
        result: Node = Node({}, owner.file, owner.line)
        for part in solid:
            result = _merged(result, part)
        assert isinstance(result, Node)  # noqa: S101 - objects merge to an object
        return result
    if solid and all(isinstance(part.value, list) for part in solid):
        joined = [item for part in solid for item in part.value or () if isinstance(item, Node)]
        return Node(joined, owner.file, owner.line)
    if any(isinstance(part.value, (dict, list)) for part in solid):
        raise ConfigurationError(
            [Mistake("", "an object, a list and text can't be joined", owner.file, owner.line)]
        )
    text = "".join("null" if part.value is None else str(part.value) for part in parts).strip()
    return Node(text, owner.file, owner.line, any(part.quoted for part in parts))


def _is_blank(node: Node) -> bool:
    return isinstance(node.value, str) and not node.quoted and not node.value.strip()
