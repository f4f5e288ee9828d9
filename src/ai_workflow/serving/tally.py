"""Counts requests by their final answer; attempts at single versions are counted where they are made."""

from __future__ import annotations

import time
from typing import Any

from ai_workflow import metrics
from ai_workflow.serving.attempts import Outcome
from ai_workflow.serving.examples import Examples
from ai_workflow.serving.replies import DEFAULT, Reply

# A trace id goes with every latency that long, and with one of the others in a while: each costs some microseconds.
# A request that long is an example of a slow one, too.
SLOW_SECONDS, EXEMPLAR_SECONDS = 0.1, 1.0
STATUSES = ("success", "error", "timeout", "rejected", "fallback")
# The reason of a fallback where latest was not asked at all.
_NOT_LOADED = "not_loaded"
_REASONS = (_NOT_LOADED, *map(str, Outcome))


class Tally:
    """The metrics of final answers, with their labels looked up once."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, Any]] = {}
        self._examples = Examples()
        self._next_exemplar = 0.0
        self.show(DEFAULT)
        for status in STATUSES:
            metrics.get("inference_total").labels("none", status)

    def unanswered(self, version: str, status: str, trace_id: str) -> None:
        """Count a request that ended in this way, without an answer."""
        self._of(version)[status].inc()
        self._examples.note(version, status, trace_id)

    def invalid(self, status: int) -> int:
        """Count a request that was refused for what it asks, and return its HTTP status."""
        metrics.get("inference_invalid_total").labels(str(status)).inc()
        return status

    def final(self, found: Reply, seconds: float, trace_id: str) -> None:
        """Count a request that was answered, and how long it took."""
        counts = self._of(found.version)
        counts["seconds"].observe(seconds, self._exemplar(seconds, trace_id))
        counts["rows"].inc(len(found.predictions))
        if seconds >= SLOW_SECONDS:
            self._examples.note(found.version, "slow", trace_id, seconds)
        if not found.answered.fell_back:
            counts["success"].inc()
            return
        counts["fallback"].inc()
        self._examples.note(found.version, "fallback", trace_id)
        outcome = found.answered.outcome
        counts["reasons"][outcome.value if outcome else _NOT_LOADED].inc()

    def show(self, version: str) -> None:
        """Show the metrics of what a version answers, as 0 at first.

        Prometheus sees no rise in a counter that begins above 0: the first errors of a version would not count.
        """
        self._of(version)

    def forget(self, version: str) -> None:
        """Remove what is shown of a version that serves no more."""
        self._counts.pop(version, None)
        self._examples.forget(version)
        for status in STATUSES:
            metrics.forget("inference_total", version, status)
        for reason in _REASONS:
            metrics.forget("inference_fallback_total", version, reason)
        for name in ("inference_latency_seconds", "inference_rows_total"):
            metrics.forget(name, version)

    def _of(self, version: str) -> dict[str, Any]:
        counts = self._counts.get(version)
        if counts is None:
            counts = self._counts[version] = _of_version(version)
        return counts

    def _exemplar(self, seconds: float, trace_id: str) -> dict[str, str] | None:
        now = time.monotonic()
        if seconds < SLOW_SECONDS and now < self._next_exemplar:
            return None
        self._next_exemplar = now + EXEMPLAR_SECONDS
        return {"trace_id": trace_id}


def _of_version(version: str) -> dict[str, Any]:
    total, fallback = metrics.get("inference_total"), metrics.get("inference_fallback_total")
    return {
        **{status: total.labels(version, status) for status in STATUSES},
        "reasons": {reason: fallback.labels(version, reason) for reason in _REASONS},
        "seconds": metrics.get("inference_latency_seconds").labels(version),
        "rows": metrics.get("inference_rows_total").labels(version),
    }
