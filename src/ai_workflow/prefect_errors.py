"""Errors of a Prefect API as one sentence: the rejected request or the network error, and the variable to set."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import httpx

from ai_workflow.errors import AiWorkflowError
from ai_workflow.secret_values import scrub
from ai_workflow.telemetry.control_characters import escape

_WORKSPACE = re.compile(r"/accounts/[^/]+/workspaces/")
_MAX_REASON_LENGTH = 300
# Where Prefect, Prefect Cloud and the origin guard put the reason.
_REASON_FIELDS = ("detail", "exception_message", "message", "error", "exception_detail")
_NO_REASONS = frozenset({"unauthorized", "forbidden", "internal server error", "not authenticated"})

# Start of the error that Prefect raises if a server does not answer.
_UNREACHABLE = "Failed to reach API"

_REMEDIES: Mapping[int, str] = {
    401: "Set PREFECT_API_AUTH_STRING to the login of the server, user:password",
    403: "Check PREFECT_API_AUTH_STRING and PREFECT_API_URL",
    404: "Check PREFECT_API_URL",
    429: "Run this again in a minute",
}
_REMEDIES_OF_CLOUD: Mapping[int, str] = {
    401: "Set PREFECT_API_KEY to an API key of that workspace",
    403: "Check the permissions of PREFECT_API_KEY and the limits of the plan",
    404: "Check account and workspace in PREFECT_API_URL, and that the owner of PREFECT_API_KEY is a member",
    429: "Run this again in a minute: the rate limit of the plan is exceeded",
}


class PrefectError(AiWorkflowError):
    """A Prefect API did not answer, or rejected a request."""


@contextlib.contextmanager
def prefect_errors_wrapped() -> Iterator[None]:
    """Replace errors of requests to Prefect within the context by one sentence with a remedy.

    Raises:
        PrefectError: the server did not answer, or rejected a request.
    """
    try:
        yield
    except httpx.HTTPStatusError as error:
        raise PrefectError(explain(error)) from error
    except (httpx.TransportError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not str(error).startswith(_UNREACHABLE):
            raise
        raise PrefectError(unreachable(os.environ.get("PREFECT_API_URL") or _requested(error), error)) from error


def _requested(error: BaseException) -> str:
    """Return scheme and host of the failed request, empty if no cause of the error is a request."""
    cause: BaseException | None = error
    while cause is not None:
        with contextlib.suppress(RuntimeError):
            if isinstance(cause, httpx.RequestError):
                return _origin(str(cause.request.url))
        cause = cause.__cause__
    return ""


def unreachable(url: str, error: BaseException, remedy: str = "Start it, or correct PREFECT_API_URL") -> str:
    """Return why a Prefect server does not answer, with a remedy.

    Args:
        url: the URL of its API.
        error: the error of the request.
        remedy: the remedy for a server that is not Prefect Cloud.
    """
    cause = scrub(escape(reason(error)))
    if is_cloud(url):
        host = httpx.URL(url).host
        return f"Prefect Cloud at {host} cannot be reached: {cause}. Check the network, HTTPS_PROXY and PREFECT_API_URL"
    return f"the Prefect server at {without_login(url)} does not answer: {cause}. {remedy}"


def without_login(url: str) -> str:
    """Return a URL without user and password."""
    return str(httpx.URL(url).copy_with(userinfo=b""))


def reason(error: BaseException) -> str:
    """Return why a connection failed: the first system error among the causes of an error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused"
        if isinstance(cause, socket.gaierror):
            return "the name of its host cannot be resolved"
        if isinstance(cause, TimeoutError | httpx.TimeoutException):
            return "no answer in time"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
        inner = getattr(cause, "reason", None)
        cause = inner if isinstance(inner, BaseException) else cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__


def is_cloud(url: str) -> bool:
    """Return whether a URL is of Prefect Cloud, which requires an API key instead of a login."""
    parsed = httpx.URL(url)
    return (
        parsed.host == "prefect.cloud" or parsed.host.endswith(".prefect.cloud") or bool(_WORKSPACE.search(parsed.path))
    )


def explain(error: BaseException) -> str:
    """Return an error of a request to Prefect as a sentence with a remedy; other errors as their own text."""
    if not isinstance(error, httpx.HTTPStatusError):
        return scrub(str(error))
    response = error.response
    url = str(response.request.url)
    server = f"Prefect Cloud at {httpx.URL(url).host}" if is_cloud(url) else f"the Prefect server at {_origin(url)}"
    reason = _reason(response)
    status, request = response.status_code, response.request
    problem = f"{server} answers {status} to {request.method} {request.url.path}"
    has_login = request.headers.get("authorization", "").startswith("Basic ")
    return scrub(f"{problem}{f': {reason}' if reason else ''}. {_remedy(status, is_cloud(url), has_login)}")


def _remedy(status: int, cloud: bool, has_login: bool) -> str:
    if cloud and has_login and status == HTTPStatus.UNAUTHORIZED:
        return "Unset PREFECT_API_AUTH_STRING, which is sent in place of PREFECT_API_KEY"
    if status in (remedies := _REMEDIES_OF_CLOUD if cloud else _REMEDIES):
        return remedies[status]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "Try again later" if cloud else "The server's log says more"
    return "Correct the request"


def _reason(response: httpx.Response) -> str:
    """Return the reason in a response body on one line, shortened; empty if the body only repeats the status."""
    try:
        text = _text(response.json())
    except ValueError:
        text = "" if "html" in response.headers.get("content-type", "") else response.text
    except httpx.ResponseNotRead:
        return ""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split()).rstrip(".")
    if line.lower() in _NO_REASONS:
        return ""
    return line if len(line) <= _MAX_REASON_LENGTH else f"{line[:_MAX_REASON_LENGTH]} …"


def _text(body: Any) -> str:
    if isinstance(body, dict):
        reasons = [_text(body[name]) for name in _REASON_FIELDS if body.get(name)]
        return reasons[0] if reasons else str(body.get("msg", ""))
    if isinstance(body, list):
        return "; ".join(filter(None, map(_text, body)))
    return body if isinstance(body, str) else ""


def _origin(url: str) -> str:
    parsed = httpx.URL(url)
    return f"{parsed.scheme}://{parsed.netloc.decode()}"
