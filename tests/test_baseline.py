"""Comparison with the baseline: a signal beats it, noise and chance do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from ai_workflow.config.settings import METRICS
from ai_workflow.evaluation import baseline
from ai_workflow.evaluation.score_options import ScoreOptions

CLASSES: dict[str, Any] = {
    "target": "y", "classes": ["a", "b"], "statistics": {"y": {"counts": [["a", 70], ["b", 30]]}},
}  # fmt: skip
NUMBERS: dict[str, Any] = {
    "target": "y", "classes": None,
    "statistics": {"y": {"median": 3.0, "mean": 3.0, "quantiles": [2.0, 2.5, 3.0, 3.5, 4.0]}},
}  # fmt: skip
OF_CLASSES, OF_NUMBERS = METRICS["classification"], METRICS["regression"]


def chances(second: np.ndarray) -> np.ndarray:
    return np.column_stack([1 - second, second])


@pytest.mark.parametrize("metric", OF_CLASSES)
def test_classifier_with_signal_beats_baseline(metric: str) -> None:
    y = np.array([0.0] * 42 + [1.0] * 18)
    second = np.where(y == 1, 0.8, 0.1)
    second[:3] = 0.7
    assert baseline.compare(metric, y, chances(second), CLASSES).beats


@pytest.mark.parametrize("metric", OF_CLASSES)
@pytest.mark.slow
def test_random_classifier_beats_baseline_within_false_positive_rate(metric: str) -> None:
    draw = np.random.default_rng(5)
    passed = 0
    for _ in range(60):
        y = (draw.random(60) < 0.5).astype(float)
        passed += baseline.compare(metric, y, chances(draw.random(60)), CLASSES).beats
    assert passed <= 12


@pytest.mark.parametrize("metric", OF_NUMBERS)
def test_regression_beats_baseline_only_with_signal(metric: str) -> None:
    draw = np.random.default_rng(2)
    y = draw.normal(3, 1, 60).clip(0.5)
    assert baseline.compare(metric, y, y + draw.normal(0, 0.3, 60), NUMBERS).beats
    assert not baseline.compare(metric, y, draw.normal(3, 0.3, 60), NUMBERS).beats
    assert not baseline.compare(metric, y, np.full(60, 3.0), NUMBERS).beats


@pytest.mark.parametrize("metric", OF_CLASSES)
def test_constant_prediction_does_not_beat_baseline(metric: str) -> None:
    y = np.array([0.0] * 97 + [1.0] * 3)
    found = baseline.compare(metric, y, np.tile([0.7, 0.3], (100, 1)), CLASSES)
    assert not found.beats
    assert not found.is_better


@pytest.mark.parametrize(("rows", "beats"), [(1, False), (3, False), (4, True), (40, True)])
def test_small_holdout_does_not_beat_baseline(rows: int, beats: bool) -> None:
    y = np.ones(rows)
    found = baseline.compare("accuracy", y, chances(np.full(rows, 0.9)), CLASSES)
    assert (found.is_better, found.beats) == (True, beats)
    assert f"chance explains on {rows} rows held out" in found.reason(1.0)


def test_perfect_minority_recall_beats_majority_baseline() -> None:
    y = np.array([0.0] * 97 + [1.0] * 3)
    assert baseline.compare("accuracy", y, chances(y * 0.9), CLASSES).beats


def test_overflow_or_single_class_does_not_beat_baseline() -> None:
    y = np.array([1e200, -1e200, 0.0, 1.0])
    assert not baseline.compare("rmse", y, y * 0.5, NUMBERS).beats
    assert not baseline.compare("auc", np.zeros(9), chances(np.linspace(0, 1, 9)), CLASSES).beats


@pytest.mark.parametrize("metric", ["precision", "recall", "f1", "balanced_accuracy", "average_precision"])
def test_information_about_classes_is_told_from_chance(metric: str) -> None:
    draw = np.random.default_rng(4)
    y = (draw.random(300) < 0.1).astype(float)
    informed = chances(np.where(y == 1, 0.55, 0.2) + draw.normal(0, 0.15, 300))
    assert baseline.compare(metric, y, informed, CLASSES).beats
    found = baseline.compare(metric, y, chances(np.linspace(0.6, 0.9, 300)), CLASSES)
    assert not found.beats


def test_recall_of_always_positive_does_not_beat_baseline() -> None:
    y = np.array([0.0] * 90 + [1.0] * 10)
    found = baseline.compare("recall", y, chances(np.full(100, 0.9)), CLASSES)
    assert (found.is_better, found.beats) == (True, False)


def test_quantile_loss_is_compared_with_its_quantile() -> None:
    options = ScoreOptions(quantile=0.9)
    y = np.random.default_rng(1).normal(3, 1, 200)
    high = np.full(200, np.quantile(y, 0.9))
    found = baseline.compare("quantile_loss", y, high + (y - 3) * 0.5, NUMBERS, options)
    assert found.beats
    assert found.value == pytest.approx(metrics.mean_pinball_loss(y, np.full(200, 3.8), alpha=0.9))
    assert not baseline.compare("quantile_loss", y, y * 0 + 3, NUMBERS, options).beats
