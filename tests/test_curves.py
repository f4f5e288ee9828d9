"""Curves of the holdout: the points that scikit-learn gives, and none where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from ai_workflow.evaluation import curves


def _chances(rows: int, classes: int) -> np.ndarray:
    return np.random.default_rng(0).dirichlet(np.ones(classes), rows)


@pytest.mark.parametrize("positive", [0, 1])
def test_area_below_curves_matches_scikit_learn(positive: int) -> None:
    y, chances = np.random.default_rng(1).integers(0, 2, 150), np.round(_chances(150, 2), 2)
    found = curves.compute(y, chances, positive)
    rates = np.array(found["roc"])
    assert metrics.auc(rates[:, 0], rates[:, 1]) == pytest.approx(
        metrics.roc_auc_score(y == positive, chances[:, positive])
    )
    recall, precision = np.array(found["precision_recall"]).T
    assert np.diff(recall, prepend=0) @ precision == pytest.approx(
        metrics.average_precision_score(y == positive, chances[:, positive])
    )


def test_curves_of_many_rows_have_few_points_and_reach_the_corner() -> None:
    y, chances = np.random.default_rng(1).integers(0, 2, 5000), _chances(5000, 2)
    found = curves.compute(y, chances, 1)
    assert len(found["roc"]) <= 201
    assert (found["roc"][0], found["roc"][-1]) == ((0, 0), (1, 1))
    assert len(found["calibration"]) == 10
    assert sum(rows for _, _, rows in found["calibration"]) == 5000


def test_calibration_of_exact_probabilities_is_the_diagonal() -> None:
    random = np.random.default_rng(2)
    second = random.random(20_000)
    y = (random.random(20_000) < second).astype(int)
    found = curves.compute(y, np.column_stack([1 - second, second]), 1)
    assert all(abs(mean - share) < 0.04 for mean, share, _ in found["calibration"])


@pytest.mark.parametrize("y", [[0, 0, 0], [1, 1, 1]])
def test_single_class_has_no_threshold_curves(y: list[int]) -> None:
    found = curves.compute(np.array(y), _chances(3, 2), 1)
    assert (found["roc"], found["precision_recall"]) == ([], [])
    assert len(found["calibration"]) == 3


def test_several_classes_have_the_calibration_of_the_predicted_class() -> None:
    chances = np.tile([0.7, 0.2, 0.1], (10, 1))
    found = curves.compute(np.array([0] * 7 + [1, 2, -1]), chances, None)
    assert found["roc"] == []
    assert np.average([share for _, share, _ in found["calibration"]]) == pytest.approx(0.7)
