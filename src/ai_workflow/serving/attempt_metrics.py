"""Metrics of one version: each request that was put to it counts once, by what this version did with it."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Any

from ai_workflow.serving.exemplars import Exemplars
from ai_workflow.serving.routing.circuit_breaker import BreakerState
from ai_workflow.telemetry import metrics

# A trace id goes with every latency that long, and with another one once in an interval: each costs microseconds.
# A request that long is an example of a slow one, too.
SLOW_SECONDS, EXEMPLAR_SECONDS = 0.1, 1.0


class FailureReason(StrEnum):
    """Why a version gave no answer."""

    TIMEOUT = "timeout"
    ERROR = "error"
    CRASHED = "crashed"
    HUNG = "hung"
    BAD_OUTPUT = "bad_output"
    BUSY = "busy"
    UNFIT = "unfit"
    RETIRED = "retired"
    # It has only just come back from a fault, and gets one request at a time.
    RECOVERING = "recovering"
    # The service itself stood still: the version is not to blame.
    STALLED = "stalled"
    # The deadline that the caller set had passed before an attempt counts as late: the version is not to blame.
    EXPIRED = "expired"

    @property
    def is_late(self) -> bool:
        """Whether the time was over."""
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
    """The trace ids of a histogram: of every slow request, and of one other in an interval."""

    def __init__(self) -> None:
        self._next = 0.0

    def of(self, seconds: float, trace_id: str) -> dict[str, str] | None:
        """Return the exemplar of an observation, or None where it needs none."""
        now = time.monotonic()
        if seconds < SLOW_SECONDS and now < self._next:
            return None
        self._next = now + EXEMPLAR_SECONDS
        return {"trace_id": trace_id}


class AttemptMetrics:
    """The metrics of one version.

    Args:
        pipeline: whose version it is.
        version: its name.
        exemplars: where the traces of its failures are shown.
    """

    def __init__(self, pipeline: str, version: str, exemplars: Exemplars) -> None:
        self._labels, self._version, self._exemplars = (pipeline, version), version, exemplars
        self._sampler = ExemplarSampler()
        self.initialize()

    def initialize(self) -> None:
        """Show all series at 0: Prometheus sees no rise in a counter that begins above 0."""
        labels, get = self._labels, metrics.get
        self._total: dict[str, Any] = {status: get("inference_total").labels(*labels, status) for status in STATUSES}
        refused = get("inference_refused_total")
        self._refused = {outcome: refused.labels(*labels, outcome.value) for outcome in FailureReason}
        restarts = get("model_worker_restarts_total")
        self._restarts = {outcome: restarts.labels(*labels, outcome.value) for outcome in _RESTARTS}
        self._seconds = get("inference_latency_seconds").labels(*labels)
        self._state = get("model_breaker_state").labels(*labels)
        self._state.set(BreakerState.CLOSED)

    def record_success(self, seconds: float, trace_id: str, *, is_fallback: bool) -> None:
        """Count an answer, and how long this version took for it."""
        self._total["fallback" if is_fallback else "success"].inc()
        self._observe(seconds, trace_id)

    def record_failure(self, outcome: FailureReason, seconds: float, trace_id: str) -> None:
        """Count a request that this version did not answer, and how long it was waited for."""
        status = _STATUS_OF.get(outcome)
        if status is None:
            self._refused[outcome].inc()
            return
        self._total[status].inc()
        self._exemplars.record(self._version, status, trace_id)
        self._observe(seconds, trace_id)

    def record_skipped(self, outcome: FailureReason, trace_id: str) -> None:
        """Count a request that this version was not sent, as it would not have answered."""
        self._refused[outcome].inc()
        if outcome is FailureReason.BUSY:
            self._total["rejected"].inc()
            self._exemplars.record(self._version, "rejected", trace_id)

    def record_process_loss(self, outcome: FailureReason, trace_id: str) -> None:
        """Count a process that ended, or was killed; the log has its restart under the trace."""
        if outcome in self._restarts:
            self._restarts[outcome].inc()
            self._exemplars.record(self._version, "crash", trace_id)

    def record_fault(self, outcome: FailureReason, trace_id: str) -> None:
        """Show the trace of a fault under which the log has the version's way back."""
        self._exemplars.record(self._version, _STATUS_OF.get(outcome, "error"), trace_id)

    def set_breaker_state(self, state: BreakerState) -> None:
        """Show the breaker's state."""
        self._state.set(state)

    def forget(self) -> None:
        """Remove all series of the version, as it serves no more."""
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
