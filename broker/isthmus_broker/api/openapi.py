"""The OpenAPI document of the admin API; the schema of a link comes from its model."""

from __future__ import annotations

from typing import Any, Final

from isthmus_broker import __version__
from isthmus_broker.settings import LinkSettings

_REF: Final = "#/components/schemas/"
_NAME: Final = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
_DIRECTION: Final = {
    "type": "object",
    "properties": {
        "state": {"$ref": f"{_REF}State"},
        "reason": {"type": "string"},
        "since": {"type": ["number", "null"], "description": "Seconds since the epoch."},
        "last_seen": {"type": ["number", "null"], "description": "Last proof of life."},
        "routes": {"type": "integer"},
        "messages": {"type": "integer"},
        "rate": {"type": "number", "description": "Messages a second."},
        "lag": {"type": ["number", "null"], "description": "Seconds."},
    },
}
_STATES: Final = ["running", "connecting", "disconnected", "stopped", "inconsistent"]


def document() -> dict[str, Any]:
    """Make the document."""
    link = "/api/v5/cluster/links/link/{name}"
    return {
        "openapi": "3.1.0",
        "info": {"title": "Isthmus broker", "version": __version__},
        "paths": {
            "/healthz": {"get": _operation("Whether the process is alive", text=True, key=False)},
            "/readyz": {
                "get": _operation("Whether clients should come here", text=True, key=False)
                | {"responses": {"200": _text("ready"), "503": _text("why not")}}
            },
            "/metrics": {"get": _operation("Metrics for Prometheus", text=True)},
            "/api/v5/status": {"get": _operation("Version, configuration and uptime", "Status")},
            "/api/v5/openapi.json": {"get": _operation("The document that you read")},
            "/api/v5/cluster/links": {
                "get": _operation("All links with their status", "LinkWithStatus", many=True),
                "post": _changing("Add a link", "201"),
            },
            link: {
                "parameters": [_NAME],
                "get": _operation("One link with its status", "LinkWithStatus", errors=("404",)),
                "put": _changing("Replace a link", "200", ("404",)),
                "delete": _emptying("Remove a link", ("403", "404", "409")),
            },
            f"{link}/metrics": {
                "parameters": [_NAME],
                "get": _operation("Metrics of one link", "LinkMetrics", errors=("404",)),
            },
            f"{link}/metrics/reset": {
                "parameters": [_NAME],
                "put": _emptying("Set the counters of a link to zero", ("404",)),
            },
        },
        "components": {"schemas": _schemas(), "securitySchemes": _SECURITY},
        "security": [{"bearer": []}, {"header": []}, {"basic": []}],
    }


_SECURITY: Final = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic"},
    "header": {"type": "apiKey", "in": "header", "name": "X-Isthmus-Key"},
}


def _schemas() -> dict[str, Any]:
    link = LinkSettings.model_json_schema(ref_template=f"{_REF}{{model}}")
    nested = link.pop("$defs", {})
    return {
        **nested,
        "Link": link,
        "State": {"type": "string", "enum": _STATES},
        "Direction": _DIRECTION,
        "LinkWithStatus": {
            "type": "object",
            "description": "A Link, secrets as stars, with `status`, `reason` and `node_status`.",
            "properties": {
                "name": {"type": "string"},
                "status": {"$ref": f"{_REF}State"},
                "reason": {"type": "string"},
                "node_status": {"type": "array", "items": {"$ref": f"{_REF}NodeStatus"}},
            },
        },
        "NodeStatus": {
            "type": "object",
            "properties": {
                "node": {"type": "string"},
                "status": {"$ref": f"{_REF}State"},
                "reason": {"type": "string"},
                "incoming": {"$ref": f"{_REF}Direction"},
                "outgoing": {"$ref": f"{_REF}Direction"},
            },
        },
        "LinkMetrics": {
            "type": "object",
            "properties": {"metrics": {"type": "object"}, "node_metrics": {"type": "array"}},
        },
        "Status": {
            "type": "object",
            "properties": {
                "version": {"type": "string"},
                "node": {"type": "string"},
                "cluster": {"type": "string"},
                "uptime": {"type": "number", "description": "Seconds."},
                "connections": {"type": "integer"},
                "ready": {"type": "boolean"},
                "configuration": {"type": "object"},
            },
        },
        "Error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "mistakes": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"key": {"type": "string"}, "message": {"type": "string"}},
                    },
                },
            },
        },
    }


def _operation(
    summary: str,
    schema: str = "",
    *,
    many: bool = False,
    text: bool = False,
    key: bool = True,
    errors: tuple[str, ...] = (),
) -> dict[str, Any]:
    wanted: dict[str, Any] = {"$ref": _REF + schema} if schema else {"type": "object"}
    if many:
        wanted = {"type": "array", "items": wanted}
    good = _text(summary) if text else _json(summary, wanted)
    operation: dict[str, Any] = {"summary": summary, "responses": {"200": good, **_errors(errors)}}
    if not key:
        operation["security"] = []
    return operation


def _changing(summary: str, status: str, errors: tuple[str, ...] = ()) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"{_REF}Link"}}}
    good = _json("The link as it is now", {"$ref": f"{_REF}LinkWithStatus"})
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": content},
        "responses": {status: good, **_errors(("400", "403", "409", *errors))},
    }


def _emptying(summary: str, errors: tuple[str, ...]) -> dict[str, Any]:
    return {"summary": summary, "responses": {"204": {"description": "Done"}, **_errors(errors)}}


def _errors(statuses: tuple[str, ...]) -> dict[str, Any]:
    return {status: _json("What is wrong", {"$ref": f"{_REF}Error"}) for status in statuses}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _text(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"text/plain": {}}}
