"""The answers of HTTP that Apprise's plugins receive, which they do not return: how long a vendor wants no message."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from ai_workflow.alerting.channels import rate_limits


@dataclass
class Answers:
    """Whether a vendor has refused a message of this thread as too many, and for how many seconds it wants none."""

    too_fast: bool = False
    seconds: float | None = None


_watching = threading.local()


@contextmanager
def watched() -> Iterator[Answers]:
    """Watch the requests of this thread; after an answer 429 it sends no other until the end."""
    answers = _watching.answers = Answers()
    try:
        yield answers
    finally:
        _watching.answers = None


def install() -> None:
    """Have `requests` report its answers, once in a process; threads that do not watch see no difference."""
    if not hasattr(requests.Session.send, "_is_watched"):
        requests.Session.send = _reporting(requests.Session.send)  # type: ignore[method-assign]


def _reporting(send: Any) -> Any:
    @functools.wraps(send)
    def reporting(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        answers: Answers | None = getattr(_watching, "answers", None)
        if answers is not None and answers.too_fast:
            # Some plugins repeat at once.
            raise requests.ConnectionError("the vendor wants no message for now")
        answer: requests.Response = send(session, request, **options)
        if answers is not None and (
            answer.status_code == 429 or (answer.status_code == 503 and "retry-after" in answer.headers)
        ):
            answers.too_fast = True
            answers.seconds = rate_limits.seconds(answer.headers, answer.content)
        return answer

    reporting._is_watched = True  # type: ignore[attr-defined]
    return reporting
