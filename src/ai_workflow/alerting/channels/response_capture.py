"""Capture of HTTP responses inside Apprise plugins, which do not return the delay that a vendor demands."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from ai_workflow.alerting.channels import vendor_delays


@dataclass
class CapturedResponses:
    """Rate limit among the responses of this thread, and its delay in seconds."""

    is_rate_limited: bool = False
    seconds: float | None = None


_capturing = threading.local()


@contextmanager
def capture() -> Iterator[CapturedResponses]:
    """Capture the responses of this thread. After a 429 response it sends no further request."""
    responses = _capturing.responses = CapturedResponses()
    try:
        yield responses
    finally:
        _capturing.responses = None


def install() -> None:
    """Patch `requests` once per process; threads that do not capture are not affected."""
    if not hasattr(requests.Session.send, "_is_capturing"):
        requests.Session.send = _capturing_send(requests.Session.send)  # type: ignore[method-assign]


def _capturing_send(send: Any) -> Any:
    @functools.wraps(send)
    def capturing(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        responses: CapturedResponses | None = getattr(_capturing, "responses", None)
        if responses is not None and responses.is_rate_limited:
            # Some plugins retry at once.
            raise requests.ConnectionError("rate limited by the vendor")
        response: requests.Response = send(session, request, **options)
        if responses is not None and (
            response.status_code == 429 or (response.status_code == 503 and "retry-after" in response.headers)
        ):
            responses.is_rate_limited = True
            responses.seconds = vendor_delays.seconds(response.headers, response.content)
        return response

    capturing._is_capturing = True  # type: ignore[attr-defined]
    return capturing
