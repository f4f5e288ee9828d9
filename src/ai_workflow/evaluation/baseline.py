"""Comparison of a model with the baseline on the holdout, with a test of significance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ai_workflow.config.settings import Metric
from ai_workflow.evaluation import constant_model, own_metrics, permutation, scores
from ai_workflow.evaluation.held_out import HeldOut
from ai_workflow.evaluation.score_options import DEFAULTS, ScoreOptions
from ai_workflow.evaluation.scores import WITHOUT_LOSSES

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.features.spec import FeatureSpec

# A model that is only as good as the baseline passes by chance in one of ten trainings.
LEVEL = 0.1


@dataclass(frozen=True, slots=True)
class Comparison:
    """Result of the comparison by one metric.

    Args:
        metric: the metric of the quality gate.
        value: its value for the baseline; None where it cannot be computed.
        is_better: whether the model's value is strictly better.
        is_significant: whether the difference is larger than chance explains.
        rows: number of rows held out.
    """

    metric: str
    value: float | None
    is_better: bool
    is_significant: bool
    rows: int

    @property
    def beats(self) -> bool:
        """Whether the model is significantly better than the baseline."""
        return self.is_better and self.is_significant

    def reason(self, value: float) -> str:
        """Return why the model with this value of the metric does not beat the baseline."""
        constant = scores.format_score(self.value)
        if not self.is_better:
            return f"{self.metric} {scores.format_score(value)} does not beat the baseline, {constant}"
        return (
            f"{self.metric} {scores.format_score(value)} is better than the baseline, {constant}, by no more than "
            f"chance explains on {self.rows} rows held out"
        )


def compare(
    name: str, y: np.ndarray, predictions: np.ndarray, spec: FeatureSpec, options: ScoreOptions = DEFAULTS
) -> Comparison:
    """Compare predictions with the baseline, a constant prediction that follows from the training rows.

    The baseline is described by `constant_model.predictions`. The losses of both are compared row by row by a one-sided
    t test at the level of 10 %; of auc, the distance from 0.5 is compared with the standard error of a model without
    information (Mann and Whitney 1947). Metrics that are no mean of losses are compared with shuffled labels.

    Args:
        name: a name in `scores.HIGHER_IS_BETTER`, or an own metric in the options.
        y: (n,) class index or value.
        predictions: (n, classes) probabilities or (n,) values.
        spec: the feature spec.
        options: options of the metrics.
    """
    metric = scores.key(name)
    value = scores.compute(y, predictions, spec, options).get(metric)
    constant = constant_model.scores_of(y, spec, options).get(metric)
    if value is not None and name in (options.own or ()):
        return _compare_own(name, value, constant, HeldOut(y, predictions, spec["classes"]), options)
    if value is None or constant is None:
        return Comparison(metric, constant, False, False, len(y))
    is_better = value > constant if scores.HIGHER_IS_BETTER[metric] else value < constant
    if metric == "auc":
        is_significant = _is_auc_significant(y, value, spec)
    elif metric in WITHOUT_LOSSES:
        is_significant = permutation.is_significant(
            metric,
            y,
            scores.decided(metric, predictions, spec, options),
            options.positive(spec["classes"] or []),
            LEVEL,
        )
    else:
        is_significant = _is_significant(_gains(metric, y, predictions, spec, options))
    return Comparison(metric, constant, is_better, is_significant, len(y))


def _compare_own(name: str, value: float, constant: float | None, rows: HeldOut, options: ScoreOptions) -> Comparison:
    """Compare by an own metric, which may have no value for constant predictions."""
    is_higher_better = scores.is_higher_better(name)
    is_better = constant is None or (value > constant if is_higher_better else value < constant)
    threshold = options.decision(rows.classes) if rows.classes else None
    decided = replace(rows, threshold=threshold, positive=options.positive_name(rows.classes))
    return Comparison(
        name, constant, is_better, is_better and own_metrics.is_significant(name, decided, LEVEL), len(rows.y)
    )


def _gains(
    metric: Metric, y: np.ndarray, predictions: np.ndarray, spec: FeatureSpec, options: ScoreOptions
) -> np.ndarray:
    """Return (n,) losses of the baseline minus those of the model."""
    constant = constant_model.predictions(metric, len(y), spec, options)
    gains: np.ndarray = scores.losses(metric, y, constant, options.quantile) - scores.losses(
        metric, y, scores.decided(metric, predictions, spec, options), options.quantile
    )
    return gains


def _is_significant(gains: np.ndarray) -> bool:
    import numpy as np
    from scipy.special import stdtrit

    largest = np.abs(gains).max(initial=0.0)
    rows = len(gains)
    if rows < 2 or not np.isfinite(largest) or largest == 0:
        return False
    gains = gains / largest
    error = gains.std(ddof=1) / np.sqrt(rows)
    if error < 1e-12:
        # All rows gain the same amount: a sign test replaces the t test, whose error would be 0.
        return bool(gains.mean() > 0 and 0.5**rows <= LEVEL)
    return bool(gains.mean() / error >= stdtrit(rows - 1, 1 - LEVEL))


def _is_auc_significant(y: np.ndarray, value: float, spec: FeatureSpec) -> bool:
    import numpy as np
    from scipy.special import ndtri

    y = y[y >= 0]
    rows, present = len(y), np.unique(y)
    own = [int((y == label).sum()) for label in (present[:1] if len(spec["classes"] or ()) == 2 else present)]
    # The errors of the classes do not cancel out, because one prediction scores all classes.
    error = float(np.mean([np.sqrt((rows + 1) / (12 * count * (rows - count))) for count in own]))
    return bool(value - 0.5 >= ndtri(1 - LEVEL) * error)
