"""Metrics of one version: each request sent to it counts once, by the reason of the attempt."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Any

from ai_workflow.serving.exemplars import Exemplars
from ai_workflow.serving.routing.circuit_breaker import BreakerState
from ai_workflow.telemetry import metrics

# Latencies from SLOW_SECONDS have a trace ID; others once in EXEMPLAR_SECONDS, because each costs microseconds.
SLOW_SECONDS, EXEMPLAR_SECONDS = 0.1, 1.0


class FailureReason(StrEnum):
    """Reason why an attempt at a version failed."""

    TIMEOUT = "timeout"
    ERROR = "error"
    CRASHED = "crashed"
    HUNG = "hung"
    BAD_OUTPUT = "bad_output"
    BUSY = "busy"
    UNFIT = "unfit"
    RETIRED = "retired"
    # The version has just recovered, and gets one request at a time.
    RECOVERING = "recovering"
    # The service itself was stalled: not a failure of the version.
    STALLED = "stalled"
    # The deadline of the client passed before the attempt counted as late: not a failure of the version.
    EXPIRED = "expired"

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return self in (FailureReason.TIMEOUT, FailureReason.HUNG, FailureReason.STALLED, FailureReason.EXPIRED)


STATUSES = ("success", "fallback", "timeout", "error", "rejected")
_STATUS_OF = {
    FailureReason.TIMEOUT: "timeout",
    FailureReason.HUNG: "timeout",
    FailureReason.ERROR: "error",
    FailureReason.CRASHED: "error",
    FailureReason.BAD_OUTPUT: "error",
    FailureReason.BUSY: "rejected",
}
_RESTARTS = (FailureReason.CRASHED, FailureReason.HUNG)


class ExemplarSampler:
    """Exemplars of a histogram: the trace IDs of all slow requests, and of one other in an interval."""

    def __init__(self) -> None:
        self._next = 0.0

    def of(self, seconds: float, trace_id: str) -> dict[str, str] | None:
        """Return the exemplar of an observation, or None if it has none."""
        now = time.monotonic()
        if seconds < SLOW_SECONDS and now < self._next:
            return None
        self._next = now + EXEMPLAR_SECONDS
        return {"trace_id": trace_id}


class AttemptMetrics:
    """The metrics of one version.

    Args:
        pipeline: the pipeline of the version.
        version: its name.
        exemplars: the exemplars of failed requests.
    """

    def __init__(self, pipeline: str, version: str, exemplars: Exemplars) -> None:
        self._labels, self._version, self._exemplars = (pipeline, version), version, exemplars
        self._sampler = ExemplarSampler()
        self.initialize()

    def initialize(self) -> None:
        """Create all series at 0, because Prometheus sees no increase in a counter that starts above 0."""
        labels, get = self._labels, metrics.get
        self._total: dict[str, Any] = {status: get("inference_total").labels(*labels, status) for status in STATUSES}
        refused = get("inference_refused_total")
        self._refused = {reason: refused.labels(*labels, reason.value) for reason in FailureReason}
        restarts = get("model_worker_restarts_total")
        self._restarts = {reason: restarts.labels(*labels, reason.value) for reason in _RESTARTS}
        self._seconds = get("inference_latency_seconds").labels(*labels)
        self._state = get("model_breaker_state").labels(*labels)
        self._state.set(BreakerState.CLOSED)

    def record_success(self, seconds: float, trace_id: str, *, is_fallback: bool) -> None:
        """Count a success and its duration."""
        self._total["fallback" if is_fallback else "success"].inc()
        self._observe(seconds, trace_id)

    def record_failure(self, reason: FailureReason, seconds: float, trace_id: str) -> None:
        """Count a failed attempt and its duration."""
        status = _STATUS_OF.get(reason)
        if status is None:
            self._refused[reason].inc()
            return
        self._total[status].inc()
        self._exemplars.record(self._version, status, trace_id)
        self._observe(seconds, trace_id)

    def record_skipped(self, reason: FailureReason, trace_id: str) -> None:
        """Count a request that was rejected without sending it to the version."""
        self._refused[reason].inc()
        if reason is FailureReason.BUSY:
            self._total["rejected"].inc()
            self._exemplars.record(self._version, "rejected", trace_id)

    def record_process_loss(self, reason: FailureReason, trace_id: str) -> None:
        """Count a worker that exited or was killed; the log has its restart under the trace."""
        if reason in self._restarts:
            self._restarts[reason].inc()
            self._exemplars.record(self._version, "crash", trace_id)

    def record_fault(self, reason: FailureReason, trace_id: str) -> None:
        """Set the exemplar of a fault; the log has the recovery under its trace."""
        self._exemplars.record(self._version, _STATUS_OF.get(reason, "error"), trace_id)

    def set_breaker_state(self, state: BreakerState) -> None:
        """Set the metric of the breaker's state."""
        self._state.set(state)

    def forget(self) -> None:
        """Remove all series of the version."""
        for name, values in (
            ("inference_total", STATUSES),
            ("inference_refused_total", tuple(FailureReason)),
            ("model_worker_restarts_total", _RESTARTS),
        ):
            for value in values:
                metrics.remove_labels(name, *self._labels, str(value))
        for name in ("inference_latency_seconds", "model_breaker_state"):
            metrics.remove_labels(name, *self._labels)
        self._exemplars.forget(self._version)

    def _observe(self, seconds: float, trace_id: str) -> None:
        self._seconds.observe(seconds, self._sampler.of(seconds, trace_id))
        if seconds >= SLOW_SECONDS:
            self._exemplars.record(self._version, "slow", trace_id, seconds)
