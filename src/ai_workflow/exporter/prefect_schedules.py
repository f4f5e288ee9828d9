"""How often the deployments of a Prefect server are to run, asked over HTTP: Prefect itself would be 80 MB."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from ai_workflow.errors import AiWorkflowError
from ai_workflow.exporter import intervals
from ai_workflow.prefect_errors import explain

_SECONDS = 5.0
_PAGE = 200


class PrefectRefused(AiWorkflowError):
    """The Prefect API refused a request."""


class PrefectSchedules:
    """Asks a Prefect server.

    Args:
        url: its API, `http://host:4200/api`.
        env: where PREFECT_API_KEY or PREFECT_API_AUTH_STRING are looked up.
        pipeline_of: gives the pipeline of a flow's parameters `config` and `environment`.
    """

    def __init__(self, url: str, env: Mapping[str, str], pipeline_of: Callable[[str | None, str | None], str]) -> None:
        self._client = httpx.Client(base_url=url.rstrip("/"), headers=_credentials(env), timeout=_SECONDS)
        self._pipeline_of = pipeline_of

    def expected(self) -> dict[tuple[str, str], float]:
        """Return for each pipeline and flow with a schedule the seconds within which it is to run.

        Raises:
            PrefectRefused: the server refuses.
            httpx.HTTPError: the server does not answer.
        """
        flows = {flow["id"]: flow["name"] for flow in self._all("/flows/filter")}
        found: dict[tuple[str, str], float] = {}
        for deployment in self._all("/deployments/filter"):
            given = deployment.get("parameters") or {}
            try:
                expected = _expected(deployment)
                pipeline = self._pipeline_of(given.get("config"), given.get("environment"))
            except (AiWorkflowError, ValueError, TypeError):
                # Not ours, or its pipeline file is elsewhere, or its schedule of a kind that nobody here knows.
                continue
            if expected is not None and deployment["flow_id"] in flows:
                key = (pipeline, flows[deployment["flow_id"]])
                found[key] = min(expected, found.get(key, expected))
        return found

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _all(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            answer = self._post(path, {"limit": _PAGE, "offset": len(found)})
            try:
                page = answer.raise_for_status().json()
            except httpx.HTTPStatusError as error:
                raise PrefectRefused(explain(error)) from error
            found += page
            if len(page) < _PAGE:
                return found

    def _post(self, path: str, body: dict[str, int]) -> httpx.Response:
        answer = self._client.post(path, json=body)
        if answer.status_code == httpx.codes.FORBIDDEN and self._has_token():
            answer = self._client.post(path, json=body)
        return answer

    def _has_token(self) -> bool:
        """Ask for a CSRF token, and say whether there is one: who wants one refuses also an old one."""
        client = str(uuid.uuid4())
        answer = self._client.get("/csrf-token", params={"client": client})
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            # Prefect looks at the token before the login: that one lacks is what has to be told.
            raise PrefectRefused(explain(_status_error(answer)))
        if answer.is_success:
            token = answer.json()["token"]
            self._client.headers.update({"Prefect-Csrf-Client": client, "Prefect-Csrf-Token": token})
        return answer.is_success


def _status_error(answer: httpx.Response) -> httpx.HTTPStatusError:
    return httpx.HTTPStatusError("", request=answer.request, response=answer)


def _expected(deployment: dict[str, Any]) -> float | None:
    """Return the seconds within which a deployment is to run; None of one that nothing starts."""
    if deployment.get("paused"):
        return None
    active = [each["schedule"] for each in deployment.get("schedules") or [] if each.get("active")]
    found = [each for each in map(intervals.seconds, active) if each]
    return min(found, default=None)


def _credentials(env: Mapping[str, str]) -> dict[str, str]:
    if key := env.get("PREFECT_API_KEY"):
        return {"authorization": f"Bearer {key}"}
    if login := env.get("PREFECT_API_AUTH_STRING"):
        return {"authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
    return {}
