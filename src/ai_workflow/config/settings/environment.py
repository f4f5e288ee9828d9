"""Settings of the place where a pipeline runs: store, threads, model folder, database and logs."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from ai_workflow.config.settings.config_model import NOT_IN_KEY, ConfigModel, Scope
from ai_workflow.secret_values import Secret
from ai_workflow.telemetry import logs


class StoreSection(ConfigModel):
    """Storage of all durable data: a folder or an fsspec URL."""

    scope: ClassVar[Scope] = "deployment"
    root: str = "./var"


class Engine(ConfigModel):
    """Threads of the stages that compute partitions; None: the usable CPUs, at most 4."""

    scope: ClassVar[Scope] = "deployment"
    threads: Annotated[int | None, NOT_IN_KEY] = Field(default=None, ge=1, le=64)


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
