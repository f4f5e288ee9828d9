"""Check of the inference service: whether it answers, and by which version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx

from ai_workflow.doctor.context import Address, Context
from ai_workflow.doctor.finding import Finding
from ai_workflow.prefect_errors import reason

_PATH = "/v2/health/ready"
_SECONDS = 3.0
_FIELDS = {"ready", "state", "serving", "versions", "absent"}
_PAGE = 'docs/serving.md, "Fallback"'


def check(context: Context) -> Iterator[Finding]:
    """Yield why the service does not answer, or does not answer by `latest`."""
    address = context.service
    try:
        response = request(f"{address.url}{_PATH}")
        body = response.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        yield unanswered(address, "the inference service", "ai-workflow serve", error, "--service")
        return
    # A service of several pipelines reports each of them.
    several = body.get("pipelines") if isinstance(body, dict) else None
    parts = several.values() if isinstance(several, dict) else [body]
    if not all(isinstance(part, dict) and part.keys() >= _FIELDS for part in parts):
        what = f"{address.url} answers {response.status_code}, but is no inference service"
        yield Finding("error", what, address.url, "Correct service.port or --service")
        return
    for name, part in several.items() if several else [("", body)]:
        if part["state"] != "ok":
            finding = _degraded(address.url, part)
            yield replace(finding, what=f"pipeline {name}: {finding.what}") if name else finding


def request(url: str, token: str | None = None) -> httpx.Response:
    """Return the response to a GET request; proxies of the environment are not used.

    Args:
        url: the URL.
        token: a bearer token.

    Raises:
        httpx.HTTPError: no answer in time.
    """
    with httpx.Client(timeout=_SECONDS, trust_env=False) as client:
        return client.get(url, headers={"authorization": f"Bearer {token}"} if token else {})


def unanswered(address: Address, name: str, command: str, error: Exception, option: str) -> Finding:
    """Return the finding of a service that does not answer; skipped if it need not run on this machine."""
    cause = reason(error) if isinstance(error, httpx.HTTPError) else f"its answer is not valid: {error}"
    what = f"{name} does not answer: {cause}"
    if address.is_expected:
        return Finding("error", what, address.url, f"Start it ({command}, or make up) and read its log")
    return Finding("skipped", what, address.url, f"If it runs elsewhere, pass {option} URL; {command} starts it")


def _degraded(url: str, body: dict[str, Any]) -> Finding:
    reasons = [body["absent"]] if body["absent"] else []
    reasons += [f"{name}: {status}" for name, status in body["versions"].items() if status != "ok"]
    why = "; ".join(map(str, reasons)) or "no reason is given"
    remedy = f"Read the log of the service; ai-workflow models list, ai-workflow models verify ({_PAGE})"
    if body["state"] == "draining":
        return Finding("warning", "the service shuts down and accepts no new connections", url, "Start it again")
    if not body["ready"]:
        return Finding("error", f"no request is answered: {why}", url, remedy)
    if body["serving"] == "default":
        return Finding("error", f"requests get the default response, no version answers: {why}", url, remedy)
    first = next(iter(body["versions"]), None)
    if body["serving"] != first or body["absent"]:
        return Finding("error", f"{body['serving']} answers in place of latest: {why}", url, remedy)
    return Finding("warning", f"{body['serving']} answers, but its fallback does not: {why}", url, remedy)
