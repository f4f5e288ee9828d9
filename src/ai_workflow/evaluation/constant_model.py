"""Baseline: constant predictions that follow from the training rows, and their scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ai_workflow.config.settings import METRICS, Metric
from ai_workflow.evaluation import own_metrics, scores
from ai_workflow.evaluation.held_out import HeldOut
from ai_workflow.evaluation.score_options import DEFAULTS, ScoreOptions

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.datasets.column_profile import ColumnProfile
    from ai_workflow.features.spec import FeatureSpec

# A constant prediction of the positive class is best by these metrics.
_ALWAYS_POSITIVE: tuple[Metric, ...] = ("precision", "f1")
# Up to this number of classes, each is a constant prediction for own metrics.
_MAX_CLASSES = 20


def predictions(metric: Metric, rows: int, spec: FeatureSpec, options: ScoreOptions = DEFAULTS) -> np.ndarray:
    """Return `rows` times the constant prediction of the baseline for a metric, from the training rows.

    Classification: the positive class for precision and f1, else the class shares, whose largest is the prediction.
    Regression: the value that is best by the metric, which is the mean for rmse and r2.
    """
    import numpy as np

    target = spec["statistics"][spec["target"]]
    if spec["classes"] is None:
        return np.full(rows, _constant(metric, target, options.quantile))
    positive = options.positive(spec["classes"])
    if metric in _ALWAYS_POSITIVE and positive is not None:
        return np.tile(np.eye(len(spec["classes"]))[positive], (rows, 1))
    counts = dict(target["counts"])
    shares = np.array([counts[name] for name in spec["classes"]], dtype=float)
    return np.tile(shares / shares.sum(), (rows, 1))


def _constant(metric: Metric, target: ColumnProfile, quantile: float) -> float | None:
    import numpy as np

    if metric == "quantile_loss":
        return float(np.quantile(target["quantiles"], quantile))
    if metric == "mape":
        values = np.asarray(target["quantiles"])
        # The mean of |y - c| / |y| is least at the median weighted by 1 / |y|.
        weights = np.cumsum(1 / np.maximum(np.abs(values), np.finfo(float).tiny))
        return float(values[np.searchsorted(weights, weights[-1] / 2)])
    return target["median"] if metric == "mae" else target["mean"]


def scores_of(y: np.ndarray, spec: FeatureSpec, options: ScoreOptions = DEFAULTS) -> dict[Metric, float | None]:
    """Return each metric of the baseline, the constant prediction of `predictions`, then those of own code."""
    own, options = options.own or (), options.model_copy(update={"threshold": None, "own": None, "own_per_class": None})
    metrics = METRICS["regression" if spec["classes"] is None else "classification"]
    if spec["classes"] is None:
        groups: list[tuple[Metric, ...]] = [(metric,) for metric in metrics]
    else:
        groups = [tuple(metric for metric in metrics if metric not in _ALWAYS_POSITIVE), _ALWAYS_POSITIVE]
    values: dict[Metric, float | None] = {}
    for group in groups:
        result = scores.compute(y, predictions(group[0], len(y), spec, options), spec, options)
        values |= {metric: result[metric] for metric in group if metric in result}
    ordered = {metric: values[metric] for metric in metrics if metric in values}
    return {**ordered, **_own(own, y, spec, options)}


def _own(texts: Sequence[str], y: np.ndarray, spec: FeatureSpec, options: ScoreOptions) -> dict[Metric, float | None]:
    """Return the best value of each own metric for constants: class shares and each class, or median and mean."""
    import numpy as np

    if not texts:
        return {}
    rows, classes = len(y), spec["classes"]
    if classes is None:
        constants = [predictions("mae", rows, spec), predictions("rmse", rows, spec)]
    else:
        each = np.eye(len(classes)) if len(classes) <= _MAX_CLASSES else ()
        constants = [predictions("accuracy", rows, spec), *(np.tile(line, (rows, 1)) for line in each)]
    held_out = HeldOut(y, constants[0], classes, positive=options.positive_name(classes))
    return {scores.key(text): own_metrics.best_constant(text, held_out, constants) for text in texts}
