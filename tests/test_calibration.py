"""Calibrated probabilities: formulas against scikit-learn, invalid outputs, rows alone and together."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import _SigmoidCalibration
from sklearn.isotonic import IsotonicRegression

from ai_workflow.evaluation import calibration_report
from ai_workflow.features.calibration import Calibrator
from ai_workflow.training import calibration_fit

pytestmark = pytest.mark.unit


def skewed(rows: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return class indices and overconfident probabilities of two classes."""
    chance = np.random.default_rng(seed)
    log_odds = chance.normal(size=rows)
    y = (chance.random(rows) < 1 / (1 + np.exp(-log_odds))).astype(float)
    positive = 1 / (1 + np.exp(-3 * log_odds - 1))
    return y, np.column_stack([1 - positive, positive])


def of_three_classes(rows: int = 900) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(1)
    raw = chance.dirichlet([1, 1, 1], rows)
    y = np.array([chance.choice(3, p=line) for line in raw**0.5 / (raw**0.5).sum(axis=1, keepdims=True)])
    return y.astype(float), raw


def calibrator(method: str, y: np.ndarray, probabilities: np.ndarray) -> Calibrator:
    return Calibrator(calibration_fit.fit(method, y, probabilities), probabilities.shape[1])


def test_sigmoid_is_the_one_of_platt_on_the_log_odds() -> None:
    y, raw = skewed()
    log_odds = np.log(raw[:, 1] / raw[:, 0])
    expected = _SigmoidCalibration().fit(log_odds, y).predict(log_odds)
    assert calibrator("sigmoid", y, raw).apply(raw)[:, 1] == pytest.approx(expected, abs=2e-4)


def test_isotonic_is_the_one_of_scikit_learn_inside_and_outside_of_the_fitted_range() -> None:
    y, raw = skewed()
    expected = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(raw[:, 1], y)
    others = np.append(np.random.default_rng(2).random(500), [0.0, 1.0])
    calibrated = calibrator("isotonic", y, raw).apply(np.column_stack([1 - others, others]))
    assert calibrated[:, 1] == pytest.approx(expected.predict(others), abs=1e-12)
    assert (calibrated.sum(axis=1) == 1).all()


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibration_lowers_log_loss_and_brier_score_of_an_overconfident_model(method: str) -> None:
    y, raw = skewed(4000)
    calibrated = calibrator(method, *skewed(4000, seed=5)).apply(raw)
    before, after = (calibration_report.scores_of(y, each) for each in (raw, calibrated))
    assert after["log_loss"] < before["log_loss"] - 0.05
    assert after["brier_score"] < before["brier_score"] - 0.01


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_several_classes_are_calibrated_one_against_the_rest_and_normalized(method: str) -> None:
    y, raw = of_three_classes()
    calibrated = calibrator(method, y, raw).apply(raw)
    alone = [
        calibrator(method, (y == label).astype(float), np.column_stack([1 - raw[:, label], raw[:, label]]))
        for label in range(3)
    ]
    columns = [each.apply(np.column_stack([1 - raw[:, at], raw[:, at]]))[:, 1] for at, each in enumerate(alone)]
    expected = np.column_stack(columns)
    assert calibrated == pytest.approx(expected / expected.sum(axis=1, keepdims=True))


def test_row_whose_classes_all_have_probability_zero_gets_equal_ones() -> None:
    nothing: Any = {"x": [0.0, 1.0], "y": [0.0, 0.0]}
    calibrated = Calibrator({"method": "isotonic", "classes": [nothing] * 4}, 4).apply(np.full((1, 4), 0.25))
    assert calibrated.tolist() == [[0.25] * 4]


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("rows", [skewed, of_three_classes])
def test_rows_alone_have_the_bits_of_rows_together(method: str, rows: Any) -> None:
    y, raw = rows()
    fitted, raw = calibrator(method, y, raw), raw.astype("float32")
    together = fitted.apply(raw)
    assert [fitted.apply(raw[at : at + 1]).tobytes() for at in range(50)] == [row.tobytes() for row in together[:50]]
    assert bytes(fitted.calibrate(raw.astype("float64").ravel().tolist())) == together.tobytes()


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_order_of_the_rows_does_not_change_the_calibration(method: str) -> None:
    y, raw = skewed(5000)
    order = np.random.default_rng(3).permutation(len(y))
    assert calibration_fit.fit(method, y, raw) == calibration_fit.fit(method, y[order], raw[order])


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("invalid", [math.nan, math.inf, -0.5, 1.5])
@pytest.mark.parametrize("at", [0, 1])
def test_invalid_output_of_a_model_stays_invalid(method: str, invalid: float, at: int) -> None:
    raw = np.full((3, 2), 0.5)
    raw[1, at] = invalid
    calibrated = calibrator(method, *skewed()).apply(raw)
    assert np.isnan(calibrated).any(axis=1).tolist() == [False, True, False]


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_separable_and_constant_probabilities_are_calibrated(method: str) -> None:
    y = np.repeat([0.0, 1.0], 20)
    for positive in (y, np.full(40, 0.9)):
        raw = np.column_stack([1 - positive, positive])
        calibrated = calibrator(method, y, raw).apply(raw)
        assert ((calibrated >= 0) & (calibrated <= 1)).all()
        assert calibrated[:, 1].mean() == pytest.approx(0.5, abs=0.03)


def test_brier_score_is_the_one_of_scikit_learn() -> None:
    from sklearn.metrics import brier_score_loss

    y, raw = skewed()
    assert calibration_report.scores_of(y, raw)["brier_score"] == pytest.approx(brier_score_loss(y, raw[:, 1]))
    y, raw = of_three_classes()
    assert calibration_report.scores_of(y, raw)["brier_score"] == pytest.approx(
        ((np.eye(3)[y.astype(int)] - raw) ** 2).sum(axis=1).mean()
    )
