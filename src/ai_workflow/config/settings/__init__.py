"""All settings, typed and frozen."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from ai_workflow.config.settings.chat import Channel, Relay, unrouted_severities
from ai_workflow.config.settings.column import Column, ColumnType
from ai_workflow.config.settings.config_model import OF_DEPLOYMENT, ConfigModel, Fraction, Name, Scope
from ai_workflow.config.settings.deploy import Deploy, DeploymentOptions, Deployments, Reactions
from ai_workflow.config.settings.environment import Database, Engine, Logging, Model, StoreSection
from ai_workflow.config.settings.evaluation import Evaluation
from ai_workflow.config.settings.features import DerivedFeature, FeatureOptions, TargetEncoding
from ai_workflow.config.settings.operations import Monitoring, Promotion, Recovery, Retention
from ai_workflow.config.settings.search.options import Search, SearchParameter
from ai_workflow.config.settings.service import Inference, PredictionLog, Service
from ai_workflow.config.settings.source import (
    CsvSource,
    ExcelSource,
    FileSource,
    JsonLinesSource,
    OwnSource,
    ParquetSource,
    SampleSource,
    Source,
    SqlSource,
    TableSource,
)
from ai_workflow.config.settings.stages import AddedStage, Stages
from ai_workflow.config.settings.training import (
    CLASS_METRICS,
    METRICS,
    Checkpoint,
    Evaluate,
    Loss,
    Metric,
    Split,
    Trainer,
)

IN_CACHE_KEY = False
__all__ = [
    "CLASS_METRICS",
    "METRICS",
    "AddedStage",
    "Channel",
    "Checkpoint",
    "Column",
    "ColumnType",
    "ConfigModel",
    "CsvSource",
    "Database",
    "Deploy",
    "DeploymentOptions",
    "Deployments",
    "DerivedFeature",
    "Engine",
    "Evaluate",
    "Evaluation",
    "ExcelSource",
    "FeatureOptions",
    "FileSource",
    "Fraction",
    "Inference",
    "JsonLinesSource",
    "Logging",
    "Loss",
    "Metric",
    "Model",
    "Monitoring",
    "Name",
    "OwnSource",
    "ParquetSource",
    "PredictionLog",
    "Promotion",
    "Reactions",
    "Recovery",
    "Relay",
    "Retention",
    "SampleSource",
    "Search",
    "SearchParameter",
    "Service",
    "Settings",
    "Source",
    "Split",
    "SqlSource",
    "Stages",
    "StoreSection",
    "TableSource",
    "TargetEncoding",
    "Trainer",
]


# The field of an answer that is text.
_CLASS = ("classification", "prediction")


class Settings(ConfigModel):
    """The whole configuration of one pipeline in one environment."""

    scope: ClassVar[Scope] = "pipeline"
    environment: Annotated[Name, OF_DEPLOYMENT] = "development"
    pipeline: Name
    task: Literal["classification", "regression"]
    source: Source
    stages: Stages = Stages()
    id: str | None = None
    timestamp: str | None = None
    target: str
    columns: dict[str, Column] = Field(default_factory=dict, alias="schema")
    deduplicate: Literal["id", "rows", "none"] = "id"
    reject_limit: Fraction = 0.01
    keep_types: bool = Field(default=True, description="undeclared columns keep their types of the latest version")
    features: FeatureOptions = FeatureOptions()
    trainer: Trainer = Trainer()
    evaluate: Evaluate = Evaluate()
    inference: Inference = Inference()
    evaluation: Evaluation = Evaluation()
    deployments: Deployments = Deployments()
    store: StoreSection = StoreSection()
    engine: Engine = Engine()
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
        if unrouted := unrouted_severities(chat):
            raise ValueError(
                f"every channel for {', '.join(unrouted)} lists pipelines, so alerts about other pipelines and about "
                "none, such as a full disk, reach no channel. Add one without pipelines"
            )
        return chat

    @model_validator(mode="after")
    def _check_consistency(self) -> Settings:
        others = {name for task, of_task in METRICS.items() if task != self.task for name in of_task}
        if self.evaluate.metric in others:
            raise ValueError(
                f"evaluate.metric {self.evaluate.metric} is not for {self.task}: one of {', '.join(METRICS[self.task])}"
            )
        of_classes = [name for name in ("positive_class", "threshold", "per_class") if getattr(self.evaluate, name)]
        if self.task == "regression" and of_classes:
            raise ValueError(f"evaluate.{of_classes[0]} is not for regression")
        if self.target in (self.id, self.timestamp):
            raise ValueError("target must not be the id or the timestamp column")
        self._check_search()
        self._check_split()
        self._check_weights()
        self._check_encodings()
        roles = {
            "target": self.target,
            "id": self.id,
            "timestamp": self.timestamp,
            "trainer.weight": self.trainer.weight,
        }
        roles["evaluate.split.column"] = getattr(self.evaluate.split, "column", None)
        for role, name in roles.items():
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

    def _check_search(self) -> None:
        metric = self.trainer.search.metric if self.trainer.search else None
        known = list(dict.fromkeys([*METRICS[self.task], *self.evaluate.metrics, self.metric]))
        if metric is not None and metric not in known:
            raise ValueError(
                f"trainer.search.metric {metric} is not a metric of {self.task}: one of {', '.join(known)}; list own "
                "code in evaluate.metrics"
            )

    def _check_split(self) -> None:
        split = self.evaluate.split
        if self.task == "regression" and split and split.kind == "stratified":
            raise ValueError("evaluate.split of kind stratified is not for regression")
        if split and split.kind == "time" and not self.timestamp:
            raise ValueError("evaluate.split of kind time needs a timestamp")
        if getattr(split, "column", None) == self.target:
            raise ValueError("evaluate.split.column must not be the target")

    def _check_weights(self) -> None:
        weight = self.trainer.weight
        if weight is not None and weight in (self.target, self.id, self.timestamp):
            raise ValueError("trainer.weight must not be the target, the id or the timestamp column")
        if self.task == "regression" and self.trainer.class_weights is not None:
            raise ValueError("trainer.class_weights is not for regression")
        if self.task == "regression" and self.trainer.calibration is not None:
            raise ValueError("trainer.calibration is not for regression")
        if self.task == "classification" and self.trainer.loss is not None:
            raise ValueError("trainer.loss is for regression only")

    def _check_encodings(self) -> None:
        roles = {self.target: "target", self.id: "id", self.timestamp: "timestamp", self.trainer.weight: "weight"}
        for number, item in enumerate(self.features.derive):
            if isinstance(item, TargetEncoding) and item.column in roles:
                raise ValueError(f"features.derive.{number}.column {item.column} must not be the {roles[item.column]}")

    def reading(self, source: Source) -> Source:
        """Return a source whose `drop` contains the columns that the schema drops."""
        dropped = {*source.drop, *(name for name, column in self.columns.items() if column.drop)}
        return source.model_copy(update={"drop": tuple(sorted(dropped))})

    @property
    def models(self) -> str:
        """The folder of the versions of this pipeline and environment in the store."""
        return f"{self.model.path.strip('/')}/{self.environment}/{self.pipeline}"

    @property
    def metric(self) -> str:
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
