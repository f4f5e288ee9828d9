"""Counts requests by their final answer; attempts at single versions are counted where they are made."""

from __future__ import annotations

from functools import cache
from typing import Any

from ai_workflow import metrics
from ai_workflow.serving.replies import Reply

STATUSES = ("success", "error", "timeout", "rejected", "fallback")


class Tally:
    """The metrics of final answers, with their labels looked up once."""

    def __init__(self) -> None:
        self.answered_by = cache(_of_version)

    def answered(self, version: str, status: str) -> None:
        """Count a request that ended in this way."""
        self.answered_by(version)[status].inc()

    def invalid(self, status: int) -> int:
        """Count a request that was refused for what it asks, and return its HTTP status."""
        metrics.get("inference_invalid_total").labels(str(status)).inc()
        return status

    def final(self, found: Reply, seconds: float) -> None:
        """Count a request that was answered, and how long it took."""
        counts = self.answered_by(found.version)
        counts["seconds"].observe(seconds)
        counts["rows"].inc(len(found.predictions))
        if found.answered.reasons is None:
            counts["success"].inc()
            return
        counts["fallback"].inc()
        outcome = found.answered.outcome
        metrics.get("inference_fallback_total").labels(found.version, outcome.value if outcome else "not_loaded").inc()


def _of_version(version: str) -> dict[str, Any]:
    total = metrics.get("inference_total")
    return {
        **{status: total.labels(version, status) for status in STATUSES},
        "seconds": metrics.get("inference_latency_seconds").labels(version),
        "rows": metrics.get("inference_rows_total").labels(version),
    }
