"""Counts requests by their final answer; attempts at single versions are counted where they are made."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

from ai_workflow import metrics
from ai_workflow.serving.attempts import Outcome
from ai_workflow.serving.replies import DEFAULT, Reply

# A trace id goes with every latency that long, and with one of the others in a while: each costs some microseconds.
SLOW_SECONDS, EXEMPLAR_SECONDS = 0.1, 1.0
STATUSES = ("success", "error", "timeout", "rejected", "fallback")
_NOT_LOADED = "not_loaded"


class Tally:
    """The metrics of final answers, with their labels looked up once."""

    def __init__(self) -> None:
        self.answered_by = cache(of_version)
        self.answered_by(DEFAULT)
        for status in STATUSES:
            metrics.get("inference_total").labels("none", status)
        self._next_exemplar = 0.0

    def answered(self, version: str, status: str) -> None:
        """Count a request that ended in this way."""
        self.answered_by(version)[status].inc()

    def invalid(self, status: int) -> int:
        """Count a request that was refused for what it asks, and return its HTTP status."""
        metrics.get("inference_invalid_total").labels(str(status)).inc()
        return status

    def final(self, found: Reply, seconds: float, trace_id: str) -> None:
        """Count a request that was answered, and how long it took."""
        counts = self.answered_by(found.version)
        counts["seconds"].observe(seconds, self._exemplar(seconds, trace_id))
        counts["rows"].inc(len(found.predictions))
        if found.answered.reasons is None:
            counts["success"].inc()
            return
        counts["fallback"].inc()
        outcome = found.answered.outcome
        counts["reasons"][outcome.value if outcome else _NOT_LOADED].inc()

    def _exemplar(self, seconds: float, trace_id: str) -> dict[str, str] | None:
        now = time.monotonic()
        if seconds < SLOW_SECONDS and now < self._next_exemplar:
            return None
        self._next_exemplar = now + EXEMPLAR_SECONDS
        return {"trace_id": trace_id}


def of_version(version: str) -> dict[str, Any]:
    """Return the metrics of what a version answers; from then on they are shown, as 0.

    Prometheus sees no rise in a counter that begins above 0: the first errors of a version would not count.
    """
    total, fallback = metrics.get("inference_total"), metrics.get("inference_fallback_total")
    return {
        **{status: total.labels(version, status) for status in STATUSES},
        "reasons": {reason: fallback.labels(version, reason) for reason in (_NOT_LOADED, *map(str, Outcome))},
        "seconds": metrics.get("inference_latency_seconds").labels(version),
        "rows": metrics.get("inference_rows_total").labels(version),
    }
