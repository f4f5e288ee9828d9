"""What monitoring cannot see by itself, and where its dashboards are."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from ai_workflow.config.settings.config_model import ConfigModel, HttpUrl, Scope

# A flow, or one of a single pipeline.
_Flow = Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9_-]{0,62}/)?[a-z][a-z_]*$")]
_Hours = Annotated[float, Field(gt=0)]


class Monitoring(ConfigModel):
    """What is expected of pipelines."""

    scope: ClassVar[Scope] = "deployment"
    expected_hours: dict[_Flow, _Hours] = Field(
        default_factory=dict,
        description="how often runs are expected, by flow (of each pipeline that ran it) or pipeline/flow; "
        "for others a deployment's schedule says it, if there is one",
    )
    grafana_url: HttpUrl | None = Field(
        default=None, description="where browsers reach Grafana; runs and deployments in Prefect link to its dashboards"
    )
