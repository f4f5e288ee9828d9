"""Checks of the Prefect server: whether it answers, its version, and its clock."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from packaging.version import InvalidVersion, Version

from ai_workflow.doctor import versions
from ai_workflow.doctor.context import Context
from ai_workflow.doctor.finding import Finding
from ai_workflow.exporter.journal_source import CLOCK_TOLERANCE_SECONDS
from ai_workflow.exporter.prefect_client import PrefectClient, PrefectRequestError
from ai_workflow.local import prefect_settings, server
from ai_workflow.local.ports import HOST
from ai_workflow.prefect_errors import is_cloud, unreachable, without_login

SECONDS = 3.0
# A Date header has whole seconds.
_WARNING_SKEW_SECONDS = 5.0
NOT_USED = Finding(
    "skipped", "no Prefect server is configured, and none runs in this folder", "PREFECT_API_URL", "Set PREFECT_API_URL"
)


def api_url(context: Context) -> str | None:
    """Return the URL of the API: PREFECT_API_URL, the stack or server of this folder, or a profile; None if unset."""
    if url := context.env.get("PREFECT_API_URL"):
        return url.rstrip("/")
    if stack := context.stack:
        return f"http://{HOST}:{stack.port(stack.named('server'))}/api"
    if local := server.local_server(context.var):
        return local.api_url
    if prefect_settings.may_name_a_server(context.env):
        from prefect.settings import PREFECT_API_URL

        return str(PREFECT_API_URL.value() or "") or None
    return None


def client(context: Context, url: str) -> PrefectClient:
    """Return a client with a short time limit."""
    return PrefectClient(url, context.env, SECONDS)


def check(context: Context) -> Iterator[Finding]:
    """Yield why the server does not answer, or that its version does not fit."""
    url = api_url(context)
    if url is None:
        yield NOT_USED
        return
    remedy = "Start it (make status, docs/operating.md), or correct PREFECT_API_URL"
    try:
        with closing(client(context, url)) as requests:
            requests.get("/health")
            # Prefect Cloud has no version of its own.
            version = None if is_cloud(url) else str(requests.get("/admin/version").json())
    except PrefectRequestError as error:
        yield Finding("error", str(error), shown(url), "Correct PREFECT_API_URL or the login (docs/security.md)")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        yield Finding("error", _reason(url, error), shown(url), remedy)
    else:
        if version is not None:
            yield from _version(url, version)


def shown(url: str) -> str:
    """Return the URL of a server without a login, for messages."""
    try:
        return without_login(url)
    except httpx.InvalidURL:
        return "PREFECT_API_URL"


def _reason(url: str, error: Exception) -> str:
    if isinstance(error, httpx.HTTPError):
        return unreachable(url, error)
    return f"{shown(url)} is not the URL of a Prefect server: {error}"


def _version(url: str, text: str) -> Iterator[Finding]:
    required, installed = versions.requirement("prefect"), importlib.metadata.version("prefect")
    try:
        version = Version(text)
    except InvalidVersion:
        yield Finding(
            "error", f"the server answers with the version {text[:80]!r}", shown(url), "Correct PREFECT_API_URL"
        )
        return
    if not required.contains(version, prereleases=True):
        what = f"the Prefect server has version {text}, this project requires {required}; the client has {installed}"
        yield Finding("error", what, shown(url), f"Install prefect{required} on the server")
    elif (version.major, version.minor) < (client_version := Version(installed)).release[:2]:
        what = f"the Prefect server has version {text}, older than the client ({client_version})"
        yield Finding("warning", what, shown(url), f"Install prefect {installed} on the server")


def check_clock(context: Context) -> Iterator[Finding]:
    """Yield the difference between the clock of this machine and that of the Prefect server."""
    url = api_url(context)
    if url is None:
        yield NOT_USED
        return
    remedy = "Synchronize both clocks: `timedatectl status`, `chronyc tracking`"
    started = datetime.now(UTC)
    try:
        with closing(client(context, url)) as requests:
            response = requests.get("/health")
        ended = datetime.now(UTC)
        server_time = parsedate_to_datetime(response.headers["date"])
    except (httpx.HTTPError, httpx.InvalidURL, PrefectRequestError, KeyError, ValueError) as error:
        what = f"the clock of the Prefect server is unknown: {type(error).__name__}: {error}"
        yield Finding("unknown", what, shown(url), remedy)
        return
    local_time = started + (ended - started) / 2
    seconds = (server_time - local_time).total_seconds()
    if abs(seconds) > _WARNING_SKEW_SECONDS + (ended - started).total_seconds():
        order = "behind" if seconds > 0 else "ahead of"
        is_error = abs(seconds) > CLOCK_TOLERANCE_SECONDS
        what = f"the clock of this machine is {abs(seconds):.0f} s {order} the Prefect server"
        yield Finding("error" if is_error else "warning", what, shown(url), remedy)
