"""What feature columns promise: the numbers of the batch stage are those of the service, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_workflow.datasets import parquet
from ai_workflow.features import feature_columns, transform

FEATURES: list[dict[str, Any]] = [
    {"name": "n", "column": "n", "kind": "number"},
    {"name": "shifted", "column": "n", "kind": "number", "center": 1e12, "scale": 0.5},
    {"name": "n__missing", "column": "n", "kind": "missing"},
    {"name": "i", "column": "i", "kind": "number"},
    {"name": "b", "column": "b", "kind": "boolean"},
    {"name": "c", "column": "c", "kind": "category", "vocabulary": ["a", "ü"]},
    {"name": "empty", "column": "c", "kind": "category", "vocabulary": []},
    {"name": "c__missing", "column": "c", "kind": "missing"},
    *({"name": f"d__{part}", "column": "d", "kind": "date", "part": part} for part in transform.DATE_PARTS),
    {"name": "d__shifted", "column": "d", "kind": "date", "part": "days", "center": 20_000.5, "scale": 1.0},
]
SPEC: Any = {"features": FEATURES}


def _column(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.none() | values, min_size=12, max_size=12)


@pytest.mark.integration
@given(
    _column(st.floats(allow_nan=False, allow_infinity=False)),
    _column(st.integers(-(2**63), 2**63 - 1)),
    _column(st.booleans()),
    _column(st.sampled_from(["a", "ü", "", "other"])),
    _column(st.datetimes(pd.Timestamp("1700-01-01").to_pydatetime(), pd.Timestamp("2200-01-01").to_pydatetime())),
)
@settings(max_examples=100, deadline=None)
def test_arrow_columns_equal_the_transform_of_the_service(
    n: list[Any], i: list[Any], b: list[Any], c: list[Any], d: list[Any]
) -> None:
    frame = pd.DataFrame(
        {
            "n": pd.Series(n, dtype="float64"),
            "i": pd.array(i, dtype="Int64"),
            "b": pd.array(b, dtype="boolean"),
            "c": pd.Series(c, dtype="str"),
            "d": pd.Series(d, dtype="datetime64[us]"),
        }
    )
    expected = transform.transform(frame, SPEC)
    made = feature_columns.build(parquet.to_table(frame), SPEC)
    assert list(made) == transform.names(SPEC)
    actual = np.column_stack([column.to_numpy(zero_copy_only=False) for column in made.values()])
    np.testing.assert_array_equal(actual.view("uint32"), np.ascontiguousarray(expected).view("uint32"))


def test_numbers_and_days_have_many_values() -> None:
    many = {feature["name"] for feature in FEATURES} - set(feature_columns.with_few_values(SPEC))
    assert many == {"n", "shifted", "i", "d__days", "d__shifted"}
