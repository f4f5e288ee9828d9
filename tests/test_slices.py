"""Slices of the holdout: those that are worse than the rest beyond chance, and no others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ai_workflow.evaluation import scores, slices

SPEC: dict[str, Any] = {
    "features": [
        {"name": "city", "column": "city", "kind": "category", "vocabulary": ["Aachen", "Bonn"]},
        {"name": "age", "column": "age", "kind": "number", "center": 10.0, "scale": 2.0},
        {"name": "age__missing", "column": "age", "kind": "missing"},
        {"name": "member", "column": "member", "kind": "boolean"},
        {"name": "opened__day", "column": "opened", "kind": "date", "part": "day"},
    ],
    "statistics": {"age": {"quantiles": [0.0, 30.0, 60.0, 90.0]}},
}


def _worst(x: np.ndarray, is_correct: np.ndarray, size: int = 100) -> list[slices.Slice]:
    features = slices.features_of(SPEC, [])
    starts = range(0, len(x), size)
    batches = [(x[start : start + size], is_correct[start : start + size]) for start in starts]
    return slices.worst(SPEC, features, batches, float(is_correct.mean()))


def _rows(count: int = 900) -> np.ndarray:
    """Return rows of city, age (shifted), age__missing and member."""
    numbers = np.arange(count)
    age = np.where(numbers % 10 == 9, np.nan, (numbers % 90 - 10.0) / 2)
    return np.column_stack([numbers % 2, age, np.isnan(age), numbers % 3 == 0]).astype("float32")


def test_slices_are_those_worse_than_the_accuracy_of_all_rows() -> None:
    x = _rows()
    is_correct = np.where(x[:, 0] == 1, np.arange(900) % 4 != 1, True)
    found = _worst(x, is_correct)
    assert found[0]["slice"] == "city = Bonn"
    assert found[0]["rows"] == 450
    assert found[0]["accuracy"] == pytest.approx(is_correct[x[:, 0] == 1].mean())
    assert (found[0]["lower"], found[0]["upper"]) == scores.wilson_interval(found[0]["accuracy"], 450)
    assert all(each["upper"] < is_correct.mean() for each in found)
    assert _worst(x, is_correct, size=37) == found


def test_thirds_of_a_number_are_in_the_unit_of_its_column() -> None:
    x = _rows()
    age = x[:, 1] * 2 + 10
    found = _worst(x, ~(age >= 60))
    assert found[0]["slice"] == "age >= 60"
    assert found[0]["accuracy"] == 0


def test_missing_values_are_a_slice() -> None:
    x = _rows()
    assert _worst(x, x[:, 2] == 0)[0]["slice"] == "age is missing"


def test_equal_accuracy_and_few_rows_give_no_slices() -> None:
    assert _worst(_rows(), np.ones(900, dtype=bool)) == []
    assert _worst(_rows(18), np.arange(18) % 2 == 0) == []


def test_most_important_features_come_first_and_dates_are_left_out() -> None:
    names = [feature["name"] for feature in slices.features_of(SPEC, ["member", "opened__day", "age"])]
    assert names == ["member", "age", "city", "age__missing"]
