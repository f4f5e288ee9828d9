"""Comparison of a model with a constant answer on the rows held out: better, and by more than chance explains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ai_workflow.evaluation import scores

if TYPE_CHECKING:
    import numpy as np

# A model that is as good as the constant answer passes by chance in one of ten trainings.
LEVEL = 0.1


@dataclass(frozen=True, slots=True)
class Comparison:
    """Result of the comparison by one metric.

    Args:
        metric: the metric of the quality gate.
        value: its value for the constant answer; None where it cannot be computed.
        is_better: whether the model's value is strictly better.
        is_sure: whether it is better by more than chance explains.
        rows: number of rows held out.
    """

    metric: str
    value: float | None
    is_better: bool
    is_sure: bool
    rows: int

    @property
    def beats(self) -> bool:
        """Return whether the model beats the constant answer."""
        return self.is_better and self.is_sure

    def reason(self, value: float) -> str:
        """Return why the model with this value of the metric does not beat the constant answer."""
        constant = scores.shown(self.value)
        if not self.is_better:
            return f"{self.metric} {scores.shown(value)} does not beat the constant answer, {constant}"
        return (
            f"{self.metric} {scores.shown(value)} is better than the constant answer, {constant}, by no more than "
            f"chance explains on {self.rows} rows held out"
        )


def compare(metric: str, y: np.ndarray, answers: np.ndarray, spec: dict[str, Any]) -> Comparison:
    """Return whether answers beat the constant answer that the training rows suggest.

    The constant answer is the most frequent class (accuracy), the share of each class (log_loss), the median (mae) or
    the mean (rmse, r2). The losses of both are compared row by row by a one-sided t test at the level of 10 %; of auc,
    the distance from 0.5 is compared with the standard error of a model without information (Mann and Whitney 1947).

    Args:
        metric: a name in `scores.HIGHER_IS_BETTER`.
        y: (n,) class index or value.
        answers: (n, classes) probabilities or (n,) values.
        spec: the feature spec.
    """
    value = scores.of(y, answers, spec)[metric]
    constant = scores.baseline(y, spec)[metric]
    if value is None or constant is None:
        return Comparison(metric, constant, False, False, len(y))
    is_better = value > constant if scores.HIGHER_IS_BETTER[metric] else value < constant
    is_sure = _is_auc_sure(y, value, spec) if metric == "auc" else _is_sure(_gains(metric, y, answers, spec))
    return Comparison(metric, constant, is_better, is_sure, len(y))


def _gains(metric: str, y: np.ndarray, answers: np.ndarray, spec: dict[str, Any]) -> np.ndarray:
    """Return (n,) losses of the constant answer less those of the model."""
    constant = scores.constant(metric, len(y), spec)
    gains: np.ndarray = scores.losses(metric, y, constant) - scores.losses(metric, y, answers)
    return gains


def _is_sure(gains: np.ndarray) -> bool:
    import numpy as np
    from scipy.special import stdtrit

    largest = np.abs(gains).max(initial=0.0)
    rows = len(gains)
    if rows < 2 or not np.isfinite(largest) or largest == 0:
        return False
    gains = gains / largest
    error = gains.std(ddof=1) / np.sqrt(rows)
    if error < 1e-12:
        # All rows gain the same: by chance, each would gain or lose with equal odds.
        return bool(gains.mean() > 0 and 0.5**rows <= LEVEL)
    return bool(gains.mean() / error >= stdtrit(rows - 1, 1 - LEVEL))


def _is_auc_sure(y: np.ndarray, value: float, spec: dict[str, Any]) -> bool:
    import numpy as np
    from scipy.special import ndtri

    y = y[y >= 0]
    rows, present = len(y), np.unique(y)
    own = [int((y == label).sum()) for label in (present[:1] if len(spec["classes"]) == 2 else present)]
    # Classes are scored by the same answers, so their errors do not cancel out.
    error = float(np.mean([np.sqrt((rows + 1) / (12 * count * (rows - count))) for count in own]))
    return bool(value - 0.5 >= ndtri(1 - LEVEL) * error)
