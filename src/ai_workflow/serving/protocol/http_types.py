"""Requests, responses and errors of the inference endpoints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from ai_workflow.errors import AiWorkflowError

Header = tuple[bytes, bytes]
Headers = Mapping[bytes, bytes]
JSON = (b"content-type", b"application/json")
RETRY = (b"retry-after", b"1")


class HttpError(AiWorkflowError):
    """A request that gets an error response."""

    def __init__(self, status: int, problem: str, *headers: Header) -> None:
        super().__init__(problem)
        self.status, self.headers = status, headers


@dataclass(slots=True)
class Request:
    """A received request; `arrived_at` is in the time of the event loop."""

    body: bytes
    headers: Headers
    arrived_at: float
    trace_id: str


@dataclass(slots=True)
class Response:
    """The response to a request."""

    body: bytes
    headers: tuple[Header, ...] = (JSON,)


Handler = Callable[[Request], Awaitable[Response]]
