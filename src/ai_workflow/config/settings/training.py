"""Settings of training: model family, parameters, checkpoints, quality gate."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from ai_workflow.config.settings.config_model import NOT_IN_KEY, ConfigModel, Fraction, Scope
from ai_workflow.config.settings.search.options import Search
from ai_workflow.plugins import names

# Model families of this package.
TRAINERS = ("lightgbm", "torch_mlp")


class Checkpoint(ConfigModel):
    """Frequency and number of checkpoints of a training."""

    scope: ClassVar[Scope] = "deployment"
    every_steps: int = Field(default=50, ge=1)
    every_seconds: float = Field(default=60, gt=0)
    keep: int = Field(default=3, ge=1)


Weight = Annotated[float, Field(gt=0)]


class ProbabilityCalibration(ConfigModel):
    """Calibration of the probabilities, fitted on training rows that the model does not learn from."""

    scope: ClassVar[Scope] = "pipeline"
    method: Literal["sigmoid", "isotonic"]
    fraction: float = Field(default=0.1, gt=0, lt=1, description="fraction of the training rows")


class Loss(ConfigModel):
    """Loss that the training of a regression minimizes; `delta` is in units of the target."""

    scope: ClassVar[Scope] = "pipeline"
    kind: Literal["squared", "absolute", "huber", "quantile"]
    # LightGBM rejects values that are closer to 0 or 1, and names no setting.
    quantile: float | None = Field(default=None, ge=1e-6, le=1 - 1e-6)
    delta: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _check_parameter(self) -> Self:
        for kind, name in (("quantile", "quantile"), ("huber", "delta")):
            if self.kind == kind and getattr(self, name) is None:
                raise ValueError(f"kind {kind} needs {name}: {{kind: {kind}, {name}: ...}}")
            if self.kind != kind and getattr(self, name) is not None:
                raise ValueError(f"{name} has no effect with kind {self.kind}")
        return self


class Trainer(ConfigModel):
    """Model family and parameters, passed to the library unchanged."""

    scope: ClassVar[Scope] = "pipeline"
    kind: str = Field(default="lightgbm", description="lightgbm, torch_mlp, or own code as module:Class")
    steps: int = Field(default=200, ge=1)
    seed: int = Field(default=0, ge=0)
    early_stopping: int = Field(
        default=0, ge=0, description="steps without improvement after which training stops; 0 for never"
    )
    validation: Fraction = Field(default=0.1, description="fraction of the training rows for early stopping")
    params: dict[str, Any] = Field(default_factory=dict)
    loss: Loss | None = Field(
        default=None,
        description="loss of a regression: squared if not given, absolute, {kind: huber, delta: 10}, "
        "{kind: quantile, quantile: 0.9}",
    )
    weight: str | None = Field(default=None, description="column with the weight of each training row")
    class_weights: Literal["balanced"] | dict[str, Weight] | None = Field(
        default=None, description="weights of classes by name (1 if not given), or balanced: inverse to their rows"
    )
    calibration: ProbabilityCalibration | None = Field(
        default=None, description="calibration of the probabilities of a classification"
    )
    search: Search | None = Field(
        default=None, description="search of params by trials on the training rows, for example {trials: 20}"
    )
    # Stages get the batch size as an argument: this one, or model.batch_size.
    batch_size: Annotated[int | None, NOT_IN_KEY] = Field(
        default=None,
        ge=1,
        description="rows per training step of a family that trains in batches; model.batch_size if not given",
    )
    checkpoint: Annotated[Checkpoint, NOT_IN_KEY] = Checkpoint()

    @field_validator("loss", mode="before")
    @classmethod
    def _expand_loss(cls, loss: Any) -> Any:
        return {"kind": loss} if isinstance(loss, str) else loss

    @field_validator("kind")
    @classmethod
    def _check_kind(cls, kind: str) -> str:
        if problem := names.problem("trainers", kind, TRAINERS):
            raise ValueError(problem)
        return kind

    def used(self) -> ConfigModel:
        """Return the section without `validation` if early stopping is disabled."""
        return self if self.early_stopping else self._without("validation")


Metric = Literal[
    "accuracy", "balanced_accuracy", "auc", "average_precision", "log_loss", "precision", "recall", "f1",
    "precision_macro", "recall_macro", "f1_macro", "precision_weighted", "recall_weighted", "f1_weighted",
    "mae", "rmse", "r2", "mape", "quantile_loss",
]  # fmt: skip
METRICS: dict[str, tuple[Metric, ...]] = {
    "classification": (
        "accuracy", "balanced_accuracy", "auc", "average_precision", "log_loss", "precision", "recall", "f1",
        "precision_macro", "recall_macro", "f1_macro", "precision_weighted", "recall_weighted", "f1_weighted",
    ),
    "regression": ("mae", "rmse", "r2", "mape", "quantile_loss"),
}  # fmt: skip
CLASS_METRICS = ("precision", "recall", "f1")
_BUILT_IN = [name for of_task in METRICS.values() for name in of_task]


def _check_class_metric(name: str) -> str:
    if problem := names.problem("metrics", name, CLASS_METRICS):
        raise ValueError(problem)
    return name


_ClassMetric = Annotated[str, AfterValidator(_check_class_metric)]


class IdSplit(ConfigModel):
    """Hold out rows by the hash of the id."""

    scope: ClassVar[Scope] = "pipeline"
    kind: Literal["id"]


class TimeSplit(ConfigModel):
    """Hold out the latest rows by the timestamp column."""

    scope: ClassVar[Scope] = "pipeline"
    kind: Literal["time"]
    start: datetime | None = Field(
        default=None, description="time (UTC if it has no offset) from which rows are held out; else evaluate.holdout"
    )


class GroupSplit(ConfigModel):
    """Hold out all rows of a group, by the hash of its value."""

    scope: ClassVar[Scope] = "pipeline"
    kind: Literal["group"]
    column: str


class StratifiedSplit(ConfigModel):
    """Hold out the same fraction of each class, by the hash of the id."""

    scope: ClassVar[Scope] = "pipeline"
    kind: Literal["stratified"]


class ColumnSplit(ConfigModel):
    """Hold out the rows with some values of a column."""

    scope: ClassVar[Scope] = "pipeline"
    kind: Literal["column"]
    column: str
    values: tuple[str, ...] = Field(min_length=1, description="values of the rows that are held out")


class FileSplit(ConfigModel):
    """Hold out the rows of some files of the source."""

    scope: ClassVar[Scope] = "pipeline"
    kind: Literal["file"]
    files: tuple[str, ...] = Field(min_length=1, description="names of files, with * for any characters")


Split = IdSplit | TimeSplit | GroupSplit | StratifiedSplit | ColumnSplit | FileSplit


class CrossValidation(ConfigModel):
    """Folds of the training rows, each scored by a model that learned from the others."""

    scope: ClassVar[Scope] = "pipeline"
    folds: int = Field(default=5, ge=2, le=20)


class Evaluate(ConfigModel):
    """Holdout and quality gate of a new version."""

    scope: ClassVar[Scope] = "pipeline"
    holdout: float = Field(default=0.2, gt=0, lt=1)
    split: Split | None = Field(
        default=None, discriminator="kind", description="default: time if there is a `timestamp`, else id"
    )
    cross_validation: CrossValidation | None = Field(
        default=None, description="mean and standard deviation of the metrics over folds of the training rows"
    )
    metric: str | None = Field(
        default=None, description="metric of the gate, or own code; default: accuracy, or mae for regression"
    )
    metrics: tuple[str, ...] = Field(default=(), description="more metrics of own code, as module:function")
    minimum: float | None = Field(default=None, description="worst value of the metric that passes")
    tolerance: float = Field(default=0.01, ge=0, description="difference to `stable` that still passes")
    beat_baseline: bool = Field(
        default=True, description="reject a model that is not better than the baseline on the holdout"
    )
    positive_class: str | None = Field(
        default=None,
        description="class of precision, recall, f1 and average_precision; the second of two classes if not given",
    )
    threshold: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="probability from which the positive class of two is predicted; if not given, the most probable",
    )
    quantile: float = Field(default=0.5, gt=0, lt=1, description="quantile of quantile_loss")
    per_class: dict[_ClassMetric, Fraction | dict[str, Fraction]] = Field(
        default_factory=dict, description="minimum of precision, recall, f1 or own code of each class, or by its name"
    )

    @field_validator("metric")
    @classmethod
    def _check_metric(cls, metric: str | None) -> str | None:
        if metric is not None and (problem := names.problem("metrics", metric, _BUILT_IN)):
            raise ValueError(problem)
        return metric

    @field_validator("metrics")
    @classmethod
    def _check_metrics(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        if built_in := [name for name in metrics if name in _BUILT_IN]:
            raise ValueError(f"{built_in[0]} is always computed; name functions of own code, as module:function")
        if problems := [problem for name in metrics if (problem := names.problem("metrics", name, ()))]:
            raise ValueError("; ".join(problems))
        if twice := sorted({name for name in metrics if metrics.count(name) > 1}):
            raise ValueError(f"has {', '.join(twice)} twice")
        return metrics
