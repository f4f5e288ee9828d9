"""Metrics of predicted classes (precision, recall, F1, balanced accuracy) and of their ranking (average precision)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.evaluation.report import MetricValue


@dataclass(frozen=True, slots=True, eq=False)
class ClassCounts:
    """Counts of rows by class; the first entry is of rows whose class is not in the training rows (index -1).

    Args:
        hits: (classes + 1,) rows that are predicted correctly.
        support: (classes + 1,) rows of each class.
        predicted: (classes + 1,) rows predicted as each class.
    """

    hits: np.ndarray
    support: np.ndarray
    predicted: np.ndarray

    @classmethod
    def of(cls, y: np.ndarray, predictions: np.ndarray, classes: int) -> ClassCounts:
        """Count (n,) true and (n,) predicted class indices; a true index may be -1."""
        import numpy as np

        def count(indices: np.ndarray) -> np.ndarray:
            return np.bincount(indices + 1, minlength=classes + 1)

        return cls(count(y[y == predictions]), count(y), count(predictions))

    @property
    def precision(self) -> np.ndarray:
        """Precision of each class; 0 for a class that is never predicted."""
        return _ratio(self.hits, self.predicted)

    @property
    def recall(self) -> np.ndarray:
        """Recall of each class; 0 for a class without rows."""
        return _ratio(self.hits, self.support)

    @property
    def f1(self) -> np.ndarray:
        """F1 of each class: the harmonic mean of precision and recall; 0 where both are 0."""
        return _ratio(2 * self.hits, self.support + self.predicted)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    import numpy as np

    ratio: np.ndarray = np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
    return ratio


def scores(counts: ClassCounts, positive: int | None) -> MetricValue:
    """Return the metrics of predicted classes.

    Means are over the classes that a row has or is predicted as, as in scikit-learn with `zero_division=0`; rows of a
    class that is not in the training rows count as one more class. `balanced_accuracy` is the mean recall of the
    classes that a row has.

    Args:
        counts: counts of rows by class.
        positive: index of the class of precision, recall and f1, which are missing without it; they are None if no
            row has this class.
    """
    precision, recall, f1 = counts.precision, counts.recall, counts.f1
    is_present, rows = counts.support + counts.predicted > 0, counts.support.sum()
    result: MetricValue = {
        "balanced_accuracy": float(recall[counts.support > 0].mean()),
        "precision_macro": float(precision[is_present].mean()),
        "recall_macro": float(recall[is_present].mean()),
        "f1_macro": float(f1[is_present].mean()),
        "precision_weighted": float(precision @ counts.support / rows),
        "recall_weighted": float(recall @ counts.support / rows),
        "f1_weighted": float(f1 @ counts.support / rows),
    }
    if positive is not None:
        is_defined = counts.support[positive + 1] > 0
        result["precision"] = float(precision[positive + 1]) if is_defined else None
        result["recall"] = float(recall[positive + 1]) if is_defined else None
        result["f1"] = float(f1[positive + 1]) if is_defined else None
    return result


class Ranking:
    """Rows in descending order of the probability of one class, for average precision of several labelings."""

    def __init__(self, probabilities: np.ndarray) -> None:
        import numpy as np

        self._order = np.argsort(-probabilities, kind="stable")
        ordered = probabilities[self._order]
        # Rows of equal probability have one threshold, the last of them.
        self._ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)

    def average_precision(self, is_positive: np.ndarray) -> float:
        """Return the mean precision weighted by the increase of recall at each threshold.

        Args:
            is_positive: (n,) bool with at least one True.
        """
        import numpy as np

        hits = np.cumsum(is_positive[self._order])[self._ends]
        precision = hits / (self._ends + 1)
        return float(np.diff(hits, prepend=0) @ precision / hits[-1])


def average_precision(y: np.ndarray, rankings: dict[int, Ranking]) -> float | None:
    """Return the mean average precision of classes against the rest; None without a row in or outside of a class.

    Args:
        y: (n,) class index; -1 for a class that is not in the training rows.
        rankings: class index -> ranking of the rows; classes without a row are left out of the mean.
    """
    import numpy as np

    present = [(y == label, ranking) for label, ranking in rankings.items() if (y == label).any()]
    if not present or all(is_positive.all() for is_positive, _ in present):
        return None
    return float(np.mean([ranking.average_precision(is_positive) for is_positive, ranking in present]))


def rankings(probabilities: np.ndarray, positive: int | None) -> dict[int, Ranking]:
    """Return the ranking of the positive class, or of each class if there is none.

    Args:
        probabilities: (n, classes).
        positive: index of the positive class.
    """
    labels = range(probabilities.shape[1]) if positive is None else [positive]
    return {label: Ranking(probabilities[:, label]) for label in labels}
