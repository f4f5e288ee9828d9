"""What inputs promise: numbers of mean 0 and deviation 1 whatever the partitions, and a column for each category."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ai_workflow.training.feature_inputs import fit_encoder
from ai_workflow.training.protocol import TrainingData
from tests.trainers.training_rows import Held, data, spec


def given(x: np.ndarray, y: np.ndarray, parts: int, kind: str = "regression") -> TrainingData:
    pieces = np.array_split(np.arange(len(y)), parts)
    return TrainingData(spec(kind), [Held(x[piece], y[piece]) for piece in pieces], [])


@pytest.mark.parametrize("parts", [1, 3, 50])
def test_mean_and_deviation_do_not_depend_on_partitioning(parts: int) -> None:
    draw = np.random.default_rng(0)
    x = (draw.normal(size=(200, 4)) * [1, 1e-3, 1e4, 1] + [0, 50, 1e6, 0]).astype("float32")
    x[draw.random(200) < 0.2, 0] = math.nan
    x[3, 1] = math.inf
    y = draw.normal(1e5, 3, 200)
    inputs, mean, scale = fit_encoder(given(x, y, parts))
    known = np.where(np.isfinite(x[:, :3]), x[:, :3].astype(float), math.nan)
    assert inputs.mean == pytest.approx(np.nanmean(known, axis=0), rel=1e-9)
    assert inputs.scale == pytest.approx(np.nanstd(known, axis=0), rel=1e-6)
    assert (mean, scale) == pytest.approx((y.mean(), y.std()))


def test_numbers_are_standardized_and_missing_values_are_mean() -> None:
    rows = data("binary").training
    inputs, mean, scale = fit_encoder(data("binary"))
    x = np.concatenate([part.read()[0] for part in rows])
    encoded = inputs.encode(x)
    assert encoded[:, :3].mean(axis=0) == pytest.approx(0, abs=1e-6)
    assert encoded[:, 0].std() == pytest.approx(1, abs=1e-5)
    assert (encoded[np.isnan(x[:, 1]), 1] == 0).all()
    assert (mean, scale) == (0.0, 1.0)


def test_category_encoding_has_unseen_and_missing_columns() -> None:
    inputs, _, _ = fit_encoder(data("binary"))
    x = np.zeros((6, 4), "float32")
    x[:, 3] = [0, 3, 4, 9, -1, math.nan]
    assert inputs.width == 3 + 6
    assert inputs.encode(x)[:, 3:].argmax(axis=1).tolist() == [0, 3, 4, 4, 0, 5]
    assert (inputs.encode(x)[:, 3:].sum(axis=1) == 1).all()


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6, math.nan])
def test_constant_column_is_encoded_as_zero(value: float) -> None:
    x = np.full((30, 4), value, "float32")
    inputs, mean, scale = fit_encoder(given(x, np.full(30, 7.7), 4))
    assert inputs.encode(x)[:, :3] == pytest.approx(0, abs=1e-6)
    assert (mean, scale) == (pytest.approx(7.7), 1.0)
