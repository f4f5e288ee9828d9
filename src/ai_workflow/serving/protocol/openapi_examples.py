"""Example requests of the OpenAPI document: valid but artificial, because real rows may be private."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from ai_workflow.config.settings import Column
from ai_workflow.serving.protocol.tensors import COLUMN_TYPES

_NONE: Mapping[str, str] = MappingProxyType({})
_TIMESTAMP = datetime(2026, 1, 31, 12, 30, tzinfo=UTC)


def predict_requests(columns: dict[str, Column], values: Mapping[str, str] = _NONE) -> dict[str, Any]:
    """Return requests for `POST /predict` by name; `values` has a value of each category column."""
    return {"row": {"value": {"rows": [_row(columns, values)]}}} if columns else {}


def infer_requests(columns: dict[str, Column], values: Mapping[str, str] = _NONE) -> dict[str, Any]:
    """Return requests of the Open Inference Protocol by name."""
    inputs = [
        {"name": name, "datatype": COLUMN_TYPES[columns[name].type], "shape": [1], "data": [value]}
        for name, value in _row(columns, values).items()
    ]
    binary = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    return {"row": {"value": {"inputs": inputs}}, "binaryAnswer": {"value": binary}} if columns else {}


def label_requests(is_number: bool, classes: Sequence[str] = ()) -> dict[str, Any]:
    """Return requests for `POST /labels` by name, with the first of the classes."""
    name = classes[0] if classes else "a"
    label = {"prediction_id": "5f0c1d2e3a4b-1-0", "label": 1.5 if is_number else name, "time": _TIMESTAMP.isoformat()}
    return {"label": {"value": {"labels": [label]}}}


def _row(columns: dict[str, Column], values: Mapping[str, str]) -> dict[str, Any]:
    return {name: values.get(name, _value(column)) for name, column in columns.items()}


def _value(column: Column) -> Any:
    if column.type == "boolean":
        return True
    if column.type == "category":
        return column.allowed[0] if column.allowed else "a"
    bound = column.min if column.min is not None else column.max
    if column.type == "datetime":
        timestamp = _TIMESTAMP if bound is None else datetime.fromisoformat(str(bound))
        # RFC 3339 requires a zone.
        in_zone = timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)
        return timestamp.strftime(column.format) if column.format else in_zone.isoformat()
    number = float(bound or 0)
    if column.type == "number":
        return number
    return math.floor(number) if column.min is None else math.ceil(number)
