"""The one seam where stages are watched: each visit is timed, counted, recorded, traced; none of it can break the work.

An observer is told when a visit begins and when it ends, replayed ones (CACHED, SKIPPED) included, so that the trace of
a resumed run has no holes. One that fails is counted and logged, never raised.
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
    """One stage being worked on; whoever does the work sets status, message and numbers before it ends."""

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
    """Receiver of stage lifecycle events; `name` is its label in metrics."""

    name: str

    def on_start(self, visit: StageExecution) -> None:
        """Hear that a visit begins."""

    def on_end(self, visit: StageExecution) -> None:
        """Hear how a visit ended."""


@contextlib.contextmanager
def stage(visit: StageExecution, observers: Sequence[Observer]) -> Iterator[StageExecution]:
    """Watch the work of the block; its trace and stage are on every log line within.

    An exception ends the visit as ERROR, or CANCELLED, with its text as message, and goes on to the caller.
    """
    with trace_context.bound(trace_id=visit.trace_id, stage=visit.stage), _span(visit):
        _notify(observers, "on_start", visit)
        start = time.perf_counter()
        try:
            yield visit
        except BaseException as error:
            visit.status = journal.CANCELLED if isinstance(error, RunCancelledError) else journal.ERROR
            visit.message = str(error) or type(error).__name__
            raise
        finally:
            visit.seconds = time.perf_counter() - start
            _notify(observers, "on_end", visit)


class JournalObserver:
    """Writes each visit into the journal."""

    name = "Journaling"

    def __init__(self, book: journal.Journal) -> None:
        self._book = book

    def on_start(self, visit: StageExecution) -> None:
        """Write STARTED."""
        self._book.write(self._event(visit, journal.STARTED, "", None))

    def on_end(self, visit: StageExecution) -> None:
        """Write how it ended."""
        self._book.write(self._event(visit, visit.status, visit.message, round(visit.seconds, 3)))

    def _event(self, visit: StageExecution, status: str, message: str, seconds: float | None) -> journal.Event:
        return journal.Event(
            visit.trace_id,
            visit.pipeline,
            visit.flow,
            visit.stage,
            status,
            message,
            seconds=seconds,
            numbers=visit.numbers,
            model_version=visit.model_version,
            flow_run_id=visit.flow_run_id,
        )


class MetricsObserver:
    """Keeps the metrics of stages."""

    name = "Counting"

    def on_start(self, visit: StageExecution) -> None:
        """Nothing is counted before the end."""

    def on_end(self, visit: StageExecution) -> None:
        """Count the visit, its time and its rows."""
        metrics.get("pipeline_stage_total").labels(visit.pipeline, visit.stage, visit.status.lower()).inc()
        metrics.get("pipeline_stage_duration_seconds").labels(visit.pipeline, visit.stage).observe(visit.seconds)
        if "rows" in visit.numbers:
            metrics.get("pipeline_stage_rows").labels(visit.pipeline, visit.stage).set(visit.numbers["rows"])


class DebugLogObserver:
    """Logs at level DEBUG what a visit took, and the most memory that the process has had so far."""

    name = "Debugging"

    def on_start(self, visit: StageExecution) -> None:
        """Log nothing: the journal has it."""

    def on_end(self, visit: StageExecution) -> None:
        """Log status, time, numbers and memory."""
        if not log.isEnabledFor(logging.DEBUG):
            return
        peaks = [resource.getrusage(who).ru_maxrss // 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        numbers = ", ".join(f"{name} {value:g}" for name, value in sorted(visit.numbers.items())) or "no numbers"
        logger(visit.stage).debug(
            "%s in %.3f s: %s; memory peak of the process so far %d MiB, of its largest child %d MiB",
            visit.status, visit.seconds, numbers, *peaks,
        )  # fmt: skip


def _notify(observers: Sequence[Observer], what: str, visit: StageExecution) -> None:
    for observer in observers:
        try:
            getattr(observer, what)(visit)
        except Exception as error:
            metrics.get("observer_failures_total").labels(observer.name).inc()
            log.warning("%s failed (%s); the work goes on", observer.name, error)


@contextlib.contextmanager
def _span(visit: StageExecution) -> Iterator[None]:
    """Open an OpenTelemetry span with the same trace id; without a configured SDK it is nothing."""
    from opentelemetry import trace as otel

    ours = int(visit.trace_id, 16)
    here = otel.get_current_span().get_span_context()
    context: Any = None
    if here.trace_id != ours:
        parent = otel.SpanContext(ours, ours & (2**64 - 1) or 1, is_remote=True, trace_flags=otel.TraceFlags(1))
        context = otel.set_span_in_context(otel.NonRecordingSpan(parent))
    # What an SDK records of an exception by itself is not masked.
    tracer = otel.get_tracer("ai_workflow")
    with tracer.start_as_current_span(
        visit.stage, context, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield
        finally:
            if visit.status == journal.ERROR:
                span.set_status(otel.Status(otel.StatusCode.ERROR, scrub(visit.message)))
            span.set_attributes({"stage": visit.stage, "pipeline": visit.pipeline, "status": visit.status})
