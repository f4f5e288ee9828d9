"""Evaluation metrics of classification and regression, and those of the baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ai_workflow.config.settings import Metric

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.evaluation.report import ClassScores, Scores
    from ai_workflow.features.spec import FeatureSpec

HIGHER_IS_BETTER: dict[Metric, bool] = {
    "accuracy": True,
    "auc": True,
    "r2": True,
    "log_loss": False,
    "mae": False,
    "rmse": False,
}


def compute(y: np.ndarray, predictions: np.ndarray, spec: FeatureSpec) -> Scores:
    """Return the metrics of predictions for the task of a feature spec."""
    if spec["classes"] is None:
        return regression(y, predictions)
    return classification(y, predictions, spec["classes"])


def classification(y: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> Scores:
    """Return accuracy, log_loss, auc, `per_class` and `confusion`.

    Args:
        y: (n,) class index; -1 for a class that is not in the training rows, which no prediction matches.
        probabilities: (n, classes) probabilities.
        classes: names of the classes.

    `auc` is that of the second class for two classes, else the unweighted mean of each class against the rest
    (scikit-learn, `roc_auc_score`); None where the rows have only one class.
    """
    import numpy as np
    from sklearn.metrics import precision_recall_fscore_support

    y, labels = y.astype("int64"), np.arange(len(classes))
    predictions = probabilities.argmax(axis=1)
    known = y >= 0
    precision, recall, f1, support = precision_recall_fscore_support(y, predictions, labels=labels, zero_division=0)
    confusion = np.zeros((len(classes), len(classes)), dtype="int64")
    np.add.at(confusion, (y[known], predictions[known]), 1)
    per_class: list[ClassScores] = [
        {"class": name, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for name, p, r, f, n in zip(classes, precision, recall, f1, support, strict=True)
    ]
    return {
        "accuracy": float((predictions == y).mean()),
        "auc": _auc(y[known], probabilities[known]),
        "log_loss": _finite(losses("log_loss", y, probabilities).mean()),
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


def regression(y: np.ndarray, predictions: np.ndarray) -> Scores:
    """Return mae, rmse and r2 of (n,) predictions.

    A metric is None where it overflows; r2 is None also where all values of `y` are equal.
    """
    import numpy as np
    from sklearn.metrics import mean_absolute_error, r2_score

    with np.errstate(over="ignore", invalid="ignore"):
        return {
            "mae": _finite(mean_absolute_error(y, predictions)),
            "rmse": _finite(np.sqrt(losses("rmse", y, predictions).mean())),
            "r2": _finite(r2_score(y, predictions)) if len(y) > 1 and np.ptp(y) > 0 else None,
        }


def losses(metric: Metric, y: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Return the (n,) losses whose mean gives a metric other than auc; lower is better.

    Args:
        metric: a name in `HIGHER_IS_BETTER` other than `auc`.
        y: (n,) class index or value; -1 for a class that is not in the training rows.
        predictions: (n, classes) probabilities or (n,) values.
    """
    import numpy as np

    if metric == "accuracy":
        return np.asarray(predictions.argmax(axis=1) != y, dtype=float)
    if metric == "log_loss":
        index = y.astype("int64")
        probabilities = np.where(index >= 0, predictions[np.arange(len(index)), np.maximum(index, 0)], 0.0)
        return np.asarray(-np.log(np.clip(probabilities, 1e-15, 1)))
    with np.errstate(over="ignore", invalid="ignore"):
        errors = np.abs(y - predictions)
        return np.asarray(errors if metric == "mae" else errors**2)


def constant_predictions(metric: Metric, rows: int, spec: FeatureSpec) -> np.ndarray:
    """Return `rows` times the constant prediction that is best by a metric in the training rows.

    Class shares for classification, the median for mae, the mean for rmse and r2.
    """
    import numpy as np

    target = spec["statistics"][spec["target"]]
    if spec["classes"] is None:
        return np.full(rows, target["median"] if metric == "mae" else target["mean"])
    counts = dict(target["counts"])
    shares = np.array([counts[name] for name in spec["classes"]], dtype=float)
    return np.tile(shares / shares.sum(), (rows, 1))


def baseline_scores(y: np.ndarray, spec: FeatureSpec) -> dict[Metric, float | None]:
    """Return each metric of the constant prediction that is best by this metric."""
    metrics: tuple[Metric, ...] = ("mae", "rmse", "r2") if spec["classes"] is None else ("accuracy", "auc", "log_loss")
    return {metric: compute(y, constant_predictions(metric, len(y), spec), spec)[metric] for metric in metrics}


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
