"""Mean absolute contributions of the card: which rows are in the sample, and how features become columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ai_workflow.errors import StageError
from ai_workflow.evaluation import mean_contributions
from ai_workflow.evaluation.mean_contributions import MAX_ROWS, RowSample
from ai_workflow.features import contribution_columns

pytestmark = pytest.mark.unit
SPEC: Any = {
    "features": [
        {"name": "amount", "column": "amount", "kind": "number"},
        {"name": "amount__missing", "column": "amount", "kind": "missing"},
        {"name": "ratio", "column": "", "kind": "number", "derived": True},
        {"name": "day__month", "column": "day", "kind": "date", "part": "month"},
        {"name": "day__year", "column": "day", "kind": "date", "part": "year"},
    ]
}


def sample(count: int, block: int, model_bytes: int = 1000) -> np.ndarray:
    rows = RowSample(model_bytes)
    x = np.arange(count, dtype=np.float32)[:, None]
    for start in range(0, count, block):
        rows.add(x[start : start + block])
    return rows.matrix()[:, 0]


@pytest.mark.parametrize("count", [1, MAX_ROWS, MAX_ROWS + 1, 5 * MAX_ROWS + 3])
def test_sample_is_every_nth_row_whatever_the_size_of_the_blocks(count: int) -> None:
    step = 1
    while -(-count // step) > MAX_ROWS:
        step *= 2
    for block in (1, 7, 333, count):
        assert sample(count, block).tolist() == list(range(0, count, step))


def test_sample_of_a_large_model_is_smaller() -> None:
    assert len(sample(10_000, 1000)) == 313
    assert len(sample(10_000, 1000, 7_000_000)) == 157
    assert len(sample(10_000, 1000, 10**12)) == 40


def test_columns_get_the_sum_of_their_features_and_derived_features_their_own() -> None:
    columns = contribution_columns.features_of(SPEC)
    assert columns == {"amount": [0, 1], "ratio": [2], "day": [3, 4]}
    assert contribution_columns.sums((0.1, 0.2, 5.0, -1.0, 1.0, 99.0), columns) == {
        "amount": pytest.approx(0.3),
        "ratio": 5.0,
        "day": 0.0,
    }


def test_mean_absolute_contribution_is_of_the_sums_and_sorted() -> None:
    values = np.array([[[1, -3, 0, 2, 2, 50], [-1, 3, 0, -2, -2, -50]], [[0, 1, 0, -2, 0, 50], [0, -1, 0, 2, 0, -50]]])
    rows = RowSample(1000)
    rows.add(np.zeros((2, 5), dtype=np.float32))
    assert mean_contributions.compute(lambda _: values, rows, SPEC) == {
        "rows": 2,
        "columns": [
            {"column": "day", "mean_absolute": 3.0},
            {"column": "amount", "mean_absolute": 1.5},
            {"column": "ratio", "mean_absolute": 0.0},
        ],
    }
    assert mean_contributions.compute(None, rows, SPEC) is None
    with pytest.raises(StageError, match="are not finite"):
        mean_contributions.compute(lambda _: values * np.nan, rows, SPEC)
