"""What scores promise: the figures that scikit-learn gives, and an honest answer where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from ai_workflow.config.settings import METRICS
from ai_workflow.errors import StageError
from ai_workflow.evaluation import constant_model, scores
from ai_workflow.evaluation.score_options import ScoreOptions


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


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("absent", [False, True])
def test_mean_scores_match_scikit_learn(classes: int, absent: bool) -> None:
    chances, names = np.round(_chances(300, classes), 2), [str(number) for number in range(classes)]
    y = np.random.default_rng(1).integers(0, classes, 300)
    if absent:
        y[y == 0], y[:7] = 1, -1
        chances[:, 0] = 0
    found, answers = scores.classification(y.astype(float), chances, names), chances.argmax(axis=1)
    for average in ("macro", "weighted"):
        expected = metrics.precision_recall_fscore_support(y, answers, average=average, zero_division=0)
        assert [found[f"{name}_{average}"] for name in ("precision", "recall", "f1")] == pytest.approx(expected[:3])
    if not absent:
        assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(y, answers))
    present = [label for label in range(classes) if (y == label).any()]
    assert found["average_precision"] == pytest.approx(
        np.mean([metrics.average_precision_score(y == label, chances[:, label]) for label in present])
    )


@pytest.mark.parametrize(("classes", "positive"), [(2, 0), (2, 1), (4, 2)])
def test_scores_of_positive_class_match_scikit_learn(classes: int, positive: int) -> None:
    chances, names = np.round(_chances(300, classes), 2), list("abcd"[:classes])
    y = np.random.default_rng(1).integers(-1, classes, 300)
    found, answers = scores.classification(y, chances, names, positive), chances.argmax(axis=1)
    expected = metrics.precision_recall_fscore_support(y == positive, answers == positive, average="binary")
    assert [found[name] for name in ("precision", "recall", "f1")] == pytest.approx(expected[:3])
    assert found["average_precision"] == pytest.approx(
        metrics.average_precision_score(y == positive, chances[:, positive])
    )


def test_positive_class_is_the_second_of_two_and_must_exist() -> None:
    assert ScoreOptions().positive(["no", "yes"]) == 1
    assert ScoreOptions().positive(["a", "b", "c"]) is None
    assert ScoreOptions(positive_class="no").positive(["no", "yes"]) == 0
    with pytest.raises(StageError, match=r"evaluate.positive_class 'on' is no class of the training rows: \['no'"):
        ScoreOptions(positive_class="on").positive(["no", "yes"])


def test_more_than_two_classes_without_positive_class_have_no_scores_of_one_class() -> None:
    found = scores.classification(np.arange(3), np.eye(3), ["a", "b", "c"])
    assert not {"precision", "recall", "f1"} & set(found)
    assert found["f1_macro"] == 1


def test_holdout_without_the_positive_class_has_no_scores_of_it() -> None:
    found = scores.classification(np.zeros(5), _chances(5, 2), ["a", "b"], 1)
    assert [found[name] for name in ("precision", "recall", "f1", "average_precision")] == [None] * 4
    assert found["balanced_accuracy"] is not None


def test_class_that_is_never_predicted_has_precision_zero() -> None:
    found = scores.classification(np.array([0, 1, 1]), np.tile([0.9, 0.1], (3, 1)), ["a", "b"], 1)
    assert [found[name] for name in ("precision", "recall", "f1")] == [0, 0, 0]


def test_target_of_zero_has_no_mape() -> None:
    assert scores.regression(np.array([0.0, 1.0]), np.ones(2))["mape"] is None
    assert scores.regression(np.array([-2.0, 1.0]), np.ones(2))["mape"] == 0.75


def test_single_class_rows_have_no_auc() -> None:
    found = scores.classification(np.zeros(5), _chances(5, 2), ["a", "b"])
    assert (found["auc"], found["average_precision"]) == (None, None)
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
    assert scores.regression(y, answers, 0.9) == pytest.approx(
        {
            "mae": metrics.mean_absolute_error(y, answers),
            "rmse": metrics.root_mean_squared_error(y, answers),
            "r2": metrics.r2_score(y, answers),
            "mape": metrics.mean_absolute_percentage_error(y, answers),
            "quantile_loss": metrics.mean_pinball_loss(y, answers, alpha=0.9),
        }
    )


@pytest.mark.parametrize("y", [[1.0], [2.0, 2.0]])
def test_constant_values_have_no_r2(y: list[float]) -> None:
    assert scores.regression(np.array(y), np.zeros(len(y)))["r2"] is None


def test_baseline_predicts_most_frequent_class_or_the_positive_one() -> None:
    spec: dict[str, Any] = {
        "target": "good", "classes": ["no", "yes"],
        "statistics": {"good": {"counts": [["no", 75], ["yes", 25]]}},
    }  # fmt: skip
    found = constant_model.scores_of(np.array([0, 0, 0, 1]), spec)
    assert {name: found[name] for name in ("accuracy", "auc", "average_precision", "balanced_accuracy", "recall")} == {
        "accuracy": 0.75, "auc": 0.5, "average_precision": 0.25, "balanced_accuracy": 0.5, "recall": 0.0,
    }  # fmt: skip
    assert found["log_loss"] == pytest.approx(-(3 * np.log(0.75) + np.log(0.25)) / 4)
    assert (found["precision"], found["f1"]) == (0.25, 0.4)
    assert list(found) == list(METRICS["classification"])


@pytest.mark.integration
def test_regression_baseline_is_best_constant_of_each_metric() -> None:
    values = np.sort(np.random.default_rng(3).lognormal(size=400))
    profile = {"median": float(np.median(values)), "mean": float(values.mean()), "quantiles": values.tolist()}
    spec = {"target": "price", "classes": None, "statistics": {"price": profile}}
    options = ScoreOptions(quantile=0.9)
    found = constant_model.scores_of(values, spec, options)
    assert list(found) == list(METRICS["regression"])
    for name, higher in ((name, scores.HIGHER_IS_BETTER[name]) for name in found):
        constants = [scores.compute(values, np.full(400, value), spec, options)[name] for value in values]
        best = max(constants) if higher else min(constants)
        assert found[name] == pytest.approx(best, rel=1e-3, abs=1e-3)


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
