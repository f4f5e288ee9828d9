"""The OpenAPI document of the service, with the columns that the version at hand asks for."""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import Any

from ai_workflow.serving.loaded import Loaded
from ai_workflow.settings import Column, Settings

_TYPES = {"integer": "integer", "number": "number", "boolean": "boolean", "category": "string", "datetime": "string"}
_TEXT, _NUMBER, _BOOL = {"type": "string"}, {"type": "number"}, {"type": "boolean"}
_ANY_OBJECT = {"type": "object"}


def document(settings: Settings, loaded: Loaded | None) -> dict[str, Any]:
    """Return the document; where no version is loaded, a row is any object."""
    infer = f"/v2/models/{settings.pipeline}"
    columns = loaded.encoder.columns if loaded else {}
    versions = {"name": "version", "in": "path", "required": True, "schema": _TEXT}
    paths = {
        "/predict": {"post": _operation("predict", "Predict rows", "Predict", "Prediction")},
        f"{infer}/infer": {"post": _operation("infer", "Open Inference Protocol", "Infer", "Inferred")},
        f"{infer}/versions/{{version}}/infer": {
            "post": _operation("inferByVersion", "The same by one version, or nobody", "Infer", "Inferred", "404")
            | {"parameters": [versions]}
        },
        f"{infer}": {"get": _getter("modelMetadata", "What the model takes and gives")},
        f"{infer}/versions/{{version}}": {
            "get": _getter("versionMetadata", "The same of one version", "404") | {"parameters": [versions]}
        },
        f"{infer}/ready": {"get": _getter("modelReady", "Whether the model answers", "503")},
        "/v2": {"get": _getter("serverMetadata", "Name and extensions")},
        "/v2/health/live": {"get": _getter("live", "Whether the process runs") | {"security": []}},
        "/v2/health/ready": {
            "get": _getter("ready", "Whether requests are answered, and by what", "503") | {"security": []}
        },
    }
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": f"ai-workflow · {settings.pipeline}", "version": version_of("ai-workflow")},
        "paths": paths,
        "components": {"schemas": _schemas(columns, settings.service.max_rows)},
    }
    if settings.service.token is not None:
        document["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"bearer": []}]
    return document


def _operation(name: str, summary: str, asked: str, answered: str, *more: str) -> dict[str, Any]:
    body = {"required": True, "content": {"application/json": {"schema": _ref(asked)}}}
    return {
        "operationId": name,
        "summary": summary,
        "requestBody": body,
        "responses": {"200": _answer(answered), **_errors("400", "401", "413", "503", "504", *more)},
    }


def _getter(name: str, summary: str, *errors: str) -> dict[str, Any]:
    content = {"description": summary, "content": {"application/json": {"schema": _ANY_OBJECT}}}
    return {"operationId": name, "summary": summary, "responses": {"200": content, **_errors("401", *errors)}}


def _errors(*statuses: str) -> dict[str, Any]:
    return {status: {**_answer("Error"), "description": "what is wrong"} for status in statuses}


def _answer(schema: str) -> dict[str, Any]:
    return {"description": "the answer", "content": {"application/json": {"schema": _ref(schema)}}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _schemas(columns: dict[str, Column], most: int) -> dict[str, Any]:
    row: dict[str, Any] = dict(_ANY_OBJECT)
    if columns:
        row |= {
            "required": list(columns),
            "properties": {name: _value(column) for name, column in columns.items()},
        }
    rows = {"type": "array", "minItems": 1, "maxItems": most, "items": _ref("Row")}
    tensor = {
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": _TEXT,
            "datatype": _TEXT,
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1, "maxItems": 2},
            "data": {"type": "array"},
            "parameters": _ANY_OBJECT,
        },
    }
    told = {"model_version": _TEXT, "trace_id": _TEXT}
    return {
        "Row": row,
        "Predict": {"type": "object", "required": ["rows"], "properties": {"rows": rows}},
        "Prediction": {
            "type": "object",
            "required": ["predictions", "model_version", "fallback", "fallback_reason", "trace_id"],
            "properties": {
                "predictions": {"type": "array", "items": _ANY_OBJECT},
                **told,
                "fallback": _BOOL,
                "fallback_reason": {"type": ["string", "null"]},
            },
        },
        "Infer": {
            "type": "object",
            "required": ["inputs"],
            "properties": {
                "id": _TEXT,
                "parameters": _ANY_OBJECT,
                "inputs": {"type": "array", "minItems": 1, "items": tensor},
                "outputs": {
                    "type": "array",
                    "items": {"type": "object", "required": ["name"], "properties": {"name": _TEXT}},
                },
            },
        },
        "Inferred": {
            "type": "object",
            "required": ["model_name", "model_version", "outputs"],
            "properties": {"model_name": _TEXT, "model_version": _TEXT, "outputs": {"type": "array", "items": tensor}},
        },
        "Error": {"type": "object", "required": ["error"], "properties": {"error": _TEXT}},
    }


def _value(column: Column) -> dict[str, Any]:
    """Return the schema of a column's values; text that reads as a number is taken, too, as from a file."""
    kind = _TYPES[column.type]
    schema: dict[str, Any] = {"type": [kind, "null"] if column.nullable or column.fill is not None else kind}
    if column.type in ("integer", "number"):
        schema |= {
            name: bound for name, bound in (("minimum", column.min), ("maximum", column.max)) if bound is not None
        }
    if column.allowed:
        schema["enum"] = [*column.allowed, *([None] if column.nullable else [])]
    if column.type == "datetime":
        schema["format"] = "date-time"
    return schema
