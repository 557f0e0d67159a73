"""Schemas of the parts of a pod that a BrokerCluster passes on as they are.

Kubernetes defines these; the CRD spells them out all the same, so that a misspelt key is refused
at once, and not by the StatefulSet later. Values are left for the API server to judge where the
pod is made. Fields that a later Kubernetes adds have to be added here.
"""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]

_STRING: Final[Schema] = {"type": "string"}
_INTEGER: Final[Schema] = {"type": "integer"}
_STRINGS: Final[Schema] = {"type": "array", "items": _STRING, "maxItems": 256}
_STRING_MAP: Final[Schema] = {"type": "object", "additionalProperties": _STRING}


def _object(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items, "maxItems": 64}


def _requirements() -> Schema:
    return _list(_object(("key", "operator"), key=_STRING, operator=_STRING, values=_STRINGS))


def _label_selector() -> Schema:
    return _object(matchLabels=_STRING_MAP, matchExpressions=_requirements())


def _node_term() -> Schema:
    return _object(matchExpressions=_requirements(), matchFields=_requirements())


def _node_affinity() -> Schema:
    required = _object(("nodeSelectorTerms",), nodeSelectorTerms=_list(_node_term()))
    preferred = _object(("preference", "weight"), preference=_node_term(), weight=_INTEGER)
    return _scheduling(required, _list(preferred))


def _pod_affinity() -> Schema:
    term = _object(
        ("topologyKey",),
        labelSelector=_label_selector(),
        namespaceSelector=_label_selector(),
        namespaces=_STRINGS,
        topologyKey=_STRING,
        matchLabelKeys=_STRINGS,
        mismatchLabelKeys=_STRINGS,
    )
    preferred = _object(("podAffinityTerm", "weight"), podAffinityTerm=term, weight=_INTEGER)
    return _scheduling(_list(term), _list(preferred))


def _scheduling(required: Schema, preferred: Schema) -> Schema:
    return _object(
        requiredDuringSchedulingIgnoredDuringExecution=required,
        preferredDuringSchedulingIgnoredDuringExecution=preferred,
    )


def _resources() -> Schema:
    amount: Schema = {
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": True,
    }
    amounts: Schema = {"type": "object", "additionalProperties": amount}
    return _object(requests=amounts, limits=amounts)


SCHEMAS: Final[dict[str, Schema]] = {
    "resources": _resources(),
    "affinity": _object(
        nodeAffinity=_node_affinity(),
        podAffinity=_pod_affinity(),
        podAntiAffinity=_pod_affinity(),
    ),
    "tolerations": _list(
        _object(
            key=_STRING,
            operator=_STRING,
            value=_STRING,
            effect=_STRING,
            tolerationSeconds=_INTEGER,
        )
    ),
    "topologySpreadConstraints": _list(
        _object(
            ("maxSkew", "topologyKey", "whenUnsatisfiable"),
            maxSkew=_INTEGER,
            minDomains=_INTEGER,
            topologyKey=_STRING,
            whenUnsatisfiable=_STRING,
            labelSelector=_label_selector(),
            matchLabelKeys=_STRINGS,
            nodeAffinityPolicy=_STRING,
            nodeTaintsPolicy=_STRING,
        )
    ),
}
"""By the name of the pod's field."""
