"""Effect of a probability calibration on the rows held out."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from ai_workflow.evaluation import scores

if TYPE_CHECKING:
    import numpy as np


class ProbabilityScores(TypedDict):
    """Scores of probabilities on the rows held out; lower is better."""

    brier_score: float
    log_loss: float


class CalibrationReport(TypedDict):
    """A calibration: its method, the number of rows that it was fitted on, and the scores before and after it."""

    method: str
    rows: int
    before: ProbabilityScores
    after: ProbabilityScores


def scores_of(y: np.ndarray, probabilities: np.ndarray) -> ProbabilityScores:
    """Return the Brier score (Brier 1950) and the log loss of (n, classes) probabilities.

    The Brier score of two classes is the mean squared error of one of them, that of more the sum over the classes, as
    scikit-learn's `brier_score_loss`.

    Args:
        y: (n,) class index; -1 for a class that is not in the training rows.
        probabilities: (n, classes).
    """
    import numpy as np

    count = probabilities.shape[1]
    truth = y.astype("int64")[:, None] == np.arange(count)
    errors = ((probabilities - truth) ** 2).sum(axis=1)
    return {
        "brier_score": float(errors.mean()) / (2 if count == 2 else 1),
        "log_loss": float(scores.losses("log_loss", y, probabilities).mean()),
    }


def of(method: str, rows: int, y: np.ndarray, before: np.ndarray, after: np.ndarray) -> CalibrationReport:
    """Return the report on a calibration.

    Args:
        method: how it was fitted.
        rows: number of rows that it was fitted on.
        y: (n,) class index of the rows held out.
        before: (n, classes) probabilities of the model.
        after: (n, classes) calibrated probabilities.
    """
    return {"method": method, "rows": rows, "before": scores_of(y, before), "after": scores_of(y, after)}
