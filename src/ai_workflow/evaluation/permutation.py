"""Permutation test: whether a metric is better than that of the same predictions for shuffled labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ai_workflow.config.settings import Metric
from ai_workflow.evaluation import label_scores
from ai_workflow.evaluation.label_scores import ClassCounts

if TYPE_CHECKING:
    import numpy as np

_SHUFFLES = 99


def is_significant(
    metric: Metric, y: np.ndarray, probabilities: np.ndarray, positive: int | None, level: float
) -> bool:
    """Return whether at most the share `level` of shuffled labels gives a value that is not worse.

    Predictions without information about the labels pass in at most this share of all holdouts. The shuffles are the
    same for the same number of rows.

    Args:
        metric: a metric of predicted classes, or average_precision; higher is better.
        y: (n,) class index; -1 for a class that is not in the training rows.
        probabilities: (n, classes).
        positive: index of the positive class.
        level: the level of significance.
    """
    import numpy as np

    value = _value_of(metric, probabilities, positive)
    y = y.astype("int64")
    observed = value(y)
    if observed is None:
        return False
    random = np.random.default_rng(0)
    # Sums of the same numbers in another order differ in the last digits.
    lowest = observed - 1e-12
    reached = sum((value(random.permutation(y)) or 0.0) >= lowest for _ in range(_SHUFFLES))
    return bool((1 + reached) / (1 + _SHUFFLES) <= level)


def _value_of(metric: Metric, probabilities: np.ndarray, positive: int | None) -> Callable[[np.ndarray], float | None]:
    """Return the function from (n,) labels to the metric of fixed predictions."""
    if metric == "average_precision":
        rankings = label_scores.rankings(probabilities, positive)
        return lambda y: label_scores.average_precision(y, rankings)
    predictions, classes = probabilities.argmax(axis=1), probabilities.shape[1]
    return lambda y: label_scores.scores(ClassCounts.of(y, predictions, classes), positive).get(metric)
