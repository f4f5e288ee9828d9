"""Settings of `ai-workflow deploy`, and daily limits of reactions to SLO breaches."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from ai_workflow.config.settings.config_model import ConfigModel, HttpUrl, Scope

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
