"""Metrics of requests by their final outcome; `attempt_metrics` has those of each version."""

from __future__ import annotations

from ai_workflow.serving.attempt_metrics import SLOW_SECONDS, ExemplarSampler, FailureReason
from ai_workflow.serving.exemplars import Exemplars
from ai_workflow.serving.protocol.responses import DEFAULT, InferenceResult
from ai_workflow.serving.routing.fallback_chain import NOT_LOADED, ChainResult
from ai_workflow.telemetry import metrics

# `expired`: the first version returned no result before the deadline that the client set.
EXPIRED = "expired"
STATUSES = ("success", "fallback", "default", "error", "timeout", "rejected", EXPIRED)
_REASONS = (NOT_LOADED, *map(str, FailureReason))


class RequestMetrics:
    """The metrics of one pipeline's requests; label children are looked up once.

    Args:
        pipeline: the name of the pipeline.
    """

    def __init__(self, pipeline: str) -> None:
        self.pipeline = pipeline
        self.exemplars = Exemplars(pipeline)
        self._sampler = ExemplarSampler()
        total = metrics.get("inference_requests_total")
        self._counts = {status: total.labels(pipeline, status) for status in STATUSES}
        self._seconds = metrics.get("inference_request_latency_seconds").labels(pipeline)
        self._defaults = metrics.get("inference_total").labels(pipeline, DEFAULT, "fallback")
        self._rows = {DEFAULT: metrics.get("inference_rows_total").labels(pipeline, DEFAULT)}

    def record_error(self, status: str, trace_id: str) -> None:
        """Count a request that failed."""
        self._counts[status].inc()
        if status != EXPIRED:
            self.exemplars.record("", status, trace_id)

    def record_invalid(self, status: int) -> int:
        """Count a client error, and return its HTTP status."""
        metrics.get("inference_invalid_total").labels(str(status)).inc()
        return status

    def record_response(self, result: InferenceResult, seconds: float, trace_id: str) -> None:
        """Count a response of a version or of the default, and its duration."""
        chain_result = result.chain_result
        status = "default" if result.is_default else "fallback" if chain_result.is_fallback else "success"
        self._counts[EXPIRED if chain_result.is_expired else status].inc()
        self._seconds.observe(seconds, self._sampler.of(seconds, trace_id))
        rows = self._rows.get(result.version)
        if rows is not None:
            rows.inc(len(result.predictions))
        if seconds >= SLOW_SECONDS > chain_result.slowest_seconds:
            self.exemplars.record("", "slow", trace_id, seconds)
        if chain_result.is_fallback:
            self._record_fallback(chain_result, trace_id)

    def _record_fallback(self, chain_result: ChainResult, trace_id: str) -> None:
        """Count each version that failed for a request with a fallback."""
        fallbacks = metrics.get("inference_fallback_total")
        if not chain_result.is_expired:
            self.exemplars.record("", "fallback", trace_id)
        for failure in chain_result.failures:
            fallbacks.labels(self.pipeline, failure.version, failure.reason).inc()
            if failure.reason != FailureReason.EXPIRED:
                self.exemplars.record(failure.version, "fallback", trace_id)
        if chain_result.model is None:
            self._defaults.inc()
        if chain_result.model is None and not chain_result.is_expired:
            self.exemplars.record(chain_result.failures[0].version, "default", trace_id)

    def initialize(self, version: str) -> None:
        """Create all series of a version at 0: Prometheus sees no increase in a counter that starts above 0."""
        self._rows[version] = metrics.get("inference_rows_total").labels(self.pipeline, version)
        for reason in _REASONS:
            metrics.get("inference_fallback_total").labels(self.pipeline, version, reason)

    def forget(self, version: str) -> None:
        """Remove the series of a version."""
        self._rows.pop(version, None)
        self.exemplars.forget(version)
        for reason in _REASONS:
            metrics.remove_labels("inference_fallback_total", self.pipeline, version, reason)
        metrics.remove_labels("inference_rows_total", self.pipeline, version)
