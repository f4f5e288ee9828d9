"""Log lines of fallbacks: the same fallback is logged at most once in ten seconds."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ai_workflow.serving.routing.fallback_chain import ChainResult
from ai_workflow.telemetry import trace_context
from ai_workflow.telemetry.logs import logger

_REPEAT_SECONDS = 10.0
log = logger("serving")


class FallbackLog:
    """Log of requests that another version than the first, or the default, answered.

    Args:
        now: returns the current time in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._logged: dict[tuple[str, str | None], float] = {}

    def report(self, answered: ChainResult, version: str, trace_id: str) -> None:
        """Log a fallback with its trace: an ERROR if every model failed, else a WARNING."""
        now, fallback = self._now(), (version, answered.reasons)
        if now - self._logged.get(fallback, -_REPEAT_SECONDS) < _REPEAT_SECONDS:
            return
        recent = {each: at for each, at in self._logged.items() if now - at < _REPEAT_SECONDS}
        self._logged = recent | {fallback: now}
        all_failed = answered.model is None and answered.failures
        with trace_context.bound(trace_id=trace_id):
            log.log(
                logging.ERROR if all_failed else logging.WARNING,
                "%sanswered by %s: %s", "all models failed, " if all_failed else "", version, answered.reasons,
            )  # fmt: skip
