"""Runs and their stages, from the journal: read once, and looked at again only where something happened."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from ai_workflow.errors import StoreError
from ai_workflow.exporter import journal_folders, liveness
from ai_workflow.exporter.failures import Failures
from ai_workflow.exporter.runs import Run, StageEnd, fold, kill
from ai_workflow.exporter.samples import Latest, Sample
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal
from ai_workflow.telemetry.journal import Event, Journal

TRAINING, TRAINER = "training", "trainer"
# Clocks of machines differ by seconds.
CLOCK_TOLERANCE_SECONDS = 60
_START = "pipeline_last_start_timestamp_seconds"
_FAILED, _SUCCESS = "pipeline_stage_last_failed", "pipeline_stage_last_success_timestamp_seconds"
_DURATION = "pipeline_stage_last_duration_seconds"
# Which ends of a stage tell what; how long a look into the cache took, nobody wants to know.
_TOLD_BY = {
    _FAILED: (journal.SUCCESS, journal.RESUMED, journal.CACHED, journal.ERROR),
    _SUCCESS: (journal.SUCCESS, journal.RESUMED, journal.CACHED),
    _DURATION: (journal.SUCCESS, journal.RESUMED),
}
_OF_RUNS = (journal.RUN, journal.RECOVERY)


@dataclass(slots=True)
class _Trace:
    """A trace that goes on: its events by their files, None for a damaged one, and its runs that have not ended."""

    events: dict[str, Event | None] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)


class JournalSource:
    """Keeps what the journal of a store tells.

    Args:
        store: the store.
        failures: where damaged files are counted.
    """

    name = "journal"

    def __init__(self, store: Store, failures: Failures) -> None:
        self._store, self._book, self._failures = store, Journal(store), failures
        self._folders = journal_folders.folders(store)
        self._latest = Latest()
        self._infos: dict[tuple[str, ...], tuple[float, tuple[str, str]]] = {}
        self._open: dict[str, _Trace] = {}

    def look(self) -> list[Sample]:
        """Return what the journal tells now."""
        for trace_id, names in self._folders.changed(list(self._open)):
            self._take(trace_id, names)
        for trace_id in list(self._open):
            self._judge(trace_id)
        infos = [Sample("pipeline_run_info", (*which, *about), 1.0) for which, (_, about) in self._infos.items()]
        return [*self._latest.samples(), *infos, *self._active()]

    def flows(self) -> list[tuple[str, str]]:
        """Return pipeline and flow of all runs there were."""
        return [(pipeline, flow) for pipeline, flow in self._latest.labels(_START)]

    def at_work(self) -> dict[str, float]:
        """Return the pipelines in whose training the trainer is at work, each with when it began."""
        runs = [run for run in self._live() if run.flow == TRAINING and run.stage == TRAINER]
        return {run.pipeline: run.stage_started for run in sorted(runs, key=lambda run: run.stage_started)}

    def _take(self, trace_id: str, names: list[str]) -> None:
        trace = self._open.pop(trace_id, None) or _Trace()
        if not trace.events and _is_plain(names) and self._took_plain(trace_id, names, trace):
            return
        self._read(trace_id, [name for name in names if name not in trace.events], trace.events)
        runs, ends = fold(event for name in names if (event := trace.events.get(name)))
        self._note(runs, ends)
        trace.runs = [run for run in runs if not run.ended]
        if trace.runs:
            self._open[trace_id] = trace

    def _took_plain(self, trace_id: str, names: list[str], trace: _Trace) -> bool:
        """Take a trace whose one run has ended; of its stages only what is later than what is known is read."""
        self._read(trace_id, [name for name in names if journal.parse_name(name)[0] in _OF_RUNS], trace.events)
        runs, _ = fold(event for event in trace.events.values() if event)
        if len(runs) != 1 or not runs[0].ended:
            # Damaged, or it tells of a run within another one.
            return False
        runs[0].failed_stage = next(
            (
                stage
                for stage, status in map(journal.parse_name, reversed(names))
                if status == journal.ERROR and stage != journal.RUN
            ),
            "",
        )
        wanted = self._wanted(names, runs[0])
        self._read(trace_id, wanted, trace.events)
        self._note(runs, [StageEnd.of(event) for name in wanted if (event := trace.events.get(name))])
        return True

    def _wanted(self, names: list[str], run: Run) -> list[str]:
        """Return the last files of each stage that tell something, unless what they tell is known of a later time."""
        last: dict[tuple[str, str], str] = {}
        for name in names:
            stage, status = journal.parse_name(name)
            if stage not in _OF_RUNS and status not in (journal.STARTED, journal.SKIPPED):
                last |= {(stage, metric): name for metric, told_by in _TOLD_BY.items() if status in told_by}
        wanted = {
            name
            for (stage, metric), name in last.items()
            if self._latest.moment(metric, (run.pipeline, stage)) < run.last
        }
        return [name for name in names if name in wanted]

    def _read(self, trace_id: str, names: list[str], into: dict[str, Event | None]) -> None:
        for name in names:
            try:
                into[name] = _not_from_the_future(self._book.event(trace_id, name))
            except (StoreError, OSError) as error:
                path = f"{journal.FOLDER}/{trace_id}/{name}"
                if not self._store.exists(path):
                    continue
                self._failures.note(self.name, error)
                if isinstance(error, StoreError) and not isinstance(error.__cause__, OSError):
                    into[name] = None
                else:
                    self._folders.again(trace_id)

    def _judge(self, trace_id: str) -> None:
        """Look whether the runs of a trace that goes on still have a process."""
        trace = self._open[trace_id]
        for run in trace.runs:
            is_gone = liveness.gone(self._store, run)
            if is_gone is None:
                # Nobody knows from here; but where the next run has begun, this one is over.
                is_gone = self._latest.moment(_START, (run.pipeline, run.flow)) > run.started
            if is_gone:
                end = kill(run)
                self._note([run], [end] if end else [])
        trace.runs = [run for run in trace.runs if not run.ended]
        if not trace.runs:
            # What is written later, by a recovery or a new attempt, is a change of the folder.
            del self._open[trace_id]

    def _note(self, runs: list[Run], ends: list[StageEnd]) -> None:
        for run in runs:
            self._note_run(run)
        for end in ends:
            self._note_end(end)

    def _note_run(self, run: Run) -> None:
        note, labels = self._latest.note, (run.pipeline, run.flow)
        note(_START, labels, run.started)
        self._note_info(run, "last_started", run.started)
        if not run.ended:
            return
        self._note_info(run, "last_ended", run.last)
        note("pipeline_last_end_timestamp_seconds", labels, run.last)
        note("pipeline_last_run_failed", labels, run.last, float(run.failed))
        seconds = run.last - run.started if run.seconds is None else run.seconds
        note("pipeline_last_run_duration_seconds", labels, run.last, seconds)
        if run.completed:
            note("pipeline_last_success_timestamp_seconds", labels, run.last)
        if run.flow == TRAINING:
            note("training_last_end_timestamp_seconds", (run.pipeline,), run.last)
            note("training_last_run_failed", (run.pipeline,), run.last, float(run.failed))

    def _note_info(self, run: Run, which: str, moment: float) -> None:
        key = (run.pipeline, run.flow, which)
        if moment >= self._infos.get(key, (float("-inf"),))[0]:
            self._infos[key] = (moment, (run.stage or (run.failed_stage if run.failed else ""), run.writer.trace_id))

    def _note_end(self, end: StageEnd) -> None:
        note, labels = self._latest.note, (end.pipeline, end.stage)
        values = {_FAILED: float(end.status == journal.ERROR), _SUCCESS: end.moment, _DURATION: end.seconds}
        for metric, value in values.items():
            if end.status in _TOLD_BY[metric] and value is not None:
                note(metric, labels, end.moment, value)
        if end.status in _TOLD_BY[_SUCCESS] and end.rows is not None:
            note("pipeline_stage_last_rows", labels, end.moment, end.rows)

    def _live(self) -> list[Run]:
        return [run for trace in self._open.values() for run in trace.runs]

    def _active(self) -> list[Sample]:
        active, at_work = {(run.pipeline, run.flow) for run in self._live()}, self.at_work()
        found = [Sample("pipeline_run_active", labels, float(labels in active)) for labels in self.flows()]
        pipelines = [pipeline for pipeline, flow in self.flows() if flow == TRAINING]
        return found + [Sample("training_run_active", (name,), float(name in at_work)) for name in pipelines]


def _not_from_the_future(event: Event) -> Event:
    """Return an event at the present time if its clock was ahead: else no later run would ever be the last one."""
    now = datetime.now(UTC)
    if datetime.fromisoformat(event.time) <= now + timedelta(seconds=CLOCK_TOLERANCE_SECONDS):
        return event
    return replace(event, time=now.isoformat(timespec="milliseconds"))


def _is_plain(names: list[str]) -> bool:
    """Say whether a trace is of one run that began, ended, and was left alone: as nearly all are."""
    parts = list(map(journal.parse_name, names))
    of_runs = [part for part in parts if part[0] in _OF_RUNS]
    began, ended = parts[:1], parts[-1:]
    is_whole = began == [(journal.RUN, journal.STARTED)] and ended[0][0] == journal.RUN
    return is_whole and of_runs == began + ended and ended[0][1] != journal.STARTED
