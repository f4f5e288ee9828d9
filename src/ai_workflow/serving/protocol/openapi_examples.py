"""The examples of the OpenAPI document: requests that can be sent as they stand, made up, as rows may be private."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from ai_workflow.config.settings import Column
from ai_workflow.serving.protocol.tensors import COLUMN_TYPES

_NONE: Mapping[str, str] = MappingProxyType({})
_MOMENT = datetime(2026, 1, 31, 12, 30, tzinfo=UTC)


def of_predict(columns: dict[str, Column], seen: Mapping[str, str] = _NONE) -> dict[str, Any]:
    """Return requests for `POST /predict` by name; `seen` has one value of each category; without columns, none."""
    return {"row": {"value": {"rows": [_row(columns, seen)]}}} if columns else {}


def of_infer(columns: dict[str, Column], seen: Mapping[str, str] = _NONE) -> dict[str, Any]:
    """Return requests of the Open Inference Protocol by name; without columns, none."""
    inputs = [
        {"name": name, "datatype": COLUMN_TYPES[columns[name].type], "shape": [1], "data": [value]}
        for name, value in _row(columns, seen).items()
    ]
    binary = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    return {"row": {"value": {"inputs": inputs}}, "binaryAnswer": {"value": binary}} if columns else {}


def of_labels(is_number: bool, classes: Sequence[str] = ()) -> dict[str, Any]:
    """Return requests for `POST /labels` by name, with the first of the classes."""
    name = classes[0] if classes else "a"
    label = {"prediction_id": "5f0c1d2e3a4b-1-0", "label": 1.5 if is_number else name, "time": _MOMENT.isoformat()}
    return {"label": {"value": {"labels": [label]}}}


def _row(columns: dict[str, Column], seen: Mapping[str, str]) -> dict[str, Any]:
    return {name: seen.get(name, _value(column)) for name, column in columns.items()}


def _value(column: Column) -> Any:
    if column.type == "boolean":
        return True
    if column.type == "category":
        return column.allowed[0] if column.allowed else "a"
    bound = column.min if column.min is not None else column.max
    if column.type == "datetime":
        moment = _MOMENT if bound is None else datetime.fromisoformat(str(bound))
        # Without a zone it would be no date-time of RFC 3339.
        in_zone = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment.strftime(column.format) if column.format else in_zone.isoformat()
    number = float(bound or 0)
    if column.type == "number":
        return number
    return math.floor(number) if column.min is None else math.ceil(number)
