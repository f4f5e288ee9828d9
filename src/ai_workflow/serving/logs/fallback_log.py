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
    """Log of requests that were not answered by the first version of the chain.

    Args:
        now: returns the current time in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._logged: dict[tuple[str, str | None], float] = {}

    def report(self, chain_result: ChainResult, version: str, trace_id: str) -> None:
        """Log a fallback with its trace: an ERROR if every model failed, else a WARNING."""
        now, fallback = self._now(), (version, chain_result.reasons)
        if now - self._logged.get(fallback, -_REPEAT_SECONDS) < _REPEAT_SECONDS:
            return
        recent = {each: at for each, at in self._logged.items() if now - at < _REPEAT_SECONDS}
        self._logged = recent | {fallback: now}
        all_failed = chain_result.model is None and chain_result.failures
        with trace_context.bound(trace_id=trace_id):
            log.log(
                logging.ERROR if all_failed else logging.WARNING,
                "%sanswered by %s: %s", "all models failed, " if all_failed else "", version, chain_result.reasons,
            )  # fmt: skip
