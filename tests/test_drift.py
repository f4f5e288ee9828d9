"""What is called drift: a shift that a person would call one, and never chance, however few or many the rows are."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from ai_workflow.datasets import column_profile
from ai_workflow.quality import drift

FLOOR = 0.05
SLOW = pytest.mark.slow


def seen(values: np.ndarray) -> dict[str, object]:
    return column_profile.merge_numbers(
        [column_profile.profile_numbers(pd.Series(part)) for part in np.array_split(values, 3)]
    )


@pytest.mark.integration
@pytest.mark.parametrize("rows", [50, pytest.param(200, marks=SLOW), pytest.param(1000, marks=SLOW), 5000])
@pytest.mark.parametrize("kind", ["normal", "mostly zero", "few whole numbers", "categories"])
def test_random_sampling_is_not_reported_as_drift(rows: int, kind: str) -> None:
    draw = np.random.default_rng(rows)

    def column(count: int) -> np.ndarray:
        if kind == "normal":
            return draw.lognormal(3, 1, count)
        if kind == "mostly zero":
            return np.where(draw.random(count) < 0.8, 0.0, draw.random(count))
        return draw.integers(0, 6, count).astype(float)

    over = 0
    for _ in range(60):
        training, now = column(3000), column(rows)
        if kind == "categories":
            known, found = ({str(k): n for k, n in Counter(each.tolist()).items()} for each in (training, now))
            one = drift.categorical_drift(found, known)
        else:
            one = drift.numeric_drift(pd.Series(now), seen(training))
        assert one is not None
        over += one.psi > one.threshold(1, 0.0) or (one.ks is not None and one.ks > one.ks_threshold(1))
    assert over <= 4, "a hundredth is due to chance"


@pytest.mark.parametrize("rows", [1000, 5000])
def test_mean_shift_of_0_3_deviations_is_drift(rows: int) -> None:
    draw = np.random.default_rng(0)
    one = drift.numeric_drift(pd.Series(draw.normal(0.3, 1, rows)), seen(draw.normal(0, 1, 20_000)))
    assert one is not None
    assert one.psi == pytest.approx(0.09, abs=0.03)
    assert one.psi > one.threshold(columns=20, floor=FLOOR)
    assert one.ks is not None
    assert one.ks == pytest.approx(0.119, abs=0.04), "2 x normal CDF(0.15) - 1"
    assert one.ks > one.ks_threshold(columns=20)


def test_missing_values_and_new_categories_are_drift() -> None:
    draw = np.random.default_rng(0)
    values = draw.normal(0, 1, 5000)
    gone = drift.numeric_drift(pd.Series(np.where(draw.random(5000) < 0.2, np.nan, values)), seen(values))
    new = drift.categorical_drift({"a": 400, "b": 400, "c": 200}, {"a": 2500, "b": 2500})
    for one in (gone, new):
        assert one is not None
        assert one.psi > one.threshold(20, FLOOR)


def test_drift_threshold_depends_on_row_count_with_floor() -> None:
    few = drift.Drift(0.1, None, 10, 200, 10_000)
    many = drift.Drift(0.01, None, 10, 1_000_000, 1_000_000)
    assert few.threshold(1, FLOOR) == pytest.approx(0.11, abs=0.005), "chi-squared, 99 %, 9 degrees, 200 rows"
    assert many.threshold(1, FLOOR) == FLOOR


def test_drift_of_empty_data_is_none() -> None:
    assert drift.numeric_drift(pd.Series([], dtype=float), seen(np.arange(10.0))) is None
    assert drift.numeric_drift(pd.Series([1.0]), {"rows": 3, "present": 0, "missing": 3}) is None
    assert drift.categorical_drift({}, {"a": 1}) is None
