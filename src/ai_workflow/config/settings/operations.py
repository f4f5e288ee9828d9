"""Policies of operation: recovery of runs, probation of versions, retention of files."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from ai_workflow.config.settings.config_model import ConfigModel, Scope


class Recovery(ConfigModel):
    """What happens to runs whose process is gone."""

    scope: ClassVar[Scope] = "deployment"
    max_attempts: int = Field(default=3, ge=0, description="how often a run is rescheduled before it is given up")
    heartbeat_seconds: float = Field(
        default=540, gt=0, description="silence after which a run on another machine is dead: 3 heartbeats of Prefect"
    )
    pending_minutes: float = Field(default=10, gt=0, description="how long a run may take to begin, or to be cancelled")
    settle_seconds: float = Field(
        default=15, ge=0, description="how old a crash must be: a worker reports one twice, seconds apart"
    )


class Promotion(ConfigModel):
    """The probation of a new version: how long, and how many rows it must answer, before it becomes `stable`."""

    scope: ClassVar[Scope] = "deployment"
    hours: float = Field(default=24, ge=0)
    requests: int = Field(default=100, ge=0)


class Retention(ConfigModel):
    """What is kept, and for how long."""

    scope: ClassVar[Scope] = "deployment"
    versions: int = Field(default=3, ge=1, description="how many of the newest versions stay")
    min_age_hours: float = Field(default=1, ge=0, description="a younger version stays, too")
    data_days: float = Field(default=30, gt=0, description="partitions and what was computed from them")
    checkpoint_days: float = Field(default=7, gt=0, description="checkpoints of trainings that are finished")
    journal_days: float = Field(default=90, gt=0, description="journals, and the rejected rows of their runs")
    prediction_days: float = Field(default=365, gt=0)

    def days(self, kind: str) -> float:
        """Return how long files of a kind (`data`, `checkpoints`, `journals`, `predictions`) are kept."""
        return float(getattr(self, f"{kind.removesuffix('s')}_days"))
