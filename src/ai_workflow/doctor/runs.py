"""Checks of runs in the journal: the last failed ones, and pipelines without a recent success."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime

import httpx

from ai_workflow.config import loader
from ai_workflow.doctor import prefect_server
from ai_workflow.doctor.context import Context
from ai_workflow.doctor.finding import Finding
from ai_workflow.errors import AiWorkflowError
from ai_workflow.exporter.expected_source import ExpectedSource
from ai_workflow.exporter.failures import Failures
from ai_workflow.exporter.journal_source import JournalSource
from ai_workflow.exporter.prefect_schedules import PrefectSchedules
from ai_workflow.exporter.samples import Sample
from ai_workflow.telemetry import journal
from ai_workflow.telemetry.journal import Event, Journal

_STALLED = "PipelineStalled"
_Flow = tuple[str, str]
_Intervals = Mapping[_Flow, float]


class _Damages(Failures):
    """Damaged files of the journal, without a log line."""

    def __init__(self) -> None:
        super().__init__((JournalSource.name,))
        self.errors: list[Exception] = []

    def record(self, source: str, error: Exception) -> None:
        """Keep a failure."""
        self.errors.append(error)


def check_failed(context: Context) -> Iterator[Finding]:
    """Yield each flow of a pipeline whose last run failed, and damaged files of the journal."""
    store, damages = context.store, _Damages()
    samples = JournalSource(store, damages).collect()
    failed, ended = (
        _values(samples, "pipeline_last_run_failed"),
        _values(samples, "pipeline_last_end_timestamp_seconds"),
    )
    active = _values(samples, "pipeline_run_active")
    stages = {
        (pipeline, flow): (stage, trace_id)
        for pipeline, flow, kind, stage, trace_id in _labels(samples, "pipeline_run_info")
        if kind == "last_ended"
    }
    for key in sorted(flow for flow, value in failed.items() if value):
        stage, trace_id = stages[key]
        yield _failed(Journal(store), key, stage, trace_id, ended[key], is_active=bool(active.get(key)))
    for error in damages.errors:
        remedy = "Remove the file: the run is then shown without this event"
        yield Finding("warning", f"the journal has a damaged file: {error}", Journal(store).url, remedy)


def _failed(runs: Journal, key: _Flow, stage: str, trace_id: str, ended: float, *, is_active: bool) -> Finding:
    pipeline, flow = key
    events = runs.read(trace_id)
    failures = [event for event in events if event.status == journal.ERROR and event.stage != journal.RECOVERY]
    of_stage = [event for event in failures if event.stage == stage]
    reason = " ".join((of_stage or failures)[-1].message.split()) if failures else ""
    place = f" in {stage}" if stage else ""
    active = "; a later run is active" if is_active else ""
    return Finding(
        "warning" if is_active else "error",
        f"the last run of {pipeline}/{flow} failed{place}: {reason or 'its process was killed'}{active}",
        f"trace {trace_id[:8]}, {_version(events)}",
        f"ai-workflow trace {trace_id[:8]} shows its stages; fix the cause and run it again "
        '(docs/operating.md, "Failed runs")',
        _moment(ended),
    )


def _version(events: list[Event]) -> str:
    return next((event.model_version for event in reversed(events) if event.model_version), "no model version")


def check_stale(context: Context) -> Iterator[Finding]:
    """Yield the flows without a success in the expected interval, times `PipelineStalled` of the SLO file."""
    source = JournalSource(context.store, _Damages())
    samples = source.collect()
    scheduled: _Intervals = {}
    url = prefect_server.api_url(context)
    if url:
        try:
            scheduled = _scheduled(context, url)
        except (httpx.HTTPError, httpx.InvalidURL, AiWorkflowError, ValueError) as error:
            what = f"schedules of deployments are unknown, only monitoring.expected_hours is checked: {error}"
            yield Finding("unknown", what, prefect_server.shown(url), "Fix the finding of the Prefect server first")
    hours = context.loaded.settings.monitoring.expected_hours if context.loaded else {}
    expected = ExpectedSource(hours, source.flows, lambda: scheduled).collect()
    succeeded = _values(samples, "pipeline_last_success_timestamp_seconds")
    entry = context.spec.entry(_STALLED) if context.spec else None
    times = float(entry.parameters["times"]) if entry else 1.0
    for sample in expected:
        pipeline, flow = sample.labels
        yield from _stale(pipeline, flow, sample.value, times, succeeded.get((pipeline, flow)))


def _scheduled(context: Context, url: str) -> _Intervals:
    def pipeline_of(pipeline: str | None, environment: str | None) -> str:
        return loader.load(pipeline, environment=environment).settings.pipeline

    with closing(PrefectSchedules(url, context.env, pipeline_of, context.environment)) as schedules:
        return schedules.expected()


def _stale(pipeline: str, flow: str, interval: float, times: float, succeeded: float | None) -> Iterator[Finding]:
    where = f"{pipeline}/{flow}, expected every {interval / 3600:.3g} h"
    remedy = f"ai-workflow trace --list shows its runs; start one with ai-workflow run {flow}, and check its schedule"
    if succeeded is None:
        yield Finding("warning", f"{pipeline}/{flow} has never succeeded", where, remedy)
    elif (age := time.time() - succeeded) > times * interval:
        what = f"{pipeline}/{flow} is stale: its last success was {age / 3600:.1f} h ago"
        yield Finding("error", what, where, remedy, _moment(succeeded))


def _values(samples: list[Sample], name: str) -> dict[_Flow, float]:
    return {(sample.labels[0], sample.labels[1]): sample.value for sample in samples if sample.name == name}


def _labels(samples: list[Sample], name: str) -> list[tuple[str, ...]]:
    return [sample.labels for sample in samples if sample.name == name]


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
