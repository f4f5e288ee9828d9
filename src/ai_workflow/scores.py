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
    taken = np.where(known, chances[np.arange(len(y)), np.maximum(y, 0)], 0.0)
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
        "log_loss": float(-np.log(np.clip(taken, 1e-15, 1)).mean()),
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
    """Return mae, rmse and r2 of (n,) answers; r2 is None where all values are the same."""
    import numpy as np
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    return {
        "mae": float(mean_absolute_error(y, answers)),
        "rmse": float(root_mean_squared_error(y, answers)),
        "r2": float(r2_score(y, answers)) if len(y) > 1 and np.ptp(y) > 0 else None,
    }


def baseline(y: np.ndarray, spec: dict[str, Any]) -> dict[str, Any]:
    """Return the scores of the best constant answer that the training rows suggest: class shares, or the median."""
    import numpy as np

    seen = spec["statistics"][spec["target"]]
    if spec["classes"] is None:
        return regression(y, np.full(len(y), seen["median"]))
    counts = dict(map(tuple, seen["counts"]))
    shares = np.array([counts[name] for name in spec["classes"]], dtype=float)
    found = classification(y, np.tile(shares / shares.sum(), (len(y), 1)), spec["classes"])
    return {name: found[name] for name in ("accuracy", "auc", "log_loss")}


def wilson(right: float, rows: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927): what `rows` rows can say of an accuracy of `right`."""
    centre = (right + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * (right * (1 - right) / rows + z**2 / (4 * rows**2)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)
