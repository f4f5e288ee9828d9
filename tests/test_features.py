"""What features promise: the same row gives the same numbers, alone or among others, in training and in service."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ai_workflow.features import transform

SCHEMA = {
    name: {"type": kind}
    for name, kind in {
        "key": "text", "age": "integer", "height": "number", "member": "boolean", "city": "category",
        "born": "datetime", "seen": "datetime", "note": "text", "empty": "number", "good": "category",
    }.items()
}  # fmt: skip
STATISTICS: dict[str, Any] = {name: {"present": 4, "missing": 0} for name in SCHEMA} | {
    "age": {"present": 3, "missing": 1},
    "city": {"present": 7, "missing": 0, "counts": [["Rome", 3], ["Oslo", 3], ["Bern", 1]]},
    "born": {"present": 4, "missing": 0, "has_hours": False},
    "seen": {"present": 4, "missing": 0, "has_hours": True},
    "empty": {"present": 0, "missing": 4},
}
ROLES = {"target": "good", "id": "key", "timestamp": "seen"}
SPEC = {"features": transform.build_features(SCHEMA, STATISTICS, ROLES, max_categories=255, min_count=2)}


def _frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "age": pd.array([41, None, 7], dtype="Int64"),
            "height": [1.75, None, -0.5],
            "member": pd.array([True, False, None], dtype="boolean"),
            "city": pd.Series(["Oslo", "Paris", None], dtype="str"),
            "born": pd.to_datetime(["1970-01-02", "2024-02-29", "NaT"]).astype("datetime64[us]"),
            "seen": pd.to_datetime(["2024-01-01T23:00", "2024-01-06T00:00", "NaT"]).astype("datetime64[us]"),
        }
    )


def _column(name: str) -> list[float]:
    column: list[float] = transform.transform(_frame(), SPEC)[:, transform.names(SPEC).index(name)].tolist()
    return column


def test_features_follow_schema_column_order() -> None:
    assert transform.names(SPEC) == [
        "age", "age__missing", "height", "member", "city",
        "born__days", "born__year", "born__month", "born__day", "born__weekday",
        "seen__month", "seen__day", "seen__weekday", "seen__hour",
    ]  # fmt: skip
    assert transform.input_columns(SPEC) == ["age", "height", "member", "city", "born", "seen"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("age", [41, None, 7]),
        ("age__missing", [0, 1, 0]),
        ("height", [1.75, None, -0.5]),
        ("member", [1, 0, None]),
        ("city", [1, 2, None]),
        ("born__days", [1, 19782, None]),
        ("born__year", [1970, 2024, None]),
        ("born__day", [2, 29, None]),
        ("seen__weekday", [0, 5, None]),
        ("seen__hour", [23, 0, None]),
    ],
)
def test_feature_values_match_expected(name: str, expected: list[float | None]) -> None:
    assert [None if np.isnan(value) else value for value in _column(name)] == expected


def test_generated_name_that_is_a_column_gets_a_number() -> None:
    types = {
        "age": "integer", "age__missing": "integer", "age__missing_2": "category", "born": "datetime",
        "born__day": "number", "good": "category",
    }  # fmt: skip
    schema = {name: {"type": kind} for name, kind in types.items()}
    seen: dict[str, Any] = {"present": 4, "missing": 1, "counts": [], "has_hours": False}
    roles = {"target": "good", "id": None, "timestamp": None}
    made = transform.build_features(schema, dict.fromkeys(schema, seen), roles, max_categories=9, min_count=1)
    assert [(feature["name"], feature["column"], feature["kind"]) for feature in made] == [
        ("age", "age", "number"),
        ("age__missing_3", "age", "missing"),
        ("age__missing", "age__missing", "number"),
        ("age__missing__missing", "age__missing", "missing"),
        ("age__missing_2", "age__missing_2", "category"),
        ("age__missing_2__missing", "age__missing_2", "missing"),
        ("born__days", "born", "date"),
        ("born__year", "born", "date"),
        ("born__month", "born", "date"),
        ("born__day_2", "born", "date"),
        ("born__weekday", "born", "date"),
        ("born__missing", "born", "missing"),
        ("born__day", "born__day", "number"),
        ("born__day__missing", "born__day", "missing"),
    ]


def test_generated_name_is_kept_beside_a_column_without_feature() -> None:
    schema = {"age": {"type": "integer"}, "age__missing": {"type": "text"}, "good": {"type": "category"}}
    seen: dict[str, Any] = {"present": 4, "missing": 1, "counts": []}
    roles = {"target": "good", "id": None, "timestamp": None}
    made = transform.build_features(schema, dict.fromkeys(schema, seen), roles, max_categories=9, min_count=1)
    assert [feature["name"] for feature in made] == ["age", "age__missing"]


def test_rare_category_shares_unseen_index() -> None:
    frame = pd.concat([_frame()] * 2, ignore_index=True)
    frame["city"] = pd.Series(["Rome", "Oslo", "Bern", "Paris", "", None], dtype="str")
    column = transform.transform(frame, SPEC)[:, transform.names(SPEC).index("city")]
    np.testing.assert_array_equal(column, np.array([0, 1, 2, 2, 2, np.nan], dtype="float32"))


def test_vocabulary_keeps_most_frequent_categories() -> None:
    described = transform.build_features(SCHEMA, STATISTICS, ROLES, max_categories=1, min_count=1)
    assert [feature["vocabulary"] for feature in described if feature["kind"] == "category"] == [["Rome"]]


@pytest.mark.parametrize("rows", [[0], [1], [2], [2, 0], []])
def test_row_features_do_not_depend_on_other_rows(rows: list[int]) -> None:
    whole, some = transform.transform(_frame(), SPEC), transform.transform(_frame().iloc[rows], SPEC)
    np.testing.assert_array_equal(some, whole[rows])
    assert some.shape == (len(rows), len(SPEC["features"]))
    assert some.dtype == np.float32


def test_column_order_and_extra_columns_are_ignored() -> None:
    turned = _frame().iloc[:, ::-1].assign(more="x")
    np.testing.assert_array_equal(transform.transform(turned, SPEC), transform.transform(_frame(), SPEC))


def test_missing_column_error_names_column() -> None:
    with pytest.raises(KeyError, match="height"):
        transform.transform(_frame().drop(columns="height"), SPEC)


def test_category_without_vocabulary_is_unseen() -> None:
    spec = {"features": [{"name": "city", "column": "city", "kind": "category", "vocabulary": []}]}
    np.testing.assert_array_equal(transform.transform(_frame(), spec)[:, 0], [0, 0, np.nan])
