"""Settings of recovery, promotion, retention and monitoring."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from ai_workflow.config.settings.config_model import ConfigModel, HttpUrl, Scope

# The name of a flow, or pipeline/flow.
_Flow = Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9_-]{0,62}/)?[a-z][a-z_]*$")]
_Hours = Annotated[float, Field(gt=0)]


class Recovery(ConfigModel):
    """Recovery of runs whose process has died."""

    scope: ClassVar[Scope] = "deployment"
    max_attempts: int = Field(default=3, ge=0, description="number of times that a run is rescheduled")
    heartbeat_seconds: float = Field(
        default=540,
        gt=0,
        description="time without heartbeat after which a run on another machine is dead; 3 heartbeats of Prefect",
    )
    pending_minutes: float = Field(default=10, gt=0, description="time limit for a run to start, or to be cancelled")
    settle_seconds: float = Field(
        default=15, ge=0, description="minimum age of a crash, because a worker reports one twice within seconds"
    )


class Promotion(ConfigModel):
    """Probation of a new version: hours and answered rows before it becomes `stable`."""

    scope: ClassVar[Scope] = "deployment"
    hours: float = Field(default=24, ge=0)
    requests: int = Field(default=100, ge=0)


class Retention(ConfigModel):
    """Retention policy of versions and files."""

    scope: ClassVar[Scope] = "deployment"
    versions: int = Field(default=3, ge=1, description="number of the newest versions that are kept")
    min_age_hours: float = Field(default=1, ge=0, description="younger versions are kept")
    data_days: float = Field(default=30, gt=0, description="partitions and derived data")
    checkpoint_days: float = Field(default=7, gt=0, description="checkpoints of finished trainings")
    journal_days: float = Field(default=90, gt=0, description="journals and rejected rows")
    prediction_days: float = Field(default=365, gt=0)

    def days(self, kind: str) -> float:
        """Return how long files of a kind (`data`, `checkpoints`, `journals`, `predictions`) are kept."""
        return float(getattr(self, f"{kind.removesuffix('s')}_days"))


class Monitoring(ConfigModel):
    """Expected intervals of runs, and the URL of Grafana."""

    scope: ClassVar[Scope] = "deployment"
    expected_hours: dict[_Flow, _Hours] = Field(
        default_factory=dict,
        description="longest interval between runs, by flow (of each pipeline that ran it) or pipeline/flow; "
        "the schedule of the deployment if not given",
    )
    grafana_url: HttpUrl | None = Field(
        default=None, description="URL of Grafana for browsers; runs and deployments in Prefect link to its dashboards"
    )
