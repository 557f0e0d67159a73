"""What to write and what to delete, so that a Kubernetes cluster holds what is wanted; pure.

Only our own fields are compared: what the API server adds by itself, and what others have added,
is none of our business and causes no write. A field that we wrote once and want no more is found
by the object's `managedFields`. How objects are read and written is left to `cluster`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from isthmus_operator import names

Manifest = dict[str, Any]
Identity = tuple[str, str, str]
"""Kind, namespace, name."""

_KEYED: Final = {
    "containers",
    "initContainers",
    "volumes",
    "volumeMounts",
    "env",
    "ports",
    "imagePullSecrets",
    "ownerReferences",
    "finalizers",
}
"""Lists that the API server merges by the keys of their items, and not as a whole."""
_QUANTITY: Final = re.compile(r"^([0-9]+(?:\.[0-9]*)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$")
_SCALE: Final = {
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate(("", *"kMGTPE"))},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)},
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do; nothing where both are empty."""

    apply: list[Manifest] = field(default_factory=list)
    delete: list[Manifest] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.apply or self.delete)


def identity(manifest: Mapping[str, Any]) -> Identity:
    """What tells an object from the others."""
    meta = manifest["metadata"]
    return manifest["kind"], meta.get("namespace", ""), meta["name"]


def plan(wanted: Sequence[Manifest], live: Sequence[Manifest], owner: str) -> Plan:
    """What to write and delete; deleted is only what carries `owner` in its label."""
    there = {identity(one): one for one in live}
    keep = {identity(one) for one in wanted}
    apply = [one for one in wanted if differs(one, there.get(identity(one)))]
    delete = [
        one
        for one in live
        if identity(one) not in keep
        and one["metadata"].get("labels", {}).get(names.OWNER) == owner
        and not one["metadata"].get("deletionTimestamp")
    ]
    return Plan(apply, delete)


def differs(wanted: Manifest, live: Manifest | None) -> bool:
    """Whether `live` lacks something of `wanted`, or has something of ours that is not wanted."""
    if live is None:
        return True
    wanted = _as_stored(wanted)
    return not _holds(wanted, live) or _left_over(wanted, live)


def _as_stored(wanted: Manifest) -> Manifest:
    """`stringData` is stored as `data`."""
    if "stringData" not in wanted:
        return wanted
    texts: Mapping[str, str] = wanted["stringData"]
    data = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    rest = {key: value for key, value in wanted.items() if key != "stringData"}
    return {**rest, "data": {**wanted.get("data", {}), **data}}


def _holds(wanted: Any, live: Any, name: str = "") -> bool:
    """Whether all of `wanted` is in `live`."""
    if isinstance(wanted, Mapping):
        if not isinstance(live, Mapping):
            return not wanted and live is None
        return all(_holds(value, live.get(key), key) for key, value in wanted.items())
    if isinstance(wanted, list):
        return _holds_list(wanted, live or [], name)
    if wanted in (None, False, "", 0) and live is None:
        return True  # what is empty is not stored
    return bool(wanted == live) or _same_quantity(wanted, live)


def _holds_list(wanted: list[Any], live: Any, name: str) -> bool:
    if not isinstance(live, list):
        return False
    if name in _KEYED:
        return all(any(_holds(one, other) for other in live) for one in wanted)
    return len(wanted) == len(live) and all(
        _holds(one, other) for one, other in zip(wanted, live, strict=True)
    )


def _same_quantity(a: Any, b: Any) -> bool:
    """`0.5` is stored as `500m`, `1024Mi` as `1Gi`."""
    one, other = _quantity(a), _quantity(b)
    return one is not None and one == other


def _quantity(value: Any) -> Decimal | None:
    found = _QUANTITY.match(str(value))
    if not found or isinstance(value, bool):
        return None
    return Decimal(found[1]) * _SCALE[found[2] or ""]


def _left_over(wanted: Manifest, live: Manifest) -> bool:
    """Whether a field that we own in `live` is not wanted any more."""
    ours = (
        entry.get("fieldsV1", {})
        for entry in live["metadata"].get("managedFields") or ()
        if entry.get("manager") == names.FIELD_MANAGER and entry.get("operation") == "Apply"
    )
    return any(_unwanted(owned, wanted) for owned in ours)


def _unwanted(owned: Mapping[str, Any], wanted: Any) -> bool:
    for key, below in owned.items():
        if key == ".":
            continue
        kind, _, text = key.partition(":")
        found = _at(kind, text, wanted)
        if found is _ABSENT or (below and _unwanted(below, found)):
            return True
    return False


_ABSENT: Final = object()


def _at(kind: str, text: str, wanted: Any) -> Any:
    """What `wanted` has at one step of a `fieldsV1` path; `_ABSENT` where nothing."""
    if kind == "f":
        return wanted.get(text, _ABSENT) if isinstance(wanted, Mapping) else _ABSENT
    if not isinstance(wanted, list):
        return _ABSENT
    value = json.loads(text)
    if kind == "v":
        return value if value in wanted else _ABSENT
    if kind == "k":
        # The API server adds defaults to keys: `protocol` of a port.
        same = (one for one in wanted if all(one.get(k, v) == v for k, v in value.items()))
        return next(same, _ABSENT)
    return wanted
