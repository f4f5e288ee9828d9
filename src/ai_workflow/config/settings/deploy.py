"""What `ai-workflow deploy` sets up on a Prefect server, and how often a breach may make something happen."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from ai_workflow.config.settings.config_model import ConfigModel, HttpUrl, Scope

VariableName = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,255}$")]


class Reactions(ConfigModel):
    """How often a day (UTC) a breach of an SLO may start something; 0: never."""

    scope: ClassVar[Scope] = "deployment"
    training_per_day: int = Field(default=2, ge=0, description="trainings started by breaches of accuracy")
    promotion_per_day: int = Field(default=3, ge=0, description="versions on probation that are rolled back")


class Deploy(ConfigModel):
    """What bootstrap needs to know besides prefect.yaml."""

    scope: ClassVar[Scope] = "deployment"
    relay_url: HttpUrl | None = Field(
        default=None,
        description="where Prefect's server reaches the relay; http://<relay.host>:<relay.port>/prefect if not given",
    )
    variables: dict[VariableName, Any] = Field(default_factory=dict, description="Prefect Variables, by name")
