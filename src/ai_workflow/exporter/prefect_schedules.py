"""Schedules of the deployments on a Prefect server, read over HTTP because importing Prefect needs 80 MB."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from ai_workflow.errors import AiWorkflowError
from ai_workflow.exporter import intervals
from ai_workflow.prefect_errors import explain

_TIMEOUT_SECONDS = 5.0
_PAGE_SIZE = 200


class PrefectRequestError(AiWorkflowError):
    """The Prefect API refused a request."""


class PrefectSchedules:
    """Client for the schedules of a Prefect server.

    Args:
        url: URL of the API, such as `http://host:4200/api`.
        env: environment variables with PREFECT_API_KEY or PREFECT_API_AUTH_STRING.
        pipeline_of: returns the pipeline for the flow parameters `config` and `environment`.
    """

    def __init__(self, url: str, env: Mapping[str, str], pipeline_of: Callable[[str | None, str | None], str]) -> None:
        self._client = httpx.Client(base_url=url.rstrip("/"), headers=_credentials(env), timeout=_TIMEOUT_SECONDS)
        self._pipeline_of = pipeline_of

    def expected(self) -> dict[tuple[str, str], float]:
        """Return the scheduled interval in seconds by pipeline and flow.

        Raises:
            PrefectRequestError: the server rejected the request.
            httpx.HTTPError: the server does not respond.
        """
        flows = {flow["id"]: flow["name"] for flow in self._all("/flows/filter")}
        intervals_by_flow: dict[tuple[str, str], float] = {}
        for deployment in self._all("/deployments/filter"):
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

    def _all(self, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        while True:
            response = self._post(path, {"limit": _PAGE_SIZE, "offset": len(items)})
            try:
                page = response.raise_for_status().json()
            except httpx.HTTPStatusError as error:
                raise PrefectRequestError(explain(error)) from error
            items += page
            if len(page) < _PAGE_SIZE:
                return items

    def _post(self, path: str, body: dict[str, int]) -> httpx.Response:
        response = self._client.post(path, json=body)
        if response.status_code == httpx.codes.FORBIDDEN and self._fetch_csrf_token():
            response = self._client.post(path, json=body)
        return response

    def _fetch_csrf_token(self) -> bool:
        """Request a new CSRF token, because the old one may have expired.

        Return whether the server issued one.
        """
        client = str(uuid.uuid4())
        response = self._client.get("/csrf-token", params={"client": client})
        if response.status_code == httpx.codes.UNAUTHORIZED:
            # Prefect checks the CSRF token before the login, so the missing login must be reported here.
            raise PrefectRequestError(explain(_status_error(response)))
        if response.is_success:
            token = response.json()["token"]
            self._client.headers.update({"Prefect-Csrf-Client": client, "Prefect-Csrf-Token": token})
        return response.is_success


def _status_error(response: httpx.Response) -> httpx.HTTPStatusError:
    return httpx.HTTPStatusError("", request=response.request, response=response)


def _interval(deployment: dict[str, Any]) -> float | None:
    """Return the scheduled interval of a deployment in seconds; None without an active schedule."""
    if deployment.get("paused"):
        return None
    active = [each["schedule"] for each in deployment.get("schedules") or [] if each.get("active")]
    return min(filter(None, map(intervals.seconds, active)), default=None)


def _credentials(env: Mapping[str, str]) -> dict[str, str]:
    if key := env.get("PREFECT_API_KEY"):
        return {"authorization": f"Bearer {key}"}
    if login := env.get("PREFECT_API_AUTH_STRING"):
        return {"authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
    return {}
