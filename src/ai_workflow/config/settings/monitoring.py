"""Settings of monitoring: expected runs, URL of Grafana."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from ai_workflow.config.settings.config_model import ConfigModel, HttpUrl, Scope

# The name of a flow, or pipeline/flow.
_Flow = Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9_-]{0,62}/)?[a-z][a-z_]*$")]
_Hours = Annotated[float, Field(gt=0)]


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
