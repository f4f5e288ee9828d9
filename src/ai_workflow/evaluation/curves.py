"""Curves of a classification on the holdout: ROC, precision and recall, calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    import numpy as np

_MAX_POINTS = 200
_BINS = 10


class Curves(TypedDict):
    """Points of the curves; `roc` and `precision_recall` are empty without a positive class or rows of both sides.

    `roc` has (false positive rate, true positive rate), `precision_recall` has (recall, precision), `calibration` has
    (mean probability, share of hits, rows) of at most ten bins with about the same number of rows.
    """

    roc: list[tuple[float, float]]
    precision_recall: list[tuple[float, float]]
    calibration: list[tuple[float, float, int]]


def compute(y: np.ndarray, probabilities: np.ndarray, positive: int | None) -> Curves:
    """Return the curves of the positive class; without one, the calibration of the most probable class.

    Args:
        y: (n,) class index; -1 for a class that is not in the training rows.
        probabilities: (n, classes).
        positive: index of the positive class.
    """
    label = probabilities.argmax(axis=1) if positive is None else positive
    is_hit = y == label
    chosen = probabilities.max(axis=1) if positive is None else probabilities[:, positive]
    curves: Curves = {"roc": [], "precision_recall": [], "calibration": _calibration(is_hit, chosen)}
    if positive is not None and is_hit.any() and not is_hit.all():
        curves["roc"], curves["precision_recall"] = _thresholds(is_hit, chosen)
    return curves


def _thresholds(
    is_positive: np.ndarray, probabilities: np.ndarray
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Return the ROC curve, from (0, 0) on, and the curve of precision and recall, both by falling threshold."""
    import numpy as np

    order = np.argsort(-probabilities, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(probabilities[order])), len(order) - 1)
    hits = np.cumsum(is_positive[order])[ends]
    alarms = ends + 1 - hits
    shown = np.unique(np.linspace(0, len(ends) - 1, _MAX_POINTS).astype(int))
    true_rate, false_rate = hits / hits[-1], alarms / alarms[-1]
    roc = [(0.0, 0.0), *((float(false_rate[at]), float(true_rate[at])) for at in shown)]
    return roc, [(float(true_rate[at]), float(hits[at] / (ends[at] + 1))) for at in shown]


def _calibration(is_hit: np.ndarray, probabilities: np.ndarray) -> list[tuple[float, float, int]]:
    import numpy as np

    order = np.argsort(probabilities, kind="stable")
    bins = [rows for rows in np.array_split(order, _BINS) if len(rows)]
    return [(float(probabilities[rows].mean()), float(is_hit[rows].mean()), len(rows)) for rows in bins]
