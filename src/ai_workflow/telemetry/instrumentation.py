"""Stage instrumentation: timing, metrics, journal and tracing around each stage execution.

Observers are notified of every execution, including CACHED and SKIPPED ones, so that the trace of a resumed run has no
gaps. An observer that fails is counted and logged; its error is never propagated.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ai_workflow.errors import RunCancelledError
from ai_workflow.secret_values import scrub
from ai_workflow.telemetry import journal, metrics, trace_context
from ai_workflow.telemetry.logs import logger

IN_CACHE_KEY = False
log = logger("observe")


@dataclass
class StageExecution:
    """Mutable record of one stage execution; the caller sets status, message and numbers before the context exits."""

    trace_id: str
    pipeline: str
    flow: str
    stage: str
    flow_run_id: str | None = None
    status: str = journal.SUCCESS
    message: str = ""
    numbers: dict[str, float] = field(default_factory=dict)
    model_version: str | None = None
    seconds: float = 0.0


class Observer(Protocol):
    """Receiver of stage lifecycle events; `name` is its metric label."""

    name: str

    def on_start(self, execution: StageExecution) -> None:
        """Handle the start of a stage."""

    def on_end(self, execution: StageExecution) -> None:
        """Handle the end of a stage."""


@contextlib.contextmanager
def stage(execution: StageExecution, observers: Sequence[Observer]) -> Iterator[StageExecution]:
    """Instrument a stage within the context; every log line in it has the trace and the stage.

    An exception sets the status to ERROR or CANCELLED and the message to its text, and is raised again.
    """
    with trace_context.bound(trace_id=execution.trace_id, stage=execution.stage), _span(execution):
        _notify(observers, "on_start", execution)
        start = time.perf_counter()
        try:
            yield execution
        except BaseException as error:
            execution.status = journal.CANCELLED if isinstance(error, RunCancelledError) else journal.ERROR
            execution.message = str(error) or type(error).__name__
            raise
        finally:
            execution.seconds = time.perf_counter() - start
            _notify(observers, "on_end", execution)


class JournalObserver:
    """Observer that writes the start and end of each stage to the journal."""

    name = "Journaling"

    def __init__(self, events: journal.Journal) -> None:
        self._journal = events

    def on_start(self, execution: StageExecution) -> None:
        """Write a STARTED event."""
        self._journal.write(self._event(execution, journal.STARTED, "", None))

    def on_end(self, execution: StageExecution) -> None:
        """Write an event with the final status."""
        self._journal.write(self._event(execution, execution.status, execution.message, round(execution.seconds, 3)))

    def _event(self, execution: StageExecution, status: str, message: str, seconds: float | None) -> journal.Event:
        return journal.Event(
            execution.trace_id,
            execution.pipeline,
            execution.flow,
            execution.stage,
            status,
            message,
            seconds=seconds,
            numbers=execution.numbers,
            model_version=execution.model_version,
            flow_run_id=execution.flow_run_id,
        )


class MetricsObserver:
    """Observer that updates the stage metrics."""

    name = "Counting"

    def on_start(self, execution: StageExecution) -> None:
        """Do nothing: stages are counted at their end."""

    def on_end(self, execution: StageExecution) -> None:
        """Record status, duration and rows."""
        metrics.get("pipeline_stage_total").labels(execution.pipeline, execution.stage, execution.status.lower()).inc()
        metrics.get("pipeline_stage_duration_seconds").labels(execution.pipeline, execution.stage).observe(
            execution.seconds
        )
        if "rows" in execution.numbers:
            metrics.get("pipeline_stage_rows").labels(execution.pipeline, execution.stage).set(
                execution.numbers["rows"]
            )


class DebugLogObserver:
    """Observer that logs duration, numbers and peak memory of each stage at level DEBUG."""

    name = "Debugging"

    def on_start(self, execution: StageExecution) -> None:
        """Do nothing: the journal has the start."""

    def on_end(self, execution: StageExecution) -> None:
        """Log status, duration, numbers and memory."""
        if not log.isEnabledFor(logging.DEBUG):
            return
        peaks = [
            resource.getrusage(process).ru_maxrss // 1024
            for process in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        ]
        numbers = ", ".join(f"{name} {value:g}" for name, value in sorted(execution.numbers.items())) or "no numbers"
        logger(execution.stage).debug(
            "%s in %.3f s: %s; memory peak of the process so far %d MiB, of its largest child %d MiB",
            execution.status, execution.seconds, numbers, *peaks,
        )  # fmt: skip


def _notify(observers: Sequence[Observer], event: str, execution: StageExecution) -> None:
    for observer in observers:
        try:
            getattr(observer, event)(execution)
        except Exception as error:
            metrics.get("observer_failures_total").labels(observer.name).inc()
            log.warning("observer %s failed: %s. The stage continues", observer.name, error)


@contextlib.contextmanager
def _span(execution: StageExecution) -> Iterator[None]:
    """Open an OpenTelemetry span with the trace ID of the execution; without a configured SDK this does nothing."""
    from opentelemetry import trace as otel

    trace_id = int(execution.trace_id, 16)
    current = otel.get_current_span().get_span_context()
    context: Any = None
    if current.trace_id != trace_id:
        parent = otel.SpanContext(trace_id, trace_id & (2**64 - 1) or 1, is_remote=True, trace_flags=otel.TraceFlags(1))
        context = otel.set_span_in_context(otel.NonRecordingSpan(parent))
    # An SDK would record the exception without masking secrets.
    tracer = otel.get_tracer("ai_workflow")
    with tracer.start_as_current_span(
        execution.stage, context, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield
        finally:
            if execution.status == journal.ERROR:
                span.set_status(otel.Status(otel.StatusCode.ERROR, scrub(execution.message)))
            span.set_attributes({"stage": execution.stage, "pipeline": execution.pipeline, "status": execution.status})
