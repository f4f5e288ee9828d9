"""Evaluation metrics of classification and regression, and those of the baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ai_workflow.config.settings import METRICS, Metric
from ai_workflow.evaluation import label_scores, own_metrics
from ai_workflow.evaluation.held_out import HeldOut
from ai_workflow.evaluation.label_scores import ClassCounts
from ai_workflow.evaluation.own_metrics import OwnMetric
from ai_workflow.evaluation.score_options import DEFAULTS, ScoreOptions
from ai_workflow.features.decision import predicted_classes

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.evaluation.report import ClassScores, Scores
    from ai_workflow.features.spec import FeatureSpec, Threshold

_ERRORS: tuple[Metric, ...] = ("log_loss", "mae", "rmse", "mape", "quantile_loss")
HIGHER_IS_BETTER: dict[Metric, bool] = {name: name not in _ERRORS for names in METRICS.values() for name in names}
OF_ONE_CLASS: tuple[Metric, ...] = ("precision", "recall", "f1")
# Metrics that are no mean of losses of single rows.
WITHOUT_LOSSES: tuple[Metric, ...] = tuple(
    name for name in METRICS["classification"] if name not in ("accuracy", "log_loss")
)
WITH_OPTIONS: tuple[Metric, ...] = (*OF_ONE_CLASS, "average_precision", "quantile_loss")


def key(name: str) -> Metric:
    """Return a name as a key of scores, which own metrics are too."""
    return cast(Metric, name)


def is_higher_better(name: str) -> bool:
    """Return whether a greater value of a metric is better."""
    return HIGHER_IS_BETTER[key(name)] if name in HIGHER_IS_BETTER else OwnMetric(name).greater_is_better


def compute(
    y: np.ndarray,
    predictions: np.ndarray,
    spec: FeatureSpec,
    options: ScoreOptions = DEFAULTS,
    threshold: Threshold | None = None,
) -> Scores:
    """Return the metrics of predictions for the task of a feature spec, then those of own code.

    Args:
        y: (n,) class index or value.
        predictions: (n, classes) probabilities or (n,) values.
        spec: the feature spec.
        options: options of the metrics.
        threshold: the threshold of the predicted class, if it is not that of the options.
    """
    classes = spec["classes"]
    if classes is None:
        result = regression(y, predictions, options.quantile)
    else:
        threshold = threshold or options.decision(classes)
        result = classification(y, predictions, classes, options.positive(classes), threshold)
    rows = HeldOut(y, predictions, classes, threshold, options.positive_name(classes))
    of_classes = own_metrics.of_classes(options.own_per_class or (), rows)
    for line in result.get("per_class", []):
        line.update(cast("ClassScores", of_classes.get(line["class"], {})))
    own = own_metrics.values(options.own or (), rows)
    return cast("Scores", {**result, **own})


def decided(metric: str, predictions: np.ndarray, spec: FeatureSpec, options: ScoreOptions) -> np.ndarray:
    """Return the predictions, with 1 for the predicted class if the metric depends on it alone.

    The predicted class is then the most probable one.
    """
    import numpy as np

    classes = spec["classes"]
    if classes is None or metric in ("auc", "average_precision", "log_loss"):
        return predictions
    chosen: np.ndarray = np.eye(len(classes))[predicted_classes(predictions, options.decision(classes))]
    return chosen


def classification(
    y: np.ndarray,
    probabilities: np.ndarray,
    classes: list[str],
    positive: int | None = None,
    threshold: Threshold | None = None,
) -> Scores:
    """Return the metrics of a classification, `per_class` and `confusion`.

    Args:
        y: (n,) class index; -1 for a class that is not in the training rows, which no prediction matches.
        probabilities: (n, classes) probabilities.
        classes: names of the classes.
        positive: index of the class of precision, recall, f1 and average_precision. Without it the first three are
            missing, and average_precision is the mean of each class against the rest.
        threshold: the threshold of the predicted class.

    `auc` is that of the second class for two classes, else the unweighted mean of each class against the rest
    (scikit-learn, `roc_auc_score`); None where the rows have only one class.
    """
    import numpy as np

    y = y.astype("int64")
    predictions = predicted_classes(probabilities, threshold)
    known = y >= 0
    counts = ClassCounts.of(y, predictions, len(classes))
    confusion = np.zeros((len(classes), len(classes)), dtype="int64")
    np.add.at(confusion, (y[known], predictions[known]), 1)
    per_class: list[ClassScores] = [
        {"class": name, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for name, p, r, f, n in zip(
            classes, counts.precision[1:], counts.recall[1:], counts.f1[1:], counts.support[1:], strict=True
        )
    ]
    return {
        "accuracy": float((predictions == y).mean()),
        "auc": _auc(y[known], probabilities[known]),
        "average_precision": label_scores.average_precision(y, label_scores.rankings(probabilities, positive)),
        "log_loss": _finite(losses("log_loss", y, probabilities).mean()),
        **label_scores.scores(counts, positive),
        "per_class": per_class,
        "confusion": confusion.tolist(),
    }


def _auc(y: np.ndarray, probabilities: np.ndarray) -> float | None:
    import numpy as np
    from sklearn.metrics import roc_auc_score

    present = np.unique(y)
    if len(present) < 2:
        return None
    if probabilities.shape[1] == 2:
        return float(roc_auc_score(y, probabilities[:, 1]))
    return float(np.mean([roc_auc_score(y == label, probabilities[:, label]) for label in present]))


def regression(y: np.ndarray, predictions: np.ndarray, quantile: float = 0.5) -> Scores:
    """Return mae, rmse, r2, mape and quantile_loss of (n,) predictions.

    A metric is None where it overflows; r2 also where all values of `y` are equal, and mape where one is 0.
    """
    import numpy as np
    from sklearn.metrics import mean_absolute_error, r2_score

    with np.errstate(over="ignore", invalid="ignore"):
        return {
            "mae": _finite(mean_absolute_error(y, predictions)),
            "rmse": _finite(np.sqrt(losses("rmse", y, predictions).mean())),
            "r2": _finite(r2_score(y, predictions)) if len(y) > 1 and np.ptp(y) > 0 else None,
            "mape": _finite(losses("mape", y, predictions).mean()) if (y != 0).all() else None,
            "quantile_loss": _finite(losses("quantile_loss", y, predictions, quantile).mean()),
        }


def losses(metric: Metric, y: np.ndarray, predictions: np.ndarray, quantile: float = 0.5) -> np.ndarray:
    """Return the (n,) losses whose mean gives a metric; lower is better.

    Args:
        metric: accuracy, log_loss or a metric of a regression.
        y: (n,) class index or value; -1 for a class that is not in the training rows.
        predictions: (n, classes) probabilities or (n,) values.
        quantile: level of quantile_loss (Koenker and Bassett 1978).
    """
    import numpy as np

    if metric == "accuracy":
        return np.asarray(predictions.argmax(axis=1) != y, dtype=float)
    if metric == "log_loss":
        index = y.astype("int64")
        probabilities = np.where(index >= 0, predictions[np.arange(len(index)), np.maximum(index, 0)], 0.0)
        return np.asarray(-np.log(np.clip(probabilities, 1e-15, 1)))
    with np.errstate(over="ignore", invalid="ignore"):
        errors = y - predictions
        if metric == "quantile_loss":
            return np.asarray(np.maximum(quantile * errors, (quantile - 1) * errors))
        if metric == "mape":
            return np.asarray(np.abs(errors) / np.abs(y))
        return np.asarray(np.abs(errors) if metric == "mae" else errors**2)


def undefined_reason(metric: Metric) -> str:
    """Return why a metric cannot be computed from a holdout."""
    if metric in OF_ONE_CLASS:
        return "no row held out is of the positive class"
    if metric == "mape":
        return "a target in the rows held out is 0, or it overflows"
    return "the holdout has one class, or one value, only, or values so large that it overflows"


def format_score(value: float | None) -> str:
    """Return a score with four decimals, or with four digits if it is very large or small."""
    if value is None:
        return "–"
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e9 else f"{value:.4g}"


def _finite(value: float) -> float | None:
    import numpy as np

    return float(value) if np.isfinite(value) else None


def wilson_interval(accuracy: float, rows: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % confidence interval of an accuracy measured on `rows` rows (Wilson 1927)."""
    center = (accuracy + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * (accuracy * (1 - accuracy) / rows + z**2 / (4 * rows**2)) ** 0.5
    return max(0.0, center - half), min(1.0, center + half)
