"""The OpenAPI document: a row's schema says what is taken, and an example can be sent as it stands."""

from __future__ import annotations

from typing import Any

import pytest

from ai_workflow.config.settings import Column, Settings
from ai_workflow.features import transform
from ai_workflow.serving.protocol import openapi, openapi_examples
from ai_workflow.serving.protocol.openapi_schemas import schemas


def value(**column: Any) -> dict[str, Any]:
    found: dict[str, Any] = schemas({"x": Column(**column)}, 10, is_number=False)["Row"]["properties"]["x"]
    return found


@pytest.mark.parametrize(
    ("column", "schema"),
    [
        ({"type": "number", "min": 0, "nullable": True}, {"type": ["number", "null"], "minimum": 0}),
        ({"type": "integer", "max": 9}, {"type": "integer", "minimum": -(2**63), "maximum": 9}),
        ({"type": "boolean"}, {"type": "boolean"}),
        ({"type": "category"}, {"type": "string"}),
        ({"type": "category", "allowed": ["a"], "fill": "a"}, {"type": ["string", "null"], "enum": ["a", None]}),
        ({"type": "category", "allowed": ["a"]}, {"type": "string", "enum": ["a"]}),
        ({"type": "datetime"}, {"type": "string", "format": "date-time"}),
        (
            {"type": "datetime", "nullable": True},
            {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
        ),
        ({"type": "datetime", "format": "%d.%m.%Y"}, {"type": "string"}),
    ],
)
def test_column_schema_describes_accepted_values(column: dict[str, Any], schema: dict[str, Any]) -> None:
    assert value(**column) == schema


@pytest.mark.parametrize("edge", ["minimum", "maximum"])
def test_documented_integer_limits_are_accepted(edge: str) -> None:
    spec = {
        "schema": {"x": {"type": "integer"}},
        "features": [{"name": "x", "column": "x", "kind": "number"}],
    }
    most = value(type="integer")[edge]
    assert transform.read([{"x": most}], spec)[1] == []
    assert transform.read([{"x": most * 2}], spec)[1] == [
        f"rows[0].x is too large for a whole number of 64 bits: {most * 2}"
    ]


@pytest.mark.parametrize(
    "column",
    [
        {"type": "number"},
        {"type": "number", "min": 2.5},
        {"type": "number", "max": -2.5},
        {"type": "integer", "min": 3},
        {"type": "integer", "min": 0.5},
        {"type": "integer", "max": -0.5},
        {"type": "boolean"},
        {"type": "category"},
        {"type": "category", "allowed": ["b", "c"]},
        {"type": "datetime"},
        {"type": "datetime", "min": "2030-01-01"},
        {"type": "datetime", "max": "1999-12-31"},
        {"type": "datetime", "format": "%d.%m.%Y"},
    ],
)
def test_openapi_example_is_valid_row(column: dict[str, Any]) -> None:
    (row,) = openapi_examples.predict_requests({"x": Column(**column)})["row"]["value"]["rows"]
    kinds = {"category": "category", "datetime": "date", "boolean": "boolean"}
    feature = {"name": "x", "column": "x", "kind": kinds.get(column["type"], "number"), "part": "day", "vocabulary": []}
    assert transform.read([row], {"schema": {"x": column}, "features": [feature]})[1] == []


def test_token_requirement_is_documented_except_for_health() -> None:
    def document(**service: Any) -> dict[str, Any]:
        source = {"kind": "csv", "path": "none.csv"}
        given = {"pipeline": "shop", "source": source, "task": "regression", "target": "x", "service": service}
        settings = Settings.model_validate(given)
        return openapi.document(settings, None)

    def refusing(found: dict[str, Any]) -> set[str]:
        each = {path: operation for path, operations in found["paths"].items() for operation in operations.values()}
        return {path for path, operation in each.items() if "401" in operation["responses"]}

    assert refusing(document()) == set()
    guarded = document(token="t0ken-of-callers")
    assert set(guarded["paths"]) - refusing(guarded) == {"/v2/health/live", "/v2/health/ready"}
