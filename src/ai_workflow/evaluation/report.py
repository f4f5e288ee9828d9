"""Types of the evaluation report, which `card.json` stores and the model card shows."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from ai_workflow.config.settings import Metric
from ai_workflow.datasets.row_counts import LeftOut
from ai_workflow.evaluation.calibration_report import CalibrationReport
from ai_workflow.evaluation.curves import Curves
from ai_workflow.evaluation.mean_contributions import ContributionReport
from ai_workflow.evaluation.slices import Slice
from ai_workflow.features.spec import Threshold
from ai_workflow.registry.manifest import ScoringRecord
from ai_workflow.training.protocol import FeatureImportance

IN_CACHE_KEY = False

ClassScores = TypedDict("ClassScores", {"class": str, "precision": float, "recall": float, "f1": float, "support": int})


class MetricValue(TypedDict, total=False):
    """Values of metrics by name, also of own code; None where a metric cannot be computed."""

    accuracy: float | None
    balanced_accuracy: float | None
    auc: float | None
    average_precision: float | None
    log_loss: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    precision_macro: float | None
    recall_macro: float | None
    f1_macro: float | None
    precision_weighted: float | None
    recall_weighted: float | None
    f1_weighted: float | None
    mae: float | None
    rmse: float | None
    r2: float | None
    mape: float | None
    quantile_loss: float | None


class Scores(MetricValue, total=False):
    """Evaluation metrics; classification also has the table per class and the confusion matrix.

    `confusion` counts rows by true class and predicted class.
    """

    per_class: list[ClassScores]
    confusion: list[list[int]]


class StableScores(TypedDict):
    """Scores of the stable model on the holdout; `note` has the reason if they are of other rows or missing."""

    version: str
    scores: Scores | dict[Metric, float | None]
    note: str


class GateReport(TypedDict):
    """Conditions of the quality gate and its decision; `baseline` is the value of `metric` for the baseline."""

    metric: str
    minimum: float | None
    tolerance: float
    beat_baseline: bool
    passed: bool
    verdict: str
    baseline: float | None
    beats_baseline: bool


class TrainingSummary(TypedDict):
    """Facts about the data and the training of a model; `adapted` is {parameter: [default, used]}.

    `left_out` counts rows of the source that are not in the clean data; reports of earlier releases do not have it.
    `stages` is {added stage: rows that it dropped}.
    `used_columns` are the inputs of the features, `derived_features` the names of those that `features.derive` adds,
    `unused_columns` is {column: reason} for the other columns, and `undeclared` are those typed by their values.
    `holdout` describes the rows held out, `hyperparameters` are the settings of the trainer that differ from their
    defaults, and `period` has the first and the last time of the training rows if there is a timestamp. `reduced` is
    {quantity: [requested, used]} where memory ran short, and `losses` are pairs of step and loss.
    """

    pipeline: str
    task: str
    target: str
    classes: list[str] | None
    holdout: str
    kind: str
    library: str
    steps: int
    hyperparameters: dict[str, Any]
    period: list[str] | None
    losses: list[tuple[int, float]]
    training_rows: int
    validation_rows: int
    reduced: dict[str, list[int]]
    adapted: dict[str, list[int]]
    left_out: LeftOut
    stages: NotRequired[dict[str, int]]
    used_columns: list[str]
    derived_features: NotRequired[list[str]]
    unused_columns: dict[str, str]
    undeclared: list[str]
    features: int
    columns: int
    data: str
    trace_id: str | None


class FoldReport(TypedDict):
    """Scores of one fold of a cross-validation, on `rows` rows that its model did not learn from."""

    training_rows: int
    rows: int
    steps: int
    scores: dict[Metric, float | None]


class CrossValidationReport(TypedDict):
    """Scores of all folds, with mean and standard deviation; None for a metric that a fold cannot compute."""

    folds: list[FoldReport]
    mean: dict[Metric, float | None]
    deviation: dict[Metric, float | None]


class Trial(TypedDict):
    """One trial of a search: its parameters, and the value of the metric, or the error if it failed."""

    number: int
    params: dict[str, Any]
    value: float | None
    error: str | None


class SearchReport(TypedDict):
    """Hyperparameter search: `top` are the best trials, the best first.

    `rows` is the number of training rows that score a trial, in `scored_folds` of `folds` parts.
    """

    metric: str
    trials: int
    failed: int
    rows: int
    folds: int
    scored_folds: int
    seed: int
    best: Trial
    top: list[Trial]


class EvaluationReport(TrainingSummary):
    """Result of the evaluation of one model on its holdout; `sample` has pairs of label and prediction.

    `curves` is None for a regression, `contributions` for a model family without contributions, `calibration` if the
    probabilities are those of the model, `search` without `trainer.search`.
    """

    scores: Scores
    scoring: ScoringRecord
    threshold: Threshold | None
    calibration: CalibrationReport | None
    cross_validation: CrossValidationReport | None
    search: SearchReport | None
    baseline: dict[Metric, float | None]
    stable: StableScores | None
    gate: GateReport
    holdout_rows: int
    importance: list[FeatureImportance]
    contributions: ContributionReport | None
    curves: Curves | None
    slices: list[Slice]
    sample: list[tuple[float, float]]
    warnings: list[str]
    plots: list[str]
