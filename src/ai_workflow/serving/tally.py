"""Counts requests by their final answer; attempts at single versions are counted where they are made."""

from __future__ import annotations

from typing import Any

from ai_workflow import metrics
from ai_workflow.serving.attempts import Outcome
from ai_workflow.serving.replies import Reply

# The reason of a fallback where latest was not asked at all.
_NOT_LOADED = "not_loaded"
STATUSES = ("success", "error", "timeout", "rejected", "fallback")


class Tally:
    """The metrics of final answers, with their labels looked up once."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, Any]] = {}

    def answered(self, version: str, status: str) -> None:
        """Count a request that ended in this way."""
        self._of(version)[status].inc()

    def invalid(self, status: int) -> int:
        """Count a request that was refused for what it asks, and return its HTTP status."""
        metrics.get("inference_invalid_total").labels(str(status)).inc()
        return status

    def final(self, found: Reply, seconds: float) -> None:
        """Count a request that was answered, and how long it took."""
        counts = self._of(found.version)
        counts["seconds"].observe(seconds)
        counts["rows"].inc(len(found.predictions))
        if not found.answered.fell_back:
            counts["success"].inc()
            return
        counts["fallback"].inc()
        outcome = found.answered.outcome
        reason = outcome.value if outcome else _NOT_LOADED
        metrics.get("inference_fallback_total").labels(found.version, reason).inc()

    def forget(self, version: str) -> None:
        """Remove what is shown of a version that serves no more."""
        self._counts.pop(version, None)
        for status in STATUSES:
            metrics.forget("inference_total", version, status)
        for reason in (*Outcome, _NOT_LOADED):
            metrics.forget("inference_fallback_total", version, reason)
        for name in ("inference_latency_seconds", "inference_rows_total"):
            metrics.forget(name, version)

    def _of(self, version: str) -> dict[str, Any]:
        counts = self._counts.get(version)
        if counts is None:
            counts = self._counts[version] = _of_version(version)
        return counts


def _of_version(version: str) -> dict[str, Any]:
    total = metrics.get("inference_total")
    return {
        **{status: total.labels(version, status) for status in STATUSES},
        "seconds": metrics.get("inference_latency_seconds").labels(version),
        "rows": metrics.get("inference_rows_total").labels(version),
    }
