"""What scores promise: the figures that scikit-learn gives, and an honest answer where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from ai_workflow.evaluation import scores


def _chances(rows: int, classes: int) -> np.ndarray:
    return np.random.default_rng(0).dirichlet(np.ones(classes), rows)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_classification_scores_match_scikit_learn(classes: int) -> None:
    chances, names = _chances(500, classes), [str(number) for number in range(classes)]
    y = np.random.default_rng(1).integers(0, classes, 500)
    found, answers = scores.classification(y.astype(float), chances, names), chances.argmax(axis=1)
    auc = (
        metrics.roc_auc_score(y, chances[:, 1])
        if classes == 2
        else metrics.roc_auc_score(y, chances, multi_class="ovr")
    )
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(y, answers))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(y, chances))
    assert found["auc"] == pytest.approx(auc)
    assert found["confusion"] == metrics.confusion_matrix(y, answers).tolist()
    report = metrics.classification_report(y, answers, output_dict=True)
    for line in found["per_class"]:
        expected = report[line["class"]]
        assert [line[name] for name in ("precision", "recall", "f1", "support")] == pytest.approx(
            [expected[name] for name in ("precision", "recall", "f1-score", "support")]
        )


def test_single_class_rows_have_no_auc() -> None:
    found = scores.classification(np.zeros(5), _chances(5, 2), ["a", "b"])
    assert found["auc"] is None
    assert 0 <= found["accuracy"] <= 1


def test_unseen_class_counts_as_wrong() -> None:
    chances = np.array([[0.9, 0.1], [0.2, 0.8], [0.9, 0.1], [0.4, 0.6]])
    found = scores.classification(np.array([0.0, 1.0, -1.0, -1.0]), chances, ["a", "b"])
    assert found["accuracy"] == 0.5
    assert found["per_class"][0]["precision"] == 0.5
    assert [line["support"] for line in found["per_class"]] == [1, 1]
    assert found["confusion"] == [[1, 0], [0, 1]]
    assert found["auc"] == 1.0
    assert found["log_loss"] > 15


def test_rows_with_only_unseen_classes_are_all_wrong() -> None:
    found = scores.classification(np.array([-1.0, -1.0]), _chances(2, 2), ["a", "b"])
    assert (found["accuracy"], found["auc"], found["confusion"]) == (0.0, None, [[0, 0], [0, 0]])


def test_regression_scores_match_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=200)
    answers = y + rng.normal(size=200)
    assert scores.regression(y, answers) == pytest.approx(
        {
            "mae": metrics.mean_absolute_error(y, answers),
            "rmse": metrics.root_mean_squared_error(y, answers),
            "r2": metrics.r2_score(y, answers),
        }
    )


@pytest.mark.parametrize("y", [[1.0], [2.0, 2.0]])
def test_constant_values_have_no_r2(y: list[float]) -> None:
    assert scores.regression(np.array(y), np.zeros(len(y)))["r2"] is None


def test_baseline_predicts_most_frequent_class() -> None:
    spec: dict[str, Any] = {
        "target": "good", "classes": ["no", "yes"],
        "statistics": {"good": {"counts": [["yes", 75], ["no", 25]]}},
    }  # fmt: skip
    found = scores.baseline_scores(np.array([1, 1, 1, 0]), spec)
    assert found == {"accuracy": 0.75, "auc": 0.5, "log_loss": pytest.approx(-(3 * np.log(0.75) + np.log(0.25)) / 4)}


def test_regression_baseline_is_median_or_mean() -> None:
    spec = {"target": "price", "classes": None, "statistics": {"price": {"median": 2.0, "mean": 3.0}}}
    found = scores.baseline_scores(np.array([1.0, 2.0, 6.0]), spec)
    assert found["mae"] == pytest.approx(5 / 3)
    assert (found["rmse"], found["r2"]) == (pytest.approx((14 / 3) ** 0.5), pytest.approx(0.0))


@pytest.mark.parametrize("largest", [1e160, 1e300])
def test_overflowing_scores_are_none(largest: float) -> None:
    found = scores.regression(np.array([0.0, 1.0, largest]), np.zeros(3))
    assert (found["rmse"], found["r2"]) == (None, None)
    assert found["mae"] == pytest.approx(largest / 3)


@pytest.mark.parametrize(
    ("right", "rows", "low", "high"),
    [(0.5, 10, 0.2366, 0.7634), (0.9, 100, 0.8256, 0.9448), (1.0, 20, 0.8389, 1.0), (0.0, 20, 0.0, 0.1611)],
)
def test_wilson_interval_matches_reference_values(right: float, rows: int, low: float, high: float) -> None:
    assert scores.wilson_interval(right, rows) == pytest.approx((low, high), abs=1e-4)
