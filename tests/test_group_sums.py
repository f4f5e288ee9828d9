"""Sums by group: exact, so that they are equal for any order and division of the rows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ai_workflow.features.encodings import group_sums
from ai_workflow.features.encodings.group_sums import GroupSums

pytestmark = pytest.mark.unit


def sums(groups: np.ndarray, values: np.ndarray, parts: int) -> GroupSums:
    result = GroupSums()
    for some, of_some in zip(np.array_split(groups, parts), np.array_split(values, parts), strict=True):
        result.add(some, of_some)
    return result


def test_sums_are_the_nearest_float_in_any_order_and_division() -> None:
    generator = np.random.default_rng(0)
    groups = generator.integers(0, 5, 2000)
    values = generator.normal(size=2000) * 10.0 ** generator.integers(-300, 18, 2000)
    expected = {group: math.fsum(values[groups == group]) for group in range(5)}
    order = generator.permutation(2000)
    for result in (sums(groups, values, 1), sums(groups, values, 13), sums(groups[order], values[order], 4)):
        assert {group: group_sums.as_float(total) for group, total in result.totals.items()} == expected
        assert result.counts == {group: int((groups == group).sum()) for group in range(5)}


@pytest.mark.parametrize("values", [[5e-324, 5e-324], [1e18, 1.0, -1e18], [0.1] * 10, [0.0, -0.0], [-2.5, 1.25]])
def test_extreme_values(values: list[float]) -> None:
    result = sums(np.zeros(len(values), np.int64), np.array(values), 1)
    assert group_sums.as_float(result.totals[0]) == math.fsum(values)


def test_no_rows_add_nothing() -> None:
    result = sums(np.array([], np.int64), np.array([]), 1)
    assert result.counts == result.totals == {}
