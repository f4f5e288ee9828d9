"""Schedules of the deployments on a Prefect server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ai_workflow.config.layers import DEFAULT_ENVIRONMENT
from ai_workflow.errors import AiWorkflowError
from ai_workflow.exporter import intervals
from ai_workflow.exporter.prefect_client import PrefectClient, PrefectRequestError, of_environment

__all__ = ["PrefectRequestError", "PrefectSchedules"]


class PrefectSchedules:
    """Client for the schedules of a Prefect server.

    Args:
        url: URL of the API, such as `http://host:4200/api`.
        env: environment variables with PREFECT_API_KEY or PREFECT_API_AUTH_STRING.
        pipeline_of: returns the pipeline for the flow parameters `config` and `environment`.
        environment: the environment; deployments of others on the same server are left out.
    """

    def __init__(
        self,
        url: str,
        env: Mapping[str, str],
        pipeline_of: Callable[[str | None, str | None], str],
        environment: str = DEFAULT_ENVIRONMENT,
    ) -> None:
        self._client, self._environment = PrefectClient(url, env), environment
        self._pipeline_of = pipeline_of

    def expected(self) -> dict[tuple[str, str], float]:
        """Return the scheduled interval in seconds by pipeline and flow.

        Raises:
            PrefectRequestError: the server rejected the request.
            httpx.HTTPError: the server does not respond.
        """
        flows = {flow["id"]: flow["name"] for flow in self._client.all("/flows/filter")}
        intervals_by_flow: dict[tuple[str, str], float] = {}
        for deployment in of_environment(self._client.all("/deployments/filter"), self._environment):
            parameters = deployment.get("parameters") or {}
            try:
                interval = _interval(deployment)
                pipeline = self._pipeline_of(parameters.get("config"), parameters.get("environment"))
            except (AiWorkflowError, ValueError, TypeError):
                # A foreign deployment, an unreadable pipeline file, or an unsupported kind of schedule.
                continue
            if interval is not None and deployment["flow_id"] in flows:
                key = (pipeline, flows[deployment["flow_id"]])
                intervals_by_flow[key] = min(interval, intervals_by_flow.get(key, interval))
        return intervals_by_flow

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _interval(deployment: Mapping[str, Any]) -> float | None:
    """Return the scheduled interval of a deployment in seconds; None without an active schedule."""
    if deployment.get("paused"):
        return None
    active = [each["schedule"] for each in deployment.get("schedules") or [] if each.get("active")]
    return min(filter(None, map(intervals.seconds, active)), default=None)
