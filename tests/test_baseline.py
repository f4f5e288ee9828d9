"""Comparison with the baseline: a signal beats it, noise and chance do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ai_workflow.evaluation import baseline

CLASSES: dict[str, Any] = {
    "target": "y", "classes": ["a", "b"], "statistics": {"y": {"counts": [["a", 70], ["b", 30]]}},
}  # fmt: skip
NUMBERS: dict[str, Any] = {"target": "y", "classes": None, "statistics": {"y": {"median": 0.0, "mean": 0.0}}}
OF_CLASSES, OF_NUMBERS = ("accuracy", "auc", "log_loss"), ("mae", "rmse", "r2")


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
    for _ in range(200):
        y = (draw.random(60) < 0.5).astype(float)
        passed += baseline.compare(metric, y, chances(draw.random(60)), CLASSES).beats
    assert passed <= 40


@pytest.mark.parametrize("metric", OF_NUMBERS)
def test_regression_beats_baseline_only_with_signal(metric: str) -> None:
    draw = np.random.default_rng(2)
    y = draw.normal(size=60)
    assert baseline.compare(metric, y, y + draw.normal(0, 0.3, 60), NUMBERS).beats
    assert not baseline.compare(metric, y, draw.normal(0, 0.3, 60), NUMBERS).beats
    assert not baseline.compare(metric, y, np.zeros(60), NUMBERS).beats


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
