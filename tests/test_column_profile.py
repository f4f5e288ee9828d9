"""What statistics promise: partitions merged say what the whole would."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_workflow.datasets import column_profile

NUMBERS = st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=60)
CUTS = st.lists(st.integers(0, 60), max_size=5)


def _parts(values: list[Any], cuts: list[int]) -> list[list[Any]]:
    edges = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    return [values[start:end] for start, end in pairwise(edges)]


def _merged(values: list[Any], cuts: list[int]) -> dict[str, Any]:
    parts = [column_profile.profile_numbers(pd.Series(part, dtype="Float64")) for part in _parts(values, cuts)]
    return column_profile.merge_numbers(parts)


@pytest.mark.integration
@given(NUMBERS, CUTS)
@settings(max_examples=150, deadline=None)
def test_merged_partition_statistics_equal_whole(values: list[float | None], cuts: list[int]) -> None:
    found = _merged(values, cuts)
    present = np.array([value for value in values if value is not None])
    assert (found["rows"], found["present"], found["missing"]) == (
        len(values), len(present), len(values) - len(present),
    )  # fmt: skip
    if len(present):
        close = {"rel_tol": 1e-9, "abs_tol": 1e-9 * max(1.0, float(np.abs(present).max()))}
        assert math.isclose(found["mean"], present.mean(), **close)
        assert math.isclose(found["std"], present.std(), rel_tol=1e-9, abs_tol=1e-6)
        assert math.isclose(found["median"], np.median(present), **close)
        assert (found["min"], found["max"]) == (present.min(), present.max())
        assert found["quantiles"] == sorted(found["quantiles"])


def test_empty_column_has_counts_only() -> None:
    assert _merged([None, None], [1]) == {"rows": 2, "present": 0, "missing": 2}


def test_mean_and_std_of_large_close_numbers_are_exact() -> None:
    found = _merged([1e9 + value for value in (0.0, 1.0, 2.0, 3.0)] * 1000, [1, 17, 2500])
    assert (found["mean"], found["std"]) == (pytest.approx(1e9 + 1.5, rel=1e-15), pytest.approx(math.sqrt(1.25)))


@pytest.mark.parametrize("cuts", [[], [100], [9_000, 9_001, 15_000]])
def test_merged_quantiles_approximate_true_quantiles(cuts: list[int]) -> None:
    values = np.random.default_rng(0).lognormal(size=20_000)
    found = _merged(values.tolist(), cuts)
    assert len(found["quantiles"]) == column_profile.POINTS
    ranks = np.searchsorted(np.sort(values), found["quantiles"]) / len(values)
    assert np.abs(ranks - np.linspace(0, 1, column_profile.POINTS)).max() < 0.005


@pytest.mark.integration
@given(st.lists(st.one_of(st.none(), st.sampled_from("abcü")), max_size=40), CUTS)
@settings(max_examples=100, deadline=None)
def test_merged_value_counts_equal_whole(values: list[str | None], cuts: list[int]) -> None:
    found = column_profile.merge_values(
        [column_profile.profile_values(pd.Series(part, dtype="str")) for part in _parts(values, cuts)]
    )
    counted = Counter(value for value in values if value is not None)
    assert found == {
        "rows": len(values),
        "present": counted.total(),
        "missing": len(values) - counted.total(),
        "counts": [(name, counted[name]) for name in sorted(counted, key=lambda name: (-counted[name], name))],
    }


def test_high_cardinality_column_keeps_most_frequent_values() -> None:
    values = pd.Series(["often"] * 3 + [str(number) for number in range(12_000)], dtype="str")
    found = column_profile.profile_values(values)
    assert (len(found["counts"]), found["counts"][0], found["present"]) == (10_000, ("often", 3), 12_003)


@pytest.mark.parametrize("rows", [514, 1000, 7777])
@pytest.mark.parametrize("exponent", [0, 250])
def test_sketch_of_many_values_is_that_of_numpy(rows: int, exponent: int) -> None:
    random = np.random.default_rng(rows)
    values = random.normal(size=rows) * 10.0 ** random.integers(-exponent, exponent + 1, rows)
    found = column_profile.profile_present(values, rows)
    assert found["quantiles"] == np.quantile(values, np.linspace(0, 1, column_profile.POINTS)).tolist()


@pytest.mark.parametrize("rows", [1, 2, 400, column_profile.POINTS])
def test_sketch_of_few_values_is_all_of_them(rows: int) -> None:
    values = np.random.default_rng(rows).normal(size=rows)
    found = column_profile.profile_present(values, rows)
    merged = column_profile.merge_numbers([found])
    assert found["quantiles"] == merged["quantiles"] == sorted(values.tolist())
    assert merged["median"] == pytest.approx(np.median(values), rel=1e-15)
