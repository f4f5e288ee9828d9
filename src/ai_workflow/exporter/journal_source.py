"""Metrics of runs and stages from the journal; only changed folders are read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from ai_workflow.errors import StoreError
from ai_workflow.exporter import journal_folders, liveness
from ai_workflow.exporter.failures import Failures
from ai_workflow.exporter.runs import Run, StageEnd, fold, mark_killed
from ai_workflow.exporter.samples import LatestSamples, Sample
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal
from ai_workflow.telemetry.journal import Event, Journal

TRAINING, TRAINER = "training", "trainer"
# Tolerated difference between the clocks of machines.
CLOCK_TOLERANCE_SECONDS = 60
_START = "pipeline_last_start_timestamp_seconds"
_FAILED, _SUCCESS = "pipeline_stage_last_failed", "pipeline_stage_last_success_timestamp_seconds"
_DURATION = "pipeline_stage_last_duration_seconds"
# The stage outcomes that update a metric. Durations of cache hits are ignored.
_UPDATED_BY = {
    _FAILED: (journal.SUCCESS, journal.RESUMED, journal.CACHED, journal.ERROR),
    _SUCCESS: (journal.SUCCESS, journal.RESUMED, journal.CACHED),
    _DURATION: (journal.SUCCESS, journal.RESUMED),
}
_RUN_EVENTS = (journal.RUN, journal.RECOVERY)


@dataclass(slots=True)
class _Trace:
    """A trace with unfinished runs: these runs, and its events by file name (None for a damaged file)."""

    events: dict[str, Event | None] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)


class JournalSource:
    """State of all runs in the journal of a store.

    Args:
        store: the store.
        failures: counter of damaged files.
    """

    name = "journal"

    def __init__(self, store: Store, failures: Failures) -> None:
        self._store, self._journal, self._failures = store, Journal(store), failures
        self._folders = journal_folders.folders(store)
        self._latest = LatestSamples()
        self._infos: dict[tuple[str, ...], tuple[float, tuple[str, str]]] = {}
        self._open: dict[str, _Trace] = {}

    def collect(self) -> list[Sample]:
        """Return the samples of all runs."""
        for trace_id, names in self._folders.changed(list(self._open)):
            self._update(trace_id, names)
        for trace_id in list(self._open):
            self._end_dead_runs(trace_id)
        infos = [Sample("pipeline_run_info", (*key, *labels), 1.0) for key, (_, labels) in self._infos.items()]
        return [*self._latest.samples(), *infos, *self._active()]

    def flows(self) -> list[tuple[str, str]]:
        """Return pipeline and flow of all known runs."""
        return [(pipeline, flow) for pipeline, flow in self._latest.labels(_START)]

    def running_trainings(self) -> dict[str, float]:
        """Return the start time of the running trainer, by pipeline."""
        runs = [run for run in self._live() if run.flow == TRAINING and run.stage == TRAINER]
        return {run.pipeline: run.stage_started for run in sorted(runs, key=lambda run: run.stage_started)}

    def _update(self, trace_id: str, names: list[str]) -> None:
        trace = self._open.pop(trace_id, None) or _Trace()
        if not trace.events and _is_single_run(names) and self._update_single_run(trace_id, names, trace):
            return
        self._read(trace_id, [name for name in names if name not in trace.events], trace.events)
        runs, ends = fold(event for name in names if (event := trace.events.get(name)))
        self._record(runs, ends)
        trace.runs = [run for run in runs if not run.ended]
        if trace.runs:
            self._open[trace_id] = trace

    def _update_single_run(self, trace_id: str, names: list[str], trace: _Trace) -> bool:
        """Update from a trace with one ended run; only stage events that change a metric are read."""
        self._read(trace_id, [name for name in names if journal.parse_name(name)[0] in _RUN_EVENTS], trace.events)
        runs, _ = fold(event for event in trace.events.values() if event)
        if len(runs) != 1 or not runs[0].ended:
            # The trace is damaged, or has nested runs.
            return False
        runs[0].failed_stage = next(
            (
                stage
                for stage, status in map(journal.parse_name, reversed(names))
                if status == journal.ERROR and stage != journal.RUN
            ),
            "",
        )
        stage_names = self._relevant_stage_events(names, runs[0])
        self._read(trace_id, stage_names, trace.events)
        self._record(runs, [StageEnd.from_event(event) for name in stage_names if (event := trace.events.get(name))])
        return True

    def _relevant_stage_events(self, names: list[str], run: Run) -> list[str]:
        """Return the last event of each stage for each metric, unless the metric has a later value."""
        last: dict[tuple[str, str], str] = {}
        for name in names:
            stage, status = journal.parse_name(name)
            if stage not in _RUN_EVENTS and status not in (journal.STARTED, journal.SKIPPED):
                last |= {(stage, metric): name for metric, statuses in _UPDATED_BY.items() if status in statuses}
        relevant = {
            name
            for (stage, metric), name in last.items()
            if self._latest.timestamp(metric, (run.pipeline, stage)) < run.last
        }
        return [name for name in names if name in relevant]

    def _read(self, trace_id: str, names: list[str], into: dict[str, Event | None]) -> None:
        for name in names:
            try:
                into[name] = _without_clock_skew(self._journal.event(trace_id, name))
            except (StoreError, OSError) as error:
                path = f"{journal.FOLDER}/{trace_id}/{name}"
                if not self._store.exists(path):
                    continue
                self._failures.record(self.name, error)
                if isinstance(error, StoreError) and not isinstance(error.__cause__, OSError):
                    into[name] = None
                else:
                    self._folders.mark_changed(trace_id)

    def _end_dead_runs(self, trace_id: str) -> None:
        """Mark the runs of a trace as killed if their process is gone."""
        trace = self._open[trace_id]
        for run in trace.runs:
            is_gone = liveness.is_gone(self._store, run)
            if is_gone is None:
                # Unknown on another host, but a run is over once the next one has started.
                is_gone = self._latest.timestamp(_START, (run.pipeline, run.flow)) > run.started
            if is_gone:
                end = mark_killed(run)
                self._record([run], [end] if end else [])
        trace.runs = [run for run in trace.runs if not run.ended]
        if not trace.runs:
            # Later events of a recovery or a retry change the folder.
            del self._open[trace_id]

    def _record(self, runs: list[Run], ends: list[StageEnd]) -> None:
        for run in runs:
            self._record_run(run)
        for end in ends:
            self._record_stage(end)

    def _record_run(self, run: Run) -> None:
        record, labels = self._latest.record, (run.pipeline, run.flow)
        record(_START, labels, run.started)
        self._record_info(run, "last_started", run.started)
        if not run.ended:
            return
        self._record_info(run, "last_ended", run.last)
        record("pipeline_last_end_timestamp_seconds", labels, run.last)
        record("pipeline_last_run_failed", labels, run.last, float(run.failed))
        seconds = run.last - run.started if run.seconds is None else run.seconds
        record("pipeline_last_run_duration_seconds", labels, run.last, seconds)
        if run.completed:
            record("pipeline_last_success_timestamp_seconds", labels, run.last)
        if run.flow == TRAINING:
            record("training_last_end_timestamp_seconds", (run.pipeline,), run.last)
            record("training_last_run_failed", (run.pipeline,), run.last, float(run.failed))

    def _record_info(self, run: Run, kind: str, timestamp: float) -> None:
        key = (run.pipeline, run.flow, kind)
        if timestamp >= self._infos.get(key, (float("-inf"),))[0]:
            stage = run.stage or (run.failed_stage if run.failed else "")
            self._infos[key] = (timestamp, (stage, run.last_event.trace_id))

    def _record_stage(self, end: StageEnd) -> None:
        record, labels = self._latest.record, (end.pipeline, end.stage)
        values = {_FAILED: float(end.status == journal.ERROR), _SUCCESS: end.timestamp, _DURATION: end.seconds}
        for metric, value in values.items():
            if end.status in _UPDATED_BY[metric] and value is not None:
                record(metric, labels, end.timestamp, value)
        if end.status in _UPDATED_BY[_SUCCESS] and end.rows is not None:
            record("pipeline_stage_last_rows", labels, end.timestamp, end.rows)

    def _live(self) -> list[Run]:
        return [run for trace in self._open.values() for run in trace.runs]

    def _active(self) -> list[Sample]:
        active = {(run.pipeline, run.flow) for run in self._live()}
        training = self.running_trainings()
        samples = [Sample("pipeline_run_active", labels, float(labels in active)) for labels in self.flows()]
        pipelines = [pipeline for pipeline, flow in self.flows() if flow == TRAINING]
        return samples + [Sample("training_run_active", (name,), float(name in training)) for name in pipelines]


def _without_clock_skew(event: Event) -> Event:
    """Return the event with the current time if it is in the future, so that later runs replace it."""
    now = datetime.now(UTC)
    if datetime.fromisoformat(event.time) <= now + timedelta(seconds=CLOCK_TOLERANCE_SECONDS):
        return event
    return replace(event, time=now.isoformat(timespec="milliseconds"))


def _is_single_run(names: list[str]) -> bool:
    """Return whether a trace has exactly one run, with start and end, and no recovery."""
    parts = list(map(journal.parse_name, names))
    run_events = [part for part in parts if part[0] in _RUN_EVENTS]
    first, last = parts[:1], parts[-1:]
    is_complete = first == [(journal.RUN, journal.STARTED)] and last[0][0] == journal.RUN
    return is_complete and run_events == first + last and last[0][1] != journal.STARTED
