"""Contributions of the features to a prediction: an optional method of a loaded model.

The contributions of a row and its base value add up to the raw score of an output: the value of a regression, or the
score of a class. LightGBM computes them as SHAP values: https://arxiv.org/abs/1705.07874 and
https://doi.org/10.1038/s42256-019-0138-9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.training.protocol import Predict

# (n, features) float32 -> (n, classes, features + 1), or (n, features + 1) for a regression; the base value is last.
Contributions = Callable[["np.ndarray"], "np.ndarray"]


class ExplainedModel(Protocol):
    """A loaded model that has the contributions of the features, as `load` of a model family may return it."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return (n, classes) probabilities, or (n,) values for a regression."""

    def contributions(self, x: np.ndarray) -> np.ndarray:
        """Return (n, classes, features + 1), or (n, features + 1) for a regression; the base value is last."""


class Model:
    """A prediction function with the function of its contributions; None if the model has none."""

    def __init__(self, predict: Predict, contributions: Contributions | None) -> None:
        self._predict, self.contributions = predict, contributions

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the predictions."""
        return self._predict(x)


def of(model: Any) -> Contributions | None:
    """Return the function of the contributions of a loaded model; None if it has none."""
    function: Contributions | None = getattr(model, "contributions", None)
    return function
