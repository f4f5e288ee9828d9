"""Folds of a cross-validation: each row in one fold, groups together, classes in equal parts, time in order."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import TimeSeriesSplit

from ai_workflow.training import folds

pytestmark = pytest.mark.unit


def test_folds_by_hash_have_about_equal_rows_and_keep_equal_keys_together() -> None:
    keys = pd.Series([f"customer {number // 3}" for number in range(6000)])
    numbers = folds.by_hash(folds.hashes(keys), 5)
    assert (np.bincount(numbers, minlength=5) > 1000).all()
    assert pd.Series(numbers).groupby(keys).nunique().max() == 1


def test_folds_by_class_have_each_class_in_equal_parts_for_any_order_of_the_rows() -> None:
    y = np.repeat([0.0, 1.0, 2.0], [70, 23, 7])
    hashed = folds.hashes(pd.Series([f"row {number}" for number in range(100)]))
    numbers = folds.by_class(hashed, y, 5)
    counts = np.array([np.bincount(numbers[y == label], minlength=5) for label in range(3)])
    assert (counts.max(axis=1) - counts.min(axis=1) <= 1).all()
    order = np.random.default_rng(0).permutation(100)
    assert folds.by_class(hashed[order], y[order], 5).tolist() == numbers[order].tolist()


def test_folds_by_time_are_those_of_scikit_learn_and_equal_times_stay_together() -> None:
    times = np.arange("2024-01-01", "2024-03-01", dtype="datetime64[D]")
    blocks = folds.by_time(times, 4)
    for fold, (learned, scored) in enumerate(TimeSeriesSplit(4).split(times), 1):
        assert np.flatnonzero(blocks < fold).tolist() == learned.tolist()
        assert np.flatnonzero(blocks == fold).tolist() == scored.tolist()
    twice = folds.by_time(np.repeat(times[:11], 3), 4).reshape(-1, 3)
    assert (twice == twice[:, :1]).all()


def test_rows_without_a_time_are_never_scored() -> None:
    times = np.array(["NaT", "2024-01-01", "2024-01-02", "2024-01-03", "NaT"], dtype="datetime64[us]")
    assert folds.by_time(times, 2).tolist() == [0, 0, 1, 2, 0]
    assert folds.by_time(times[:1], 2).tolist() == [0]
