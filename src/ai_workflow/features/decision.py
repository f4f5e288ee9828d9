"""Predicted class of a binary classification with a threshold, the same in evaluation, scoring and service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.features.spec import Threshold


def predicted_classes(probabilities: np.ndarray, threshold: Threshold | None) -> np.ndarray:
    """Return the (n,) class index of each row: the most probable class, or that of the threshold.

    Args:
        probabilities: (n, classes).
        threshold: the class that is predicted from a probability on, of two classes.
    """
    import numpy as np

    if threshold is None:
        return np.asarray(probabilities.argmax(axis=1))
    index = threshold["class_index"]
    return np.where(probabilities[:, index].astype("float64") >= threshold["value"], index, 1 - index)


def predicted_class(probabilities: Sequence[float], threshold: Threshold | None) -> int:
    """Return the class index of one row, as `predicted_classes` does."""
    if threshold is None:
        return probabilities.index(max(probabilities))
    index = threshold["class_index"]
    return index if probabilities[index] >= threshold["value"] else 1 - index
