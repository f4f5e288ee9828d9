"""Every setting there is, typed and frozen; `config` fills them from YAML."""

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
    """How columns become features."""

    scope: ClassVar[Scope] = "pipeline"
    max_categories: int = Field(default=255, ge=1, description="the most frequent values kept of a category")
    min_count: int = Field(default=1, ge=1, description="a rarer value counts as unseen")


# The one answer that is a word.
_CLASS = ("classification", "prediction")

Metric = Literal["accuracy", "auc", "log_loss", "mae", "rmse", "r2"]
METRICS: dict[str, tuple[Metric, ...]] = {
    "classification": ("accuracy", "auc", "log_loss"),
    "regression": ("mae", "rmse", "r2"),
}


class Evaluate(ConfigModel):
    """The holdout and the gate that a new version must pass."""

    scope: ClassVar[Scope] = "pipeline"
    holdout: float = Field(default=0.2, gt=0, lt=1)
    metric: Metric | None = Field(default=None, description="accuracy, or mae for regression, where not given")
    minimum: float | None = Field(default=None, description="worst value that passes; for an error, the largest")
    tolerance: float = Field(default=0.01, ge=0, description="how much worse than `stable` still passes")
    beat_baseline: bool = Field(
        default=True, description="refuse a model that does not beat the baseline on the rows held out"
    )


class Inference(ConfigModel):
    """How a prediction is asked for, and what is answered when no model can."""

    scope: ClassVar[Scope] = "pipeline"
    source: Source | None = Field(
        default=None, description="what the scoring flow scores; the training source if not given"
    )
    batch_size: Annotated[int | None, OF_DEPLOYMENT] = Field(
        default=None, ge=1, description="rows per call of the model in scoring; model.batch_size where not given"
    )
    deadline_ms: Annotated[int, OF_DEPLOYMENT] = Field(default=200, ge=1)
    default_response: dict[str, Any] | None = Field(
        default_factory=lambda: {"prediction": None},
        description="what the service answers when no version can; null: it says 503",
    )


class StoreSection(ConfigModel):
    """Where everything durable lives: a folder, or an fsspec URL."""

    scope: ClassVar[Scope] = "deployment"
    root: str = "./var"


class Model(ConfigModel):
    """Where versions are published (inside the store), and how they are asked."""

    scope: ClassVar[Scope] = "deployment"
    path: str = "models"
    batch_size: int = Field(default=128, ge=1, description="default of trainer.batch_size and inference.batch_size")
    timeout: float = Field(
        default=30,
        gt=0,
        description="seconds without progress while a model loads or answers one batch; ten times as long in all",
    )

    @field_validator("path")
    @classmethod
    def _inside_the_store(cls, path: str) -> str:
        if path.startswith("/") or "://" in path or ".." in path.split("/"):
            raise ValueError(
                "must be a folder inside the store, such as models: versions are published below it. Set store.root "
                "(AIW_STORE) to place the store; a single version is chosen by its name, not by its path"
            )
        return path


class Database(ConfigModel):
    """The database that a `sql` source reads where it names no `url`."""

    scope: ClassVar[Scope] = "deployment"
    driver: str = "postgresql+psycopg"
    host: str = "localhost"
    port: int = Field(default=5432, ge=1, le=65535)
    name: str = "postgres"
    username: str = "postgres"
    password: Secret | None = None


class Logging(ConfigModel):
    """What is logged, and as what."""

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
    def _names_differ(cls, chat: tuple[Channel, ...]) -> tuple[Channel, ...]:
        names = [channel.name for channel in chat]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two channels are named {', '.join(twice)}")
        return chat

    @model_validator(mode="after")
    def _parts_agree(self) -> Settings:
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
        given = self.inference.default_response or {}
        for name in ("prediction", "score"):
            is_number = isinstance(given.get(name), int | float) and not isinstance(given.get(name), bool)
            if name in given and given[name] is not None and not is_number and (self.task, name) != _CLASS:
                raise ValueError(f"inference.default_response has a {name} that is neither a number nor null")
        declared = self.columns.get(self.target)
        if self.task == "regression" and declared and declared.type not in ("integer", "number"):
            raise ValueError(
                f"schema.{self.target} must be of type integer or number: it is the target of a regression"
            )
        return self

    @property
    def models(self) -> str:
        """The folder of this pipeline's versions in the store: one pipeline's model is never another's `latest`."""
        return f"{self.model.path.strip('/')}/{self.environment}/{self.pipeline}"

    @property
    def metric(self) -> Metric:
        """The metric that the gate judges by."""
        return self.evaluate.metric or METRICS[self.task][0]

    @property
    def training_batch_size(self) -> int:
        """Rows per training step of a family that learns in batches."""
        return self.trainer.batch_size or self.model.batch_size

    @property
    def scoring_batch_size(self) -> int:
        """Rows per call of the model in scoring."""
        return self.inference.batch_size or self.model.batch_size
