"""The CustomResourceDefinitions, made from the models. Pure: the same models, the same text.

A model's JSON schema becomes a structural one: references are put in place, "or null" goes (the
API server drops a null where none is allowed), and defaults of nested models are spelt out, so that
a stored resource shows all that holds. Where a text has a rule with a message of its own, the bare
pattern goes: "should match '^...$'" helps nobody.

`missing_fields` tells an operator that meets CRDs older than itself what they lack.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from isthmus_operator.model import CEL, RAW, BrokerClusterSpec, ClusterLinkSpec
from isthmus_operator.names import GROUP, VERSION
from isthmus_operator.pod_schemas import SCHEMAS
from isthmus_operator.status_schema import BrokerClusterStatus, ClusterLinkStatus

Schema = dict[str, Any]

_EMPTY: Final[tuple[Any, ...]] = (None, "", [], {})
_DROPPED: Final = ("title", "additionalProperties", "propertyNames", "$defs", "const", RAW)


class _Generator(GenerateJsonSchema):
    """Pydantic's generator; it knows what `default_factory` makes."""

    def get_default_value(self, schema: Any) -> Any:
        factory = schema.get("default_factory")
        if factory is None:
            return super().get_default_value(schema)
        value = factory()
        if isinstance(value, BaseModel):
            return value.model_dump(mode="json", by_alias=True, exclude_none=True)
        return value


def structural(model: type[BaseModel]) -> Schema:
    """The structural schema of a model."""
    document = model.model_json_schema(schema_generator=_Generator)
    return _converted(document, document.get("$defs", {}))


def _converted(node: Mapping[str, Any], models: Mapping[str, Any]) -> Schema:
    merged = _merged(node, models)
    if RAW in merged:
        return {**SCHEMAS[merged[RAW]], "description": merged["description"]}
    schema = {key: value for key, value in merged.items() if key not in _DROPPED}
    if "properties" in schema:
        schema["properties"] = {
            name: _converted(field, models) for name, field in schema["properties"].items()
        }
    elif isinstance(merged.get("additionalProperties"), dict):
        schema["additionalProperties"] = _converted(merged["additionalProperties"], models)
    if "items" in schema:
        schema["items"] = _converted(schema["items"], models)
    if CEL in schema:
        schema.pop("pattern", None)
    if "default" in schema:
        schema["default"] = _full(schema["default"])
        if schema["default"] in _EMPTY:
            del schema["default"]
    return schema


def _merged(node: Mapping[str, Any], models: Mapping[str, Any]) -> Schema:
    """A node with what it refers to put in place; its own words win."""
    merged = dict(node)
    if "anyOf" in merged:
        (choice,) = (entry for entry in merged.pop("anyOf") if entry.get("type") != "null")
        merged = {**choice, **merged}
    if "$ref" in merged:
        name = merged.pop("$ref").rsplit("/", 1)[-1]
        merged = {**_merged(models[name], models), **merged}
    if "const" in merged:
        merged["enum"] = [merged["const"]]
    return merged


def _full(value: Any) -> Any:
    """A default without what is empty in it."""
    if isinstance(value, dict):
        parts = {key: _full(part) for key, part in value.items()}
        return {key: part for key, part in parts.items() if part not in _EMPTY}
    return value


def _status(model: type[BaseModel], keys: Mapping[str, str]) -> Schema:
    """A status; `keys` names lists whose entries are told apart by one of their fields."""
    schema = structural(model)
    for name, key in keys.items():
        schema["properties"][name] |= {
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": [key],
        }
    return schema


def _column(name: str, path: str, description: str, **more: Any) -> dict[str, Any]:
    column = {"name": name, "type": "string", "jsonPath": path, "description": description}
    return {**column, **more}


def _ready(field: str) -> str:
    return f'.status.conditions[?(@.type=="Ready")].{field}'


_READY: Final = [
    _column("READY", _ready("status"), "Whether it does what it is to do."),
    _column("REASON", _ready("reason"), "Why, or why not, in one word."),
]
_LAST: Final = [
    _column("AGE", ".metadata.creationTimestamp", "Since when it is there.", type="date"),
    _column("MESSAGE", _ready("message"), "Why, or why not, and what to do.", priority=1),
]

_SERVICE_NAME: Final = {
    "rule": "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')"
    " && self.metadata.name.size() <= 63",
    "message": "Services and pods are named after it: expected a name of lower-case letters, digits"
    " and -, a letter first, at most 63; clusterName may be any other",
}

_CLUSTER_COLUMNS: Final = [
    *_READY,
    _column("MQTT", ".status.endpoints.mqtt", "Where clients reach it."),
    _column("LINK", ".status.endpoints.link", "Where other clusters reach it."),
    _column("VERSION", ".status.version", "Version of the brokers.", priority=1),
    *_LAST,
]
_LINK_COLUMNS: Final = [
    _column("CLUSTERS", ".status.clusters", "The two ends."),
    *_READY,
    _column("->", ".status.forward", "From the first end to the second."),
    _column("<-", ".status.backward", "From the second end to the first."),
    *_LAST,
]


def definitions() -> dict[str, dict[str, Any]]:
    """The CustomResourceDefinitions, by the plural names of the resources."""
    cluster = _definition(
        ("BrokerCluster", "brokerclusters", "bc"),
        "One MQTT broker cluster, wherever it runs.",
        {**structural(BrokerClusterSpec), "default": {}},
        _status(BrokerClusterStatus, {"conditions": "type"}),
        _CLUSTER_COLUMNS,
        **{CEL: [_SERVICE_NAME]},
    )
    link = _definition(
        ("ClusterLink", "clusterlinks", "clink"),
        "A link of two broker clusters: each receives from the other what it subscribes to.",
        structural(ClusterLinkSpec),
        _status(ClusterLinkStatus, {"conditions": "type"}),
        _LINK_COLUMNS,
        required=["spec"],
    )
    return {"brokerclusters": cluster, "clusterlinks": link}


def _definition(
    names: tuple[str, str, str],
    description: str,
    spec: Schema,
    status: Schema,
    columns: list[dict[str, Any]],
    **more: Any,
) -> dict[str, Any]:
    kind, plural, short = names
    schema = {
        "type": "object",
        "description": description,
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
        **more,
    }
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": columns,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": ["isthmus"],
            },
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def missing_fields(published: Mapping[str, Any], plural: str) -> list[str]:
    """Fields that we read or write and that a published schema of the resource lacks.

    Args:
        published: the resource's schema, as `openAPIV3Schema` in its CRD has it, or as
            `/openapi/v3/apis/isthmus.dev/v1alpha1`, which every ServiceAccount may read, has it
            under `components.schemas`.
        plural: `brokerclusters` or `clusterlinks`.

    Returns:
        Their paths, such as `spec.listeners.link.advertised`; a missing field's own fields are
        left out.
    """
    (version,) = definitions()[plural]["spec"]["versions"]
    wanted = version["schema"]["openAPIV3Schema"]
    parts = ("spec", "status")
    return [
        path
        for part in parts
        for path in _missing(
            published.get("properties", {}).get(part, {}), wanted["properties"][part], part
        )
    ]


def _missing(published: Mapping[str, Any], wanted: Schema, path: str) -> Iterator[str]:
    found = published.get("properties", {})
    for name, field in wanted.get("properties", {}).items():
        if name in found:
            yield from _missing(found[name], field, f"{path}.{name}")
        else:
            yield f"{path}.{name}"
    if "items" in wanted:
        yield from _missing(published.get("items", {}), wanted["items"], f"{path}[]")
