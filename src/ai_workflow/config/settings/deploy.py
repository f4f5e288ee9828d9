"""Settings of `ai-workflow deploy`, of the deployments of a pipeline in `pipelines/`, and limits of reactions."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from ai_workflow.config.settings.config_model import ConfigModel, HttpUrl, Scope

Tag = Annotated[str, Field(min_length=1, max_length=200)]
VariableName = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,255}$")]


class Reactions(ConfigModel):
    """Limits of reactions to SLO breaches per day (UTC); 0 for none."""

    scope: ClassVar[Scope] = "deployment"
    training_per_day: int = Field(default=2, ge=0, description="trainings started by breaches of accuracy")
    promotion_per_day: int = Field(default=3, ge=0, description="versions on probation that are rolled back")


class Deploy(ConfigModel):
    """Settings of the set-up of a Prefect server."""

    scope: ClassVar[Scope] = "deployment"
    relay_url: HttpUrl | None = Field(
        default=None,
        description="URL of the relay for the Prefect server; http://<relay.host>:<relay.port>/prefect if not given",
    )
    variables: dict[VariableName, Any] = Field(default_factory=dict, description="Prefect Variables, by name")


class DeploymentOptions(ConfigModel):
    """A deployment of a flow for one pipeline."""

    scope: ClassVar[Scope] = "pipeline"
    enabled: bool = Field(default=True, description="whether the pipeline has this deployment")
    cron: str | None = Field(default=None, min_length=1, description="schedule as cron; none without cron and interval")
    interval: int | None = Field(default=None, ge=1, description="seconds between two runs, instead of cron")
    timezone: str = Field(default="UTC", min_length=1, description="time zone of cron, such as Europe/Berlin")
    concurrency: int = Field(default=1, ge=1, description="runs at the same time; others wait")
    parameters: dict[str, Any] = Field(default_factory=dict, description="parameters of the flow")
    tags: tuple[Tag, ...] = Field(default=(), description="tags of the deployment and its runs")

    @model_validator(mode="after")
    def _check_schedule(self) -> DeploymentOptions:
        if self.cron and self.interval and "interval" in self.model_fields_set:
            raise ValueError("has both cron and interval. Remove one of them")
        return self

    @property
    def schedule(self) -> dict[str, Any] | None:
        """The schedule as in prefect.yaml, None if there is none."""
        if self.cron:
            return {"cron": self.cron, "timezone": self.timezone, "slug": "schedule"}
        return {"interval": self.interval, "slug": "schedule"} if self.interval else None


class EvaluationDeployment(DeploymentOptions):
    """The deployment of the flow evaluation: every quarter of an hour."""

    interval: int | None = Field(default=900, ge=1, description="seconds between two runs, instead of cron")


class PromotionDeployment(DeploymentOptions):
    """The deployment of the flow promotion: every ten minutes."""

    interval: int | None = Field(default=600, ge=1, description="seconds between two runs, instead of cron")


class RetentionDeployment(DeploymentOptions):
    """The deployment of the flow retention: on Mondays."""

    cron: str | None = Field(default="0 9 * * 1", min_length=1, description="schedule as cron")

    @model_validator(mode="before")
    @classmethod
    def _interval_replaces_default(cls, values: Any) -> Any:
        return {"cron": None, **values} if isinstance(values, dict) and values.get("interval") else values


class Deployments(ConfigModel):
    """The deployments of a pipeline in `pipelines/`."""

    scope: ClassVar[Scope] = "pipeline"
    training: DeploymentOptions = DeploymentOptions()
    scoring: DeploymentOptions = DeploymentOptions()
    evaluation: EvaluationDeployment = EvaluationDeployment()
    promotion: PromotionDeployment = PromotionDeployment()
    retention: RetentionDeployment = RetentionDeployment()
