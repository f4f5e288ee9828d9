"""Rows held out: labels, predictions, and the arguments that metric functions of own code get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ai_workflow.features.decision import predicted_classes

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.features.spec import Threshold

PROBABILITIES = "probabilities"
# The class of rows whose class is not in the training rows.
_UNSEEN = ""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Labels and predictions of the rows held out.

    Args:
        y: (n,) class index, -1 for a class that is not in the training rows, or value.
        predictions: (n, classes) probabilities, or (n,) values.
        classes: names of the classes; None for a regression.
        threshold: the threshold of the predicted class.
        positive: name of the class of metrics of one class; None if there is none.
    """

    y: np.ndarray
    predictions: np.ndarray
    classes: list[str] | None
    threshold: Threshold | None = None
    positive: str | None = None

    def arguments(self) -> dict[str, Any]:
        """Return new arguments of a metric function, which may change them."""
        import pandas as pd

        if self.classes is None:
            empty = pd.DataFrame(index=range(len(self.y)))
            predictions = self.predictions.astype("float64")
            return {"target": pd.Series(self.y.copy()), "prediction": pd.Series(predictions), PROBABILITIES: empty}
        texts = pd.Series([*self.classes, _UNSEEN], dtype=object)
        predicted = predicted_classes(self.predictions, self.threshold)
        return {
            "target": texts.take(self.y.astype("int64") % len(texts)).reset_index(drop=True),
            "prediction": texts.take(predicted).reset_index(drop=True),
            PROBABILITIES: pd.DataFrame(self.predictions.astype("float64"), columns=self.classes),
        }
