"""The schemas of the OpenAPI document: what is sent to the service, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ai_workflow.config.settings import Column
from ai_workflow.serving.protocol.tensors import DATATYPES

_TYPES = {"integer": "integer", "number": "number", "boolean": "boolean", "category": "string", "datetime": "string"}
_TEXT, _NUMBER, _BOOL, _ANY_OBJECT = {"type": "string"}, {"type": "number"}, {"type": "boolean"}, {"type": "object"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_LEAST, _MOST = -(2**63), 2**63 - 1


def schemas(columns: dict[str, Column], most: int, is_number: bool, classes: Sequence[str] = ()) -> dict[str, Any]:
    """Return the schemas by name.

    Args:
        columns: what a row must have; empty: it is any object.
        most: how many rows, or labels, a request may have.
        is_number: whether a label is a number, and not a class.
        classes: the classes of the version; empty: a label may be any.
    """
    return {**_asked(columns, most), **_labels(most, is_number, classes), **_answered(), **_told()}


def _asked(columns: dict[str, Column], most: int) -> dict[str, Any]:
    """What is sent for inference; more columns, inputs or parameters than those that are known are ignored."""
    shape = {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1, "maxItems": 2}
    timeout = {"type": "integer", "minimum": 1, "description": "microseconds within which an answer is of use"}
    return {
        "Row": _object({name: _value(column) for name, column in columns.items()}, *columns),
        "Predict": _object({"rows": _list({"$ref": "#/components/schemas/Row"}, minItems=1, maxItems=most)}, "rows"),
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


def _labels(most: int, is_number: bool, classes: Sequence[str]) -> dict[str, Any]:
    text = {**_TEXT, "minLength": 1, "maxLength": 500}
    number = {**_NUMBER, "minimum": _LEAST, "maximum": _MOST}
    since = {"type": "number", "minimum": 0, "description": "seconds since 1970"}
    moment = {"type": "string", "format": "date-time", "description": "in UTC where it names no zone"}
    label = {
        "prediction_id": text,
        "label": number if is_number else {"enum": [*classes]} if classes else {"anyOf": [text, number, _BOOL]},
        "time": {"anyOf": [moment, since, {"type": "null"}], "description": "since when; now, if left out"},
    }
    labels = _list(_object(label, "prediction_id", "label"), minItems=1, maxItems=most)
    return {
        "Labels": _object({"labels": labels}, "labels"),
        "Accepted": _all(accepted={"type": "integer", "minimum": 1}),
    }


def _answered() -> dict[str, Any]:
    prediction = {
        "prediction_id": _TEXT,
        "prediction": {"description": "a class, a number, or what the default response says"},
        "score": {"description": "the probability of that class, or that number"},
    }
    told = {"fallback": _BOOL, "fallback_reason": _TEXT_OR_NULL, "trace_id": _TEXT}
    tensor = _tensor(_list({"type": "integer"}), {"binary_data_size": {"type": "integer"}})
    return {
        "Prediction": _object(
            {"predictions": _list(_object(prediction, "prediction_id")), "model_version": _TEXT, **told},
            "predictions", "model_version", *told,
        ),
        "Inferred": _object(
            {
                "model_name": _TEXT,
                "model_version": _TEXT,
                "id": _TEXT,
                "parameters": _object({**told, "prediction_id": _TEXT}, "fallback", "trace_id", "prediction_id"),
                "outputs": _list(tensor),
            },
            "model_name", "model_version", "parameters", "outputs",
        ),
        "Error": _object({"error": _TEXT, "trace_id": _TEXT}, "error"),
    }  # fmt: skip


def _told() -> dict[str, Any]:
    """What is said of the service and its versions."""
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
    found: dict[str, Any] = {"type": "object", "properties": properties}
    return found | ({"required": list(required)} if required else {})


def _all(**properties: Any) -> dict[str, Any]:
    return _object(properties, *properties)


def _list(items: dict[str, Any], **more: int) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


def _value(column: Column) -> dict[str, Any]:
    """Return the schema of a column's values; text that reads as a number is taken, too, as from a file."""
    kind, may_be_null = _TYPES[column.type], column.nullable or column.fill is not None
    schema: dict[str, Any] = {"type": [kind, "null"] if may_be_null else kind}
    if column.type == "integer":
        schema |= {"minimum": _LEAST, "maximum": _MOST}
    if column.type in ("integer", "number"):
        schema |= {
            name: bound for name, bound in (("minimum", column.min), ("maximum", column.max)) if bound is not None
        }
    if column.allowed:
        schema["enum"] = [*column.allowed, *([None] if may_be_null else [])]
    if column.type != "datetime" or column.format is not None:
        return schema
    # Not beside ["string", "null"]: some readers then take any text for a date.
    moment = {"type": "string", "format": "date-time"}
    return {"anyOf": [moment, {"type": "null"}]} if may_be_null else moment
