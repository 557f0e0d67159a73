"""Pydantic's errors as `Mistake`s: key, place, what came, what was expected.

Values of keys that hold secrets are never shown.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from isthmus_broker.errors import ConfigurationError, Mistake
from isthmus_broker.settings.tree import Node
from isthmus_broker.settings.values import Context

Loc = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)

_SECRETS: Final = frozenset(("password", "api_key", "cookie"))
_EXPECTED: Final = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "union_tag_invalid": "{expected_tags}",
    "tuple_type": "a list, as in [a, b]",
    "dict_type": "an object, as in {{key = value}}",
    "model_type": "an object, as in {{key = value}}",
    "model_attributes_type": "an object, as in {{key = value}}",
    "expected": "{what}",
}

_WANTED: Final = {
    "name": "the name of the other cluster",
    "server": "host:port, mqtt://host[:port] or mqtts://host[:port]",
    "topics": 'a list of topic filters to receive, as in ["#"]; [] receives nothing',
    "bind": "a port or address:port to listen on",
    "file": "the name of a password file",
    "permit": '"allow" or "deny"',
    "ssl_options": "an object with certfile and keyfile",
}


def validate(
    model: type[Model],
    data: object,
    context: Context,
    node: Node | None = None,
    prefix: str = "",
) -> Model:
    """Validate `data`; places come from `node`, keys are told below `prefix`.

    Raises:
        ConfigurationError: with every mistake, in the order of the lines.

    """
    try:
        return model.model_validate(data, context=context)
    except ValidationError as error:
        found = [_mistake(model, details, node, prefix) for details in error.errors()]
        raise ConfigurationError(in_order(found)) from error


def in_order(mistakes: list[Mistake]) -> list[Mistake]:
    """Sort by file and line, those of the same line in the order given."""
    return sorted(mistakes, key=lambda mistake: (mistake.file, mistake.line or 0))


def key_path(loc: Loc) -> str:
    """`("links", 0, "topics", 1)` -> `links[0].topics[1]`."""
    text = ""
    for step in loc:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            shown = json.dumps(step, ensure_ascii=False) if "." in step or not step else step
            text += f".{shown}" if text else shown
    return text


def at(node: Node | None, loc: Loc, message: str) -> Mistake:
    """Make the mistake of the value at `loc`."""
    if node is None:
        return Mistake(key_path(loc), message)
    place = node.find(loc)
    return Mistake(key_path(loc), message, place.file, place.line)


def _mistake(
    model: type[BaseModel], details: ErrorDetails, node: Node | None, prefix: str
) -> Mistake:
    loc = _real(details["loc"])
    found = at(node, loc, _message(model, loc, details, node))
    if not prefix:
        return found
    return Mistake(f"{prefix}.{found.key}" if found.key else prefix, found.message)


def _real(loc: Loc) -> Loc:
    """Pydantic names the chosen kind of authentication within the path; we don't."""
    if loc[:1] == ("authentication",) and len(loc) > 2:
        return (*loc[:2], *loc[3:])
    return loc


def _message(model: type[BaseModel], loc: Loc, details: ErrorDetails, node: Node | None) -> str:
    kind = details["type"]
    if kind == "extra_forbidden":
        return _unknown(model, loc)
    if kind == "missing":
        return f"is missing: expected {_WANTED.get(str(loc[-1]), 'a value')}"
    if kind == "union_tag_not_found":
        return 'mechanism is missing: expected "password_based" or "client_certificate"'
    context = details.get("ctx", {})
    hint, came = _EXPECTED.get(kind), details["input"]
    if kind == "union_tag_invalid" and isinstance(came, Mapping):
        came = came.get("mechanism")
    if hint is None:
        return str(context.get("what") or details["msg"])
    hint = hint.format(**context).replace("'", '"')
    return f"{_shown(loc, came, node)}: expected {hint}"


def _shown(loc: Loc, came: object, node: Node | None) -> str:
    """What came, as it was written; not where it is a secret, or long."""
    if any(step in _SECRETS for step in loc):
        return "the secret"
    if isinstance(came, Mapping):
        return "an object"
    if isinstance(came, (list, tuple)):
        return "a list"
    place = None if node is None else node.find(loc)
    bare = place is not None and place.value == came and not place.quoted
    if bare and isinstance(came, str) and came.replace(".", "").replace("-", "").isalnum():
        text = came if came[:1].isdigit() or came in ("true", "false") else json.dumps(came)
    else:
        text = json.dumps(came, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _unknown(model: type[BaseModel], loc: Loc) -> str:
    holder = _model_at(model, loc[:-1])
    known = [] if holder is None else sorted(holder.model_fields)
    close = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.6)
    if close:
        return f'unknown key; did you mean "{close[0]}"?'
    return f"unknown key; expected one of {', '.join(known)}" if known else "unknown key"


def _model_at(model: type[BaseModel], loc: Loc) -> type[BaseModel] | None:
    """Find the model that the keys at `loc` belong to."""
    annotation: Any = model
    for step in loc:
        current = _as_model(annotation)
        if current is not None and isinstance(step, str):
            field = current.model_fields.get(step)
            annotation = None if field is None else field.annotation
        else:  # Within a list, or a name within a dictionary: its last argument is the value.
            inner = [it for it in get_args(annotation) if it is not Ellipsis]
            annotation = inner[-1] if inner else None
    return _as_model(annotation)


def _as_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None
