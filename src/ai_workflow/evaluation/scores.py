"""How good predictions are: the figures of classification and regression, beside those of a constant answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

HIGHER_IS_BETTER = {"accuracy": True, "auc": True, "r2": True, "log_loss": False, "mae": False, "rmse": False}


def of(y: np.ndarray, answers: np.ndarray, spec: dict[str, Any]) -> dict[str, Any]:
    """Return the scores of answers to the question of a spec."""
    if spec["classes"] is None:
        return regression(y, answers)
    return classification(y, answers, spec["classes"])


def classification(y: np.ndarray, chances: np.ndarray, classes: list[str]) -> dict[str, Any]:
    """Return accuracy, log_loss, auc, `per_class` and `confusion`.

    Args:
        y: (n,) class index; -1 for a class that training never saw, which no answer can match.
        chances: (n, classes) probabilities.
        classes: their names.

    `auc` is that of the second class for two classes, else the unweighted mean of each class against the rest
    (scikit-learn, `roc_auc_score`); None where the rows hold only one class.
    """
    import numpy as np
    from sklearn.metrics import precision_recall_fscore_support

    y, labels = y.astype("int64"), np.arange(len(classes))
    answers = chances.argmax(axis=1)
    known = y >= 0
    precision, recall, f1, support = precision_recall_fscore_support(y, answers, labels=labels, zero_division=0)
    confusion = np.zeros((len(classes), len(classes)), dtype="int64")
    np.add.at(confusion, (y[known], answers[known]), 1)
    per_class = [
        {"class": name, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for name, p, r, f, n in zip(classes, precision, recall, f1, support, strict=True)
    ]
    return {
        "accuracy": float((answers == y).mean()),
        "auc": _auc(y[known], chances[known]),
        "log_loss": _finite(losses("log_loss", y, chances).mean()),
        "per_class": per_class,
        "confusion": confusion.tolist(),
    }


def _auc(y: np.ndarray, chances: np.ndarray) -> float | None:
    import numpy as np
    from sklearn.metrics import roc_auc_score

    present = np.unique(y)
    if len(present) < 2:
        return None
    if chances.shape[1] == 2:
        return float(roc_auc_score(y, chances[:, 1]))
    return float(np.mean([roc_auc_score(y == label, chances[:, label]) for label in present]))


def regression(y: np.ndarray, answers: np.ndarray) -> dict[str, Any]:
    """Return mae, rmse and r2 of (n,) answers; r2 is None where all values are the same, any where it overflows."""
    import numpy as np
    from sklearn.metrics import mean_absolute_error, r2_score

    with np.errstate(over="ignore", invalid="ignore"):
        return {
            "mae": _finite(mean_absolute_error(y, answers)),
            "rmse": _finite(np.sqrt(losses("rmse", y, answers).mean())),
            "r2": _finite(r2_score(y, answers)) if len(y) > 1 and np.ptp(y) > 0 else None,
        }


def losses(metric: str, y: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Return the (n,) losses whose mean decides on a metric other than auc; lower is better.

    Args:
        metric: a name in `HIGHER_IS_BETTER` other than `auc`.
        y: (n,) class index or value; -1 for a class that training never saw.
        answers: (n, classes) probabilities or (n,) values.
    """
    import numpy as np

    if metric == "accuracy":
        return np.asarray(answers.argmax(axis=1) != y, dtype=float)
    if metric == "log_loss":
        index = y.astype("int64")
        taken = np.where(index >= 0, answers[np.arange(len(index)), np.maximum(index, 0)], 0.0)
        return np.asarray(-np.log(np.clip(taken, 1e-15, 1)))
    with np.errstate(over="ignore", invalid="ignore"):
        errors = np.abs(y - answers)
        return np.asarray(errors if metric == "mae" else errors**2)


def constant(metric: str, rows: int, spec: dict[str, Any]) -> np.ndarray:
    """Return `rows` times the constant answer that is best by a metric, as the training rows suggest.

    Class shares for classification, the median for mae, the mean for rmse and r2.
    """
    import numpy as np

    seen = spec["statistics"][spec["target"]]
    if spec["classes"] is None:
        return np.full(rows, seen["median" if metric == "mae" else "mean"])
    counts = dict(map(tuple, seen["counts"]))
    shares = np.array([counts[name] for name in spec["classes"]], dtype=float)
    return np.tile(shares / shares.sum(), (rows, 1))


def baseline(y: np.ndarray, spec: dict[str, Any]) -> dict[str, Any]:
    """Return the scores of the constant answers; each metric is that of the constant answer that is best by it."""
    names = ("mae", "rmse", "r2") if spec["classes"] is None else ("accuracy", "auc", "log_loss")
    return {name: of(y, constant(name, len(y), spec), spec)[name] for name in names}


def shown(value: float | None) -> str:
    """Return a score as people read it: four decimals, or four digits where it is very large or small."""
    if value is None:
        return "–"
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e9 else f"{value:.4g}"


def _finite(value: float) -> float | None:
    import numpy as np

    return float(value) if np.isfinite(value) else None


def wilson(right: float, rows: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927): what `rows` rows can say of an accuracy of `right`."""
    centre = (right + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * (right * (1 - right) / rows + z**2 / (4 * rows**2)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)
