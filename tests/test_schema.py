"""What a schema promises: each value comes out typed or with the reason why not, and no text can break it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ai_workflow.config.settings import Column, ColumnType
from ai_workflow.datasets import coercion
from ai_workflow.datasets.notation import type_evidence, type_inference

TYPES: tuple[ColumnType, ...] = ("integer", "number", "boolean", "category", "datetime", "text")
DTYPES = {"integer": "Int64", "number": "float64", "boolean": "boolean", "datetime": "datetime64[us]"}


def _texts(*values: str | None) -> pd.Series:
    return pd.Series(list(values), dtype="str")


def _coerce(values: pd.Series, kind: ColumnType, **declared: Any) -> tuple[list[Any], list[str]]:
    """Return the values (None where missing) and the reason of each row (empty where good)."""
    read, findings = coercion.coerce(values, Column(type=kind, **declared))
    reasons = ["; ".join(reason for reason, rows in findings if rows[row]) for row in values.index]
    return [None if pd.isna(value) else value for value in read], reasons


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("integer", "12", 12),
        ("integer", " -3 ", -3),
        ("integer", "4.0", 4),
        ("integer", "1e3", 1000),
        ("integer", "9007199254740993", 9007199254740993),
        ("number", "0.5", 0.5),
        ("number", "-1e-3", -0.001),
        ("boolean", "Yes", True),
        ("boolean", " 0 ", False),
        ("boolean", "1.0", True),
        ("datetime", "2024-02-29", pd.Timestamp("2024-02-29")),
        ("datetime", "2024-01-01T10:00:00+02:00", pd.Timestamp("2024-01-01 08:00")),
        ("category", " ü ", " ü "),
        ("text", "nan", "nan"),
    ],
)
def test_valid_value_is_converted(kind: ColumnType, text: str, value: object) -> None:
    assert _coerce(_texts(text), kind) == ([value], [""])


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        ("integer", "twelve", "is not a number"),
        ("integer", "0x10", "is not a number"),
        ("integer", "1,5", "is not a number"),
        ("integer", "1.5", "is not a whole number"),
        ("integer", "inf", "is not finite"),
        ("integer", "1e300", "is too large for a whole number of 64 bits"),
        ("integer", "9223372036854775808", "is too large for a whole number of 64 bits"),
        ("number", "True", "is not a number"),
        ("number", "-Infinity", "is not finite"),
        ("boolean", "maybe", "is not true or false"),
        ("boolean", "", "is not true or false"),
        ("datetime", "29.02.2024", "is not a date (ISO 8601)"),
        ("datetime", "2023-02-29", "is not a date (ISO 8601)"),
        ("datetime", "now", "is not a date (ISO 8601)"),
        ("datetime", " Today", "is not a date (ISO 8601)"),
    ],
)
def test_invalid_value_becomes_missing_with_reason(kind: ColumnType, text: str, reason: str) -> None:
    assert _coerce(_texts(text), kind) == ([None], [reason])
    assert _coerce(_texts(text), kind, nullable=True) == ([None], [reason])


@pytest.mark.parametrize("kind", TYPES)
def test_missing_value_is_rejected_unless_nullable(kind: ColumnType) -> None:
    assert _coerce(_texts(None), kind) == ([None], ["is missing"])
    assert _coerce(_texts(None), kind, nullable=True) == ([None], [""])


@pytest.mark.parametrize("text", ["NaN", "nan", "", "  "])
@pytest.mark.parametrize("kind", ["integer", "number"])
def test_nan_text_is_missing_in_numeric_column(kind: ColumnType, text: str) -> None:
    assert _coerce(_texts(text), kind) == ([None], ["is missing"])


@pytest.mark.parametrize(
    ("kind", "fill", "value"),
    [
        ("integer", 7, 7), ("number", 0.5, 0.5), ("boolean", False, False), ("category", "other", "other"),
        ("category", 1, "1"), ("datetime", "2024-01-01", pd.Timestamp("2024-01-01")),
    ],
)  # fmt: skip
def test_fill_replaces_only_missing_values(kind: ColumnType, fill: Any, value: object) -> None:
    assert _coerce(_texts(None), kind, fill=fill) == ([value], [""])
    if kind != "category":
        assert _coerce(_texts("unreadable"), kind, fill=fill)[0] == [None]


@pytest.mark.parametrize(
    ("kind", "bounds", "good", "bad", "reason"),
    [
        ("integer", {"min": 0}, "0", "-1", "is below the minimum 0"),
        ("integer", {"max": 1234567}, "1234567", "1234568", "is above the maximum 1234567"),
        ("number", {"max": 0.5}, "0.5", "0.51", "is above the maximum 0.5"),
        ("datetime", {"min": "2024-01-01"}, "2024-01-01", "2023-12-31", "is below the minimum 2024-01-01"),
        (
            "datetime",
            {"max": "2024-01-01T00:00Z"},
            "2024-01-01",
            "2024-01-02",
            "is above the maximum 2024-01-01T00:00Z",
        ),
        ("category", {"allowed": ("a", "b")}, "a", "A", "is not an allowed value"),
        ("datetime", {"format": "%d.%m.%Y"}, "29.02.2024", "2024-02-29", "is not a date in the format %d.%m.%Y"),
    ],
)
def test_value_outside_declared_range_is_rejected(
    kind: ColumnType, bounds: dict[str, Any], good: str, bad: str, reason: str
) -> None:
    assert _coerce(_texts(good, bad, None), kind, nullable=True, **bounds)[1] == ["", reason, ""]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, None, 0.5], ["1", None, "0.5"]),
        ([1e300, 2e300, 3.0], ["1e+300", "2e+300", "3"]),
        ([math.inf, -math.inf], ["inf", "-inf"]),
        ([True, False], ["True", "False"]),
        (pd.array([2**53 + 1, None], dtype="Int64"), ["9007199254740993", None]),
    ],
)
def test_non_text_values_become_plain_text_categories(values: Any, expected: list[str]) -> None:
    assert _coerce(pd.Series(values), "category", nullable=True)[0] == expected


def test_large_integers_of_typed_source_stay_exact() -> None:
    values = pd.Series([2**53 + 1, None], dtype="Int64")
    assert _coerce(values, "integer", nullable=True)[0] == [2**53 + 1, None]


def test_datetimes_of_typed_source_are_converted_to_utc() -> None:
    moments = pd.Series(pd.to_datetime(["2024-01-01T10:00+02:00", "NaT"]))
    assert _coerce(moments, "datetime", nullable=True)[0] == [pd.Timestamp("2024-01-01 08:00"), None]


ODD = ("inf", "NaN", "now", "2024-01-01", "0000-00-00", "1e999")
NUMERALS = st.from_regex(r"[-+]?\d{1,25}(\.\d*)?(e\d{1,3})?", fullmatch=True)


@pytest.mark.integration
@given(
    values=st.lists(st.one_of(st.none(), st.text(max_size=12), NUMERALS, st.sampled_from(ODD)), max_size=6),
    kind=st.sampled_from(TYPES),
    nullable=st.booleans(),
)
@example(values=["1e300", "-9223372036854775809"], kind="integer", nullable=False)
@settings(max_examples=200, deadline=None)
def test_every_value_is_converted_or_missing_or_rejected(
    values: list[str | None], kind: ColumnType, nullable: bool
) -> None:
    read, findings = coercion.coerce(pd.Series(values, dtype="str"), Column(type=kind, nullable=nullable))
    named = np.zeros(len(values), dtype=bool)
    for _, rows in findings:
        named |= rows.to_numpy()
    untyped = read.isna().to_numpy()
    present = np.array([value is not None for value in values], dtype=bool)
    if kind in ("integer", "number"):
        present &= np.array([str(value).strip().lower() not in ("", "nan") for value in values], dtype=bool)
    assert read.dtype == DTYPES.get(kind, "str")
    assert (named == untyped & (present | (not nullable))).all()


def _told(*parts: Sequence[str | None], limit: float = 0.0) -> ColumnType:
    return type_inference.infer_column("x", [type_evidence.count(_texts(*part)) for part in parts], limit).column.type


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2", None], "integer"),
        (["1", "2.0"], "integer"),
        (["1", "2.5"], "number"),
        (["1", "inf"], "number"),
        (["2024-01-01", " 2024-01-02T10:00"], "datetime"),
        (["2024-01-01", "2024-13-01"], "category"),
        (["a", "b"], "category"),
        (["1", "x"], "category"),
        (["true", "false"], "category"),
    ],
)
def test_column_type_is_inferred_from_values(values: list[str | None], kind: str) -> None:
    assert _told(values) == kind


def test_type_inference_tolerates_mismatches_up_to_limit() -> None:
    mostly = [*map(str, range(99)), "x"]
    assert _told(mostly, limit=0.01) == "integer"
    assert _told([*mostly, "y"], limit=0.01) != "integer"
    assert _told(["2024-01-01"] * 99 + ["x"], limit=0.01) == "datetime"


def test_type_inference_considers_all_partitions() -> None:
    assert _told(["1"], ["2.5"]) == "number"
    assert _told(["1"] * 10, ["x"]) == "category"


def test_mostly_unique_values_are_text() -> None:
    names = [f"name {number}" for number in range(60)]
    assert _told(names) == "text"
    assert _told(names, ["a"] * 60) == "category"
    assert _told(names[:50]) == "category"


@pytest.mark.parametrize(
    ("form", "far", "fine", "never"),
    [
        (None, ["9999-12-31", "0001-01-01T00:00:00", "99991231"], "2025-03-04T10:00:00.123456789", "1234567"),
        ("%d/%m/%Y %H.%f", ["31/12/9999 00.5", "01/01/1500 01.1234567"], "04/03/2025 10.123456789", "x"),
    ],
)
def test_date_parsing_does_not_depend_on_neighboring_precision(
    form: str | None, far: list[str], fine: str, never: str
) -> None:
    column = Column(type="datetime", format=form, nullable=True)
    cells = [*far, fine, never, None]
    alone = [coercion.coerce(pd.Series([cell], dtype="str"), column)[0].iloc[0] for cell in cells]
    together, findings = coercion.coerce(pd.Series(cells, dtype="str"), column)
    assert [str(moment) for moment in together] == [str(moment) for moment in alone]
    assert str(together.iloc[0]).startswith("9999-12-31")
    assert findings[0][1].tolist() == [
        str(moment) == "NaT" and cell is not None for moment, cell in zip(alone, cells, strict=True)
    ]


@pytest.mark.parametrize("cell", ["9999-12-31T23:00:00-05:00", "0001-01-01T00:00:00+05:00"])
def test_date_out_of_range_in_utc_is_rejected(cell: str) -> None:
    assert _coerce(_texts(cell, "9999-12-31T23:00:00Z"), "datetime")[1] == ["is not a date (ISO 8601)", ""]


@pytest.mark.parametrize(
    ("cell", "form"), [("2025.0304100000", "%Y.%m%d%H%M%S"), ("04.03202510", "%d.%m%Y%H"), ("10.04032025", "%H.%d%m%Y")]
)
def test_digits_after_point_are_parsed_by_datetime_format(cell: str, form: str) -> None:
    read, reasons = _coerce(_texts(cell), "datetime", format=form)
    assert (read, reasons) == ([pd.Timestamp(2025, 3, 4, 10)], [""])
