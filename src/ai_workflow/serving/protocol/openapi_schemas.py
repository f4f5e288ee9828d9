"""Schemas of the OpenAPI document: request and response bodies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ai_workflow.config.settings import Column
from ai_workflow.serving.protocol.tensors import DATATYPES

_TYPES = {"integer": "integer", "number": "number", "boolean": "boolean", "category": "string", "datetime": "string"}
_TEXT, _NUMBER, _BOOL, _ANY_OBJECT = {"type": "string"}, {"type": "number"}, {"type": "boolean"}, {"type": "object"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**63 - 1


def schemas(columns: dict[str, Column], max_rows: int, is_number: bool, classes: Sequence[str] = ()) -> dict[str, Any]:
    """Return the schemas by name.

    Args:
        columns: the columns of a row; empty: a row is any object.
        max_rows: limit of rows or labels of a request.
        is_number: whether a label is a number, not a class.
        classes: the classes of the version; empty: any label is allowed.
    """
    return {
        **_inference_requests(columns, max_rows),
        **_labels(max_rows, is_number, classes),
        **_inference_responses(),
        **_metadata(),
    }


def _inference_requests(columns: dict[str, Column], max_rows: int) -> dict[str, Any]:
    """Return the schemas of inference requests; unknown columns, inputs and parameters are ignored."""
    shape = {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1, "maxItems": 2}
    timeout = {"type": "integer", "minimum": 1, "description": "deadline of the client in microseconds"}
    return {
        "Row": _object({name: _value(column) for name, column in columns.items()}, *columns),
        "Predict": _object(
            {"rows": _list({"$ref": "#/components/schemas/Row"}, minItems=1, maxItems=max_rows)}, "rows"
        ),
        "Infer": _object(
            {
                "id": _TEXT,
                "parameters": _object({"timeout": timeout, "binary_data_output": _BOOL}),
                "inputs": _list(_tensor(shape, {"binary_data_size": {"type": "integer", "minimum": 0}}), minItems=1),
                "outputs": _list(_object({"name": _TEXT, "parameters": _object({"binary_data": _BOOL})}, "name")),
            },
            "inputs",
        ),
    }


def _labels(max_rows: int, is_number: bool, classes: Sequence[str]) -> dict[str, Any]:
    text = {**_TEXT, "minLength": 1, "maxLength": 500}
    number = {**_NUMBER, "minimum": _MIN_INTEGER, "maximum": _MAX_INTEGER}
    since = {"type": "number", "minimum": 0, "description": "seconds since 1970"}
    timestamp = {"type": "string", "format": "date-time", "description": "in UTC if without a zone"}
    label = {
        "prediction_id": text,
        "label": number if is_number else {"enum": [*classes]} if classes else {"anyOf": [text, number, _BOOL]},
        "time": {
            "anyOf": [timestamp, since, {"type": "null"}],
            "description": "when the label became known; now if missing",
        },
    }
    labels = _list(_object(label, "prediction_id", "label"), minItems=1, maxItems=max_rows)
    return {
        "Labels": _object({"labels": labels}, "labels"),
        "Accepted": _all(accepted={"type": "integer", "minimum": 1}),
    }


def _inference_responses() -> dict[str, Any]:
    prediction = {
        "prediction_id": _TEXT,
        "prediction": {"description": "a class, a number, or the value of the default response"},
        "score": {"description": "the probability of the class, or the number"},
        "contributions": {
            "type": ["object", "null"],
            "additionalProperties": _NUMBER,
            "description": "with explain=1: the contribution of each column to the raw score; null if there is none",
        },
        "base_value": {"type": ["number", "null"], "description": "with explain=1: the raw score without the columns"},
    }
    explained = {"explanation_error": {**_TEXT_OR_NULL, "description": "with explain=1: why contributions are null"}}
    outcome = {"fallback": _BOOL, "fallback_reason": _TEXT_OR_NULL, "trace_id": _TEXT}
    tensor = _tensor(_list({"type": "integer"}), {"binary_data_size": {"type": "integer"}})
    return {
        "Prediction": _object(
            {"predictions": _list(_object(prediction, "prediction_id")), "model_version": _TEXT, **outcome,
             **explained},
            "predictions", "model_version", *outcome,
        ),
        "Inferred": _object(
            {
                "model_name": _TEXT,
                "model_version": _TEXT,
                "id": _TEXT,
                "parameters": _object({**outcome, "prediction_id": _TEXT}, "fallback", "trace_id", "prediction_id"),
                "outputs": _list(tensor),
            },
            "model_name", "model_version", "parameters", "outputs",
        ),
        "Error": _object({"error": _TEXT, "trace_id": _TEXT}, "error"),
    }  # fmt: skip


def _metadata() -> dict[str, Any]:
    """Return the schemas of health and metadata."""
    tensors = _list(_tensor(_list({"type": "integer", "minimum": -1}), {}))
    texts = _list(_TEXT)
    return {
        "Live": _object({"live": _BOOL}, "live"),
        "Ready": _all(
            ready=_BOOL,
            state={"enum": ["ok", "degraded", "draining"]},
            serving=_TEXT_OR_NULL,
            versions={"type": "object", "additionalProperties": _TEXT},
            absent=_TEXT_OR_NULL,
        ),
        "ModelReady": _all(name=_TEXT, ready=_BOOL),
        "Server": _all(name=_TEXT, version=_TEXT, extensions=texts),
        "Metadata": _object(
            {"name": _TEXT, "versions": texts, "platform": _TEXT, "inputs": tensors, "outputs": tensors,
             "parameters": _ANY_OBJECT},
            "name", "platform", "inputs", "outputs",
        ),
    }  # fmt: skip


def _tensor(shape: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    properties = {
        "name": _TEXT,
        "datatype": {"enum": list(DATATYPES)},
        "shape": shape,
        "data": {"type": "array"},
        "parameters": _object(parameters),
    }
    return _object(properties, "name", "datatype", "shape")


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return schema | ({"required": list(required)} if required else {})


def _all(**properties: Any) -> dict[str, Any]:
    return _object(properties, *properties)


def _list(items: dict[str, Any], **more: int) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


def _value(column: Column) -> dict[str, Any]:
    """Return the schema of a column's values."""
    json_type, is_nullable = _TYPES[column.type], column.nullable or column.fill is not None
    schema: dict[str, Any] = {"type": [json_type, "null"] if is_nullable else json_type}
    if column.type == "integer":
        schema |= {"minimum": _MIN_INTEGER, "maximum": _MAX_INTEGER}
    if column.type in ("integer", "number"):
        schema |= {
            name: bound for name, bound in (("minimum", column.min), ("maximum", column.max)) if bound is not None
        }
    if column.allowed:
        schema["enum"] = [*column.allowed, *([None] if is_nullable else [])]
    if column.type != "datetime" or column.format is not None:
        return schema
    # Not as type ["string", "null"]: some clients then parse any text as a date.
    timestamp = {"type": "string", "format": "date-time"}
    return {"anyOf": [timestamp, {"type": "null"}]} if is_nullable else timestamp
