"""All settings, typed and frozen."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ai_workflow.config.settings.chat import Channel, Relay
from ai_workflow.config.settings.column import Column, ColumnType
from ai_workflow.config.settings.config_model import OF_DEPLOYMENT, ConfigModel, Fraction, Name, Scope
from ai_workflow.config.settings.deploy import Deploy, Reactions
from ai_workflow.config.settings.evaluation import Evaluation
from ai_workflow.config.settings.monitoring import Monitoring
from ai_workflow.config.settings.operations import Promotion, Recovery, Retention
from ai_workflow.config.settings.service import PredictionLog, Service
from ai_workflow.config.settings.source import CsvSource, ParquetSource, SampleSource, Source, SqlSource, TableSource
from ai_workflow.config.settings.training import Checkpoint, Trainer
from ai_workflow.secret_values import Secret
from ai_workflow.telemetry import logs

IN_CACHE_KEY = False
__all__ = [
    "METRICS",
    "Channel",
    "Checkpoint",
    "Column",
    "ColumnType",
    "ConfigModel",
    "CsvSource",
    "Database",
    "Deploy",
    "Evaluate",
    "Evaluation",
    "FeatureOptions",
    "Fraction",
    "Inference",
    "Logging",
    "Metric",
    "Model",
    "Monitoring",
    "Name",
    "ParquetSource",
    "PredictionLog",
    "Promotion",
    "Reactions",
    "Recovery",
    "Relay",
    "Retention",
    "SampleSource",
    "Service",
    "Settings",
    "Source",
    "SqlSource",
    "StoreSection",
    "TableSource",
    "Trainer",
]


class FeatureOptions(ConfigModel):
    """Conversion of columns to features."""

    scope: ClassVar[Scope] = "pipeline"
    max_categories: int = Field(default=255, ge=1, description="number of categories kept, the most frequent ones")
    min_count: int = Field(
        default=1, ge=1, description="minimum number of rows of a category; rarer values count as unseen"
    )


# The field of an answer that is text.
_CLASS = ("classification", "prediction")

Metric = Literal["accuracy", "auc", "log_loss", "mae", "rmse", "r2"]
METRICS: dict[str, tuple[Metric, ...]] = {
    "classification": ("accuracy", "auc", "log_loss"),
    "regression": ("mae", "rmse", "r2"),
}


class Evaluate(ConfigModel):
    """Holdout and quality gate of a new version."""

    scope: ClassVar[Scope] = "pipeline"
    holdout: float = Field(default=0.2, gt=0, lt=1)
    metric: Metric | None = Field(default=None, description="default: accuracy, or mae for regression")
    minimum: float | None = Field(default=None, description="worst value of the metric that passes")
    tolerance: float = Field(default=0.01, ge=0, description="difference to `stable` that still passes")
    beat_baseline: bool = Field(
        default=True, description="reject a model that is not better than the baseline on the holdout"
    )


class Inference(ConfigModel):
    """Deadline, batches and fallback of predictions."""

    scope: ClassVar[Scope] = "pipeline"
    source: Source | None = Field(
        default=None, description="source of the scoring flow; the training source if not given"
    )
    reject_limit: Fraction = Field(
        default=1.0, description="share of rejected rows above which a scoring fails; by default the others are scored"
    )
    batch_size: Annotated[int | None, OF_DEPLOYMENT] = Field(
        default=None, ge=1, description="rows per call of the model in scoring; model.batch_size if not given"
    )
    deadline_ms: Annotated[int, OF_DEPLOYMENT] = Field(default=200, ge=1)
    default_response: dict[str, Any] | None = Field(
        default_factory=lambda: {"prediction": None},
        description="response of the service if no version can answer; null for status 504 (deadline) or 503",
    )


class StoreSection(ConfigModel):
    """Storage of all durable data: a folder or an fsspec URL."""

    scope: ClassVar[Scope] = "deployment"
    root: str = "./var"


class Model(ConfigModel):
    """Folder of the model versions in the store, and limits of calls of a model."""

    scope: ClassVar[Scope] = "deployment"
    path: str = "models"
    batch_size: int = Field(default=128, ge=1, description="default of trainer.batch_size and inference.batch_size")
    timeout: float = Field(
        default=30,
        gt=0,
        description="seconds without progress while a model loads or answers a batch; ten times as long in total",
    )

    @field_validator("path")
    @classmethod
    def _check_relative(cls, path: str) -> str:
        if path.startswith("/") or "://" in path or ".." in path.split("/"):
            raise ValueError(
                "must be a folder inside the store, such as models: versions are published below it. Set store.root "
                "(AIW_STORE) to place the store; a single version is chosen by its name, not by its path"
            )
        return path


class Database(ConfigModel):
    """The database of a `sql` source without `url`."""

    scope: ClassVar[Scope] = "deployment"
    driver: str = "postgresql+psycopg"
    host: str = "localhost"
    port: int = Field(default=5432, ge=1, le=65535)
    name: str = "postgres"
    username: str = "postgres"
    password: Secret | None = None


class Logging(ConfigModel):
    """Level and format of logs."""

    scope: ClassVar[Scope] = "deployment"
    level: Annotated[Literal["DEBUG", "INFO", "WARN", "WARNING", "ERROR"], BeforeValidator(logs.normalize_level)] = (
        "INFO"
    )
    format: Literal["text", "json"] = "text"


class Settings(ConfigModel):
    """The whole configuration of one pipeline in one environment."""

    scope: ClassVar[Scope] = "pipeline"
    environment: Annotated[Name, OF_DEPLOYMENT] = "development"
    pipeline: Name
    task: Literal["classification", "regression"]
    source: Source
    id: str | None = None
    timestamp: str | None = None
    target: str
    columns: dict[str, Column] = Field(default_factory=dict, alias="schema")
    deduplicate: Literal["id", "rows", "none"] = "id"
    reject_limit: Fraction = 0.01
    features: FeatureOptions = FeatureOptions()
    trainer: Trainer = Trainer()
    evaluate: Evaluate = Evaluate()
    inference: Inference = Inference()
    evaluation: Evaluation = Evaluation()
    store: StoreSection = StoreSection()
    model: Model = Model()
    database: Database = Database()
    logging: Logging = Logging()
    recovery: Recovery = Recovery()
    promotion: Promotion = Promotion()
    reactions: Reactions = Reactions()
    deploy: Deploy = Deploy()
    retention: Retention = Retention()
    service: Service = Service()
    monitoring: Monitoring = Monitoring()
    relay: Relay = Relay()
    chat: tuple[Channel, ...] = ()

    @field_validator("chat")
    @classmethod
    def _check_names(cls, chat: tuple[Channel, ...]) -> tuple[Channel, ...]:
        names = [channel.name for channel in chat]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two channels are named {', '.join(twice)}")
        return chat

    @model_validator(mode="after")
    def _check_consistency(self) -> Settings:
        if self.evaluate.metric and self.evaluate.metric not in METRICS[self.task]:
            raise ValueError(
                f"evaluate.metric {self.evaluate.metric} is not for {self.task}: one of {', '.join(METRICS[self.task])}"
            )
        if self.target in (self.id, self.timestamp):
            raise ValueError("target must not be the id or the timestamp column")
        for role, name in (("target", self.target), ("id", self.id), ("timestamp", self.timestamp)):
            if name in self.columns and self.columns[name].drop:
                raise ValueError(f"schema.{name} is dropped, but it is the {role}")
        if self.timestamp in self.columns and self.columns[self.timestamp].type != "datetime":
            raise ValueError(f"schema.{self.timestamp} must be of type datetime: it is the timestamp")
        response = self.inference.default_response or {}
        for name in ("prediction", "score"):
            is_number = isinstance(response.get(name), int | float) and not isinstance(response.get(name), bool)
            if name in response and response[name] is not None and not is_number and (self.task, name) != _CLASS:
                raise ValueError(f"inference.default_response has a {name} that is neither a number nor null")
        declared = self.columns.get(self.target)
        if self.task == "regression" and declared and declared.type not in ("integer", "number"):
            raise ValueError(
                f"schema.{self.target} must be of type integer or number: it is the target of a regression"
            )
        return self

    def reading(self, source: Source) -> Source:
        """Return a source whose `drop` contains the columns that the schema drops."""
        dropped = {*source.drop, *(name for name, column in self.columns.items() if column.drop)}
        return source.model_copy(update={"drop": tuple(sorted(dropped))})

    @property
    def models(self) -> str:
        """The folder of the versions of this pipeline and environment in the store."""
        return f"{self.model.path.strip('/')}/{self.environment}/{self.pipeline}"

    @property
    def metric(self) -> Metric:
        """The metric of the quality gate."""
        return self.evaluate.metric or METRICS[self.task][0]

    @property
    def training_batch_size(self) -> int:
        """Rows per training step of a model family that trains in batches."""
        return self.trainer.batch_size or self.model.batch_size

    @property
    def scoring_batch_size(self) -> int:
        """Rows per call of the model in scoring."""
        return self.inference.batch_size or self.model.batch_size
