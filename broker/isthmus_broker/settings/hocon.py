"""HOCON with places: every value knows the file and line it came from.

The part of HOCON that configurations use: objects that merge, dotted keys, `=`, `:` and `+=`,
comments, quoted, triple-quoted and unquoted strings, concatenation, `${path}` and `${?path}` (from
the file, then from the environment), `include "file"` relative to the including file. Nothing is
ever fetched from the network. More lenient than the specification in one thing: an unquoted value
may hold `:` and `//`, so that `0.0.0.0:1883` and `mqtt://host` need no quotes.

This module reads text; merging and references are in `tree`, what the keys mean is in `models`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from isthmus_broker.errors import ConfigurationError, Mistake
from isthmus_broker.settings.tree import Document, Key, Node, Pending, Reference, assign, resolved

MAX_BYTES: Final = 4 << 20
"""Size of the largest file that is read."""
MAX_DEPTH: Final = 50
"""How deep objects and lists may nest, and includes include."""


def load(path: Path, env: Mapping[str, str]) -> Document:
    """Read a file and what it includes.

    Raises:
        ConfigurationError: with the first mistake, since what comes after it means little.

    """
    document = Document(Node({}, str(path), 1))
    _include(path, (), document, document.root, ())
    return resolved(document, env)


def loads(text: str, env: Mapping[str, str], name: str = "") -> Document:
    """Read text; `include` is relative to the working directory."""
    document = Document(Node({}, name, 1))
    _Parser(text, Path(name), (), document, ()).document(document.root)
    return resolved(document, env)


def _include(
    path: Path, prefix: Key, document: Document, target: Node, within: tuple[Path, ...]
) -> None:
    if path not in document.files:
        document.files.append(path)
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_BYTES:
            raise ConfigurationError([Mistake("", f"larger than {MAX_BYTES} bytes", str(path))])
        text = raw.decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError([Mistake("", f"can't be read: {reason}", str(path))]) from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigurationError([Mistake("", "not UTF-8", str(path), line)]) from error
    _Parser(text, path, prefix, document, (*within, path)).document(target)


# --- Reading -----------------------------------------------------------------------------------

_NEEDS_QUOTES = ' (a value that contains # needs quotes, as in "a/#")'
_BLANK = re.compile(r"(?:[^\S\n]|\ufeff)*")
_BLANKS = re.compile(r"(?:[\s\ufeff]|#[^\n]*|//[^\n]*)*")
_SEPARATOR = re.compile(r"(?:[^\S\n]|#[^\n]*|//[^\n]*)*")
_UNQUOTED_KEY = re.compile(r"[^\s$\"{}\[\]:=,+#`^?!@*&\\.]+")
_UNQUOTED = re.compile(r"(?:(?!\$\{|[^\S\n]//)[^\s\"{}\[\]=,#\\])+")
_QUOTED = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_TRIPLE = re.compile(r'"""(.*?)"""("*)', re.DOTALL)
_REFERENCE = re.compile(r"\$\{(\??)\s*([^}\n]*?)\s*\}")
_INCLUDE = re.compile(r"include(?=[\s\"(])")
_INCLUDED = re.compile(
    r"(?P<required>required\(\s*)?(?P<kind>file|url|classpath|package)?(?P<open>\(\s*)?"
    r"(?P<name>\"(?:[^\"\\\n]|\\.)*\")(?:[^\S\n]*\))*"
)


class _Parser:
    """One file, read by recursive descent."""

    def __init__(
        self, text: str, path: Path, prefix: Key, document: Document, within: tuple[Path, ...]
    ) -> None:
        self._text = text
        self._path = path
        self._file = str(path)
        self._prefix = prefix
        self._document = document
        self._within = within
        self._at = 0
        self._depth = 0
        self._counted = (0, 1)

    def document(self, target: Node) -> None:
        """Read the whole file into `target`."""
        self._skip(_BLANKS)
        braces = self._take("{")
        self._members(target, (), "}" if braces else "")
        if braces:
            self._expect("}")
        self._skip(_BLANKS)
        if self._at < len(self._text):
            raise self._wrong(f"{self._here()} closes nothing that was opened")

    # Where we are

    def _line(self) -> int:
        position, line = self._counted
        if position > self._at:
            position, line = 0, 1
        line += self._text.count("\n", position, self._at)
        self._counted = (self._at, line)
        return line

    def _here(self) -> str:
        if self._at >= len(self._text):
            return "the end of the file"
        word = re.compile(r"\w+|.").match(self._text, self._at)
        return json.dumps(word.group() if word else self._text[self._at], ensure_ascii=False)

    def _wrong(self, message: str, key: str = "") -> ConfigurationError:
        return ConfigurationError([Mistake(key, message, self._file, self._line())])

    def _skip(self, what: re.Pattern[str]) -> str:
        found = what.match(self._text, self._at)
        assert found is not None  # noqa: S101 - each of these matches the empty string
        self._at = found.end()
        return found.group()

    def _take(self, text: str) -> bool:
        if self._text.startswith(text, self._at):
            self._at += len(text)
            return True
        return False

    def _expect(self, closing: str) -> None:
        self._skip(_BLANKS)
        if not self._take(closing):
            hint = _NEEDS_QUOTES if closing == "]" else ""
            raise self._wrong(f'expected "{closing}", found {self._here()}{hint}')

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._wrong(f"nested deeper than {MAX_DEPTH} levels")

    # Objects

    def _members(self, target: Node, at: Key, closing: str) -> None:
        self._deeper()
        while True:
            self._skip(_BLANKS)
            if self._at >= len(self._text) or self._text[self._at] in "}]":
                break
            if _INCLUDE.match(self._text, self._at):
                self._included(target, at)
            else:
                self._member(target, at)
            self._between(closing or "the end of the file")
        self._depth -= 1

    def _between(self, closing: str) -> None:
        """A comma or a new line separates; a closing bracket ends."""
        self._skip(_SEPARATOR)
        rest = self._text[self._at : self._at + 1]
        if rest in ("", "\n", "}", "]"):
            self._skip(_BLANKS)
            self._take(",")
        elif not self._take(","):
            what = f'"{closing}"' if len(closing) == 1 else closing
            hint = _NEEDS_QUOTES if closing == "]" else ""
            raise self._wrong(f"expected a new line, a comma or {what}, found {self._here()}{hint}")

    def _member(self, target: Node, at: Key) -> None:
        line = self._line()
        key = self._key()
        self._skip(_BLANKS)
        shown = ".".join((*at, *key))
        if self._text.startswith("{", self._at):
            adds = False
        elif self._take("+="):
            adds = True
        elif self._take("=") or self._take(":"):
            adds = False
        else:
            raise self._wrong(f'expected "=" or "{{" after the key, found {self._here()}', shown)
        self._skip(_BLANKS)
        value = self._value((*at, *key))
        if adds:
            path = (*self._prefix, *at, *key)
            self_reference = Reference(path, True, (), self._file, line)
            added = Node([value], self._file, line)
            value = Pending(None, self._file, line, parts=[self_reference, added])
        assign(target, key, value, self._file, line)

    def _key(self) -> Key:
        steps: list[str] = []
        while True:
            if self._text.startswith('"', self._at):
                steps.append(self._quoted())
            elif found := _UNQUOTED_KEY.match(self._text, self._at):
                self._at = found.end()
                steps.append(found.group())
            else:
                raise self._wrong(f"expected a key, found {self._here()}")
            if not self._take("."):
                return tuple(steps)

    def _included(self, target: Node, at: Key) -> None:
        line = self._line()
        self._take("include")
        self._skip(_BLANK)
        found = _INCLUDED.match(self._text, self._at)
        if not found or found["kind"] not in (None, "file"):
            raise self._wrong('expected include "file", include file("...") or required(...)')
        path = self._path.parent / json.loads(found["name"])
        if path in self._within or len(self._within) > MAX_DEPTH:
            raise self._wrong(f"{path} includes itself")
        self._at = found.end()
        if path.exists():
            prefix = (*self._prefix, *at)
            _include(path, prefix, self._document, target, self._within)
        elif found["required"]:
            raise ConfigurationError(
                [Mistake("include", f"{path} does not exist", self._file, line)]
            )
        else:
            self._document.files.append(path)  # It may appear later.
            self._document.missing.append((path, self._file, line))

    # Values

    def _value(self, at: Key) -> Node:
        """What stands beside each other up to a comma, bracket or the end of the line."""
        line = self._line()
        parts: list[Node | Reference] = []
        blank = ""
        while True:
            part = self._part(at)
            if part is None:
                break
            if blank and parts:
                parts.append(Node(blank, self._file, line, quoted=False))
            parts.append(part)
            blank = self._skip(_BLANK)
        if not parts:
            raise self._wrong(f"expected a value, found {self._here()}", ".".join(at))
        if len(parts) == 1 and isinstance(parts[0], Node):
            return parts[0]
        return Pending(None, self._file, line, parts=parts)

    def _part(self, at: Key) -> Node | Reference | None:
        line = self._line()
        if self._text.startswith('"', self._at):
            return Node(self._quoted(), self._file, line, quoted=True)
        if self._take("{"):
            node = Node({}, self._file, line)
            self._members(node, at, "}")
            self._expect("}")
            return node
        if self._take("["):
            return self._list(at, line)
        if found := _REFERENCE.match(self._text, self._at):
            path = self._reference_path(found[2])
            self._at = found.end()
            return Reference(path, bool(found[1]), self._prefix, self._file, line)
        if self._text.startswith("//", self._at):
            return None
        if found := _UNQUOTED.match(self._text, self._at):
            self._at = found.end()
            value = None if found.group() == "null" else found.group()
            return Node(value, self._file, line)
        return None

    def _list(self, at: Key, line: int) -> Node:
        self._deeper()
        items: list[Node] = []
        while True:
            self._skip(_BLANKS)
            if self._at >= len(self._text) or self._text[self._at] in "]}":
                break
            items.append(self._value((*at[:-1], f"{at[-1] if at else ''}[{len(items)}]")))
            self._between("]")
        self._expect("]")
        self._depth -= 1
        return Node(items, self._file, line)

    def _quoted(self) -> str:
        if found := _TRIPLE.match(self._text, self._at):
            self._at = found.end()
            return found[1] + found[2]
        found = _QUOTED.match(self._text, self._at)
        if not found:
            raise self._wrong("this quotation mark has no partner on its line")
        try:
            value = json.loads(found.group(), strict=False)
        except ValueError as error:
            raise self._wrong(f"{found.group()} holds an unknown escape sequence") from error
        self._at = found.end()
        return str(value)

    def _reference_path(self, text: str) -> Key:
        steps = tuple(step.strip('"') for step in text.split("."))
        if not all(steps):
            raise self._wrong(f'expected "${{key}}" or "${{?key}}", found "${{{text}}}"')
        return steps
