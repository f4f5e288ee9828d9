"""Checks before a training: a target that suits the task, and columns that vary."""

from __future__ import annotations

from typing import Any

import pytest

from ai_workflow.datasets import target_checks
from ai_workflow.errors import StageError


def seen(values: list[str], rows_each: int = 1) -> dict[str, Any]:
    counts = [[value, rows_each] for value in values]
    return {"columns": {"y": {"counts": counts, "present": rows_each * len(values)}}, "holdout": {"counts": []}}


@pytest.mark.parametrize(
    ("values", "rows_each", "remedy"),
    [
        ([f"{number / 7:.4f}" for number in range(1, 900)], 1, "task: regression"),
        ([f"{number / 4}" for number in range(1, 30)], 50, "task: regression"),
        ([str(number) for number in range(1000, 1500)], 2, "task: regression"),
        ([str(number) for number in range(1001)], 100, "task: regression"),
        (["0.5", "1.5", "2.5", "9.25"], 1, "task: regression"),
        ([f"customer-{number}" for number in range(400)], 1, "looks like an id"),
        ([f"c{number}" for number in range(30)], 4, "looks like an id"),
        ([f"c{number}" for number in range(10_000)], 60, "looks like an id"),
    ],
)
def test_too_many_classes_error_has_remedy(values: list[str], rows_each: int, remedy: str) -> None:
    with pytest.raises(StageError) as caught:
        target_checks.classes(seen(values, rows_each), "y", None)
    assert "target 'y' has" in str(caught.value)
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("values", "rows_each"),
    [
        (["a", "b"], 1),
        (["0.5", "1.5"], 1),
        (["1", "2", "3"], 2),
        ([f"c{number}" for number in range(100)], 5),
        ([str(number) for number in range(18, 90)], 20),
        ([f"{number / 2}" for number in range(11)], 10),
        ([str(number) for number in range(1000)], 5),
    ],
)
def test_classes_with_enough_rows_are_accepted(values: list[str], rows_each: int) -> None:
    assert sorted(target_checks.classes(seen(values, rows_each), "y", None)) == sorted(values)


def test_numeric_classes_are_sorted_numerically() -> None:
    assert target_checks.classes(seen(["10", "9", "-1"], 9), "y", None) == ["-1", "9", "10"]
    assert target_checks.classes(seen(["nan", "b", "a"], 9), "y", None) == ["a", "b", "nan"]


@pytest.mark.parametrize("largest", [1.1e18, 1e40, 1e300])
def test_overflowing_target_is_rejected(largest: float) -> None:
    with pytest.raises(StageError, match=r"target 'y' reaches .* overflows above 1e\+18\. Divide the target"):
        target_checks.numbers({"present": 5, "min": -largest, "max": 1.0}, "y")
    target_checks.numbers({"present": 5, "min": -1e17, "max": 1.0}, "y")


def test_constant_target_or_columns_are_rejected() -> None:
    with pytest.raises(StageError, match="is 3 in every training row"):
        target_checks.numbers({"present": 5, "min": 3.0, "max": 3.0}, "y")
    flat = {"present": 5, "missing": 0, "min": 3.0, "max": 3.0}
    word = {"present": 5, "missing": 0, "counts": [["a", 5]]}
    with pytest.raises(StageError, match=r"no column varies in the training rows \(a, b\)"):
        target_checks.varies({"a": flat, "b": word})
    target_checks.varies({"a": flat, "b": word | {"missing": 1}})
    target_checks.varies({"a": flat | {"max": 4.0}, "b": word})
