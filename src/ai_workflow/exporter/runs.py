"""Runs and stage results, reconstructed from the journal events of a trace."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from ai_workflow.telemetry import journal
from ai_workflow.telemetry.journal import Event

# Flows that write their runs to the journal. Other flows have recovery events only.
JOURNALED = ("training", "scoring", "evaluation")


@dataclass(slots=True)
class Run:
    """One attempt of a run; timestamps are seconds since the epoch.

    Args:
        pipeline: name of the pipeline.
        flow: training, scoring, ...
        id: flow run id in Prefect; empty without Prefect.
        started: start time.
        last: time of the last event.
        last_event: last event, written by the process of the run.
        ended: whether the run ended or was killed.
        failed: whether the run failed; a cancelled run neither failed nor completed.
        completed: whether the run succeeded.
        seconds: recorded duration, or None.
        stage: running stage since `stage_started`, or None.
        failed_stage: last stage that failed, or was running when the run was killed.
    """

    pipeline: str
    flow: str
    id: str
    started: float
    last: float
    last_event: Event
    ended: bool = False
    failed: bool = False
    completed: bool = False
    seconds: float | None = None
    stage: str | None = None
    stage_started: float = 0.0
    failed_stage: str = ""


@dataclass(frozen=True, slots=True)
class StageEnd:
    """Result of a stage."""

    pipeline: str
    stage: str
    timestamp: float
    status: str
    seconds: float | None = None
    rows: float | None = None

    @classmethod
    def from_event(cls, event: Event) -> StageEnd:
        """Return the stage result that an event records."""
        return cls(
            event.pipeline, event.stage, timestamp(event), event.status, event.seconds, event.numbers.get("rows")
        )


def timestamp(event: Event) -> float:
    """Return the time of an event in seconds since the epoch."""
    return datetime.fromisoformat(event.time).timestamp()


def fold(events: Iterable[Event]) -> tuple[list[Run], list[StageEnd]]:
    """Return the runs of a trace and the results of their stages, from its ordered events."""
    folder = _Folder()
    for event in events:
        folder.add(event)
    return folder.runs, folder.ends


def mark_killed(run: Run) -> StageEnd | None:
    """Mark a run as killed, and return the result of its running stage, if any."""
    run.ended = run.failed = True
    stage, run.stage = run.stage, None
    run.failed_stage = stage or run.failed_stage
    return StageEnd(run.pipeline, stage, run.last, journal.ERROR) if stage else None


class _Folder:
    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.ends: list[StageEnd] = []
        self._current: dict[tuple[str, str, str], Run] = {}

    def add(self, event: Event) -> None:
        key = (event.pipeline, event.flow, event.flow_run_id or "")
        run, is_recovery = self._current.get(key), event.stage == journal.RECOVERY
        if run is None and is_recovery and event.flow not in JOURNALED:
            return
        if run is None or (not is_recovery and (run.ended or _is_start(event))):
            if run is not None and not run.ended:
                # The next attempt started, so this one was killed without an event.
                self._kill(run)
            # The start event may be lost in a power failure.
            started = timestamp(event) - (event.seconds or 0)
            run = self._current[key] = Run(*key, started, timestamp(event), event)
            self.runs.append(run)
        if is_recovery:
            self._recover(run, event)
        else:
            run.last, run.last_event = max(run.last, timestamp(event)), event
            self._apply(run, event)

    def _apply(self, run: Run, event: Event) -> None:
        if event.status == journal.STARTED:
            if event.stage != journal.RUN:
                run.stage, run.stage_started = event.stage, timestamp(event)
            return
        run.stage = None
        if event.stage != journal.RUN:
            self.ends.append(StageEnd.from_event(event))
            if event.status == journal.ERROR:
                run.failed_stage = event.stage
            return
        run.ended, run.seconds = True, event.seconds
        run.failed = event.status == journal.ERROR
        run.completed = event.status not in (journal.ERROR, journal.CANCELLED)

    def _recover(self, run: Run, event: Event) -> None:
        """Apply a recovery event; a cancelled run did not fail."""
        if event.status == journal.SKIPPED and not run.ended:
            run.ended, run.stage = True, None
        elif not run.ended:
            self._kill(run)

    def _kill(self, run: Run) -> None:
        if end := mark_killed(run):
            self.ends.append(end)


def _is_start(event: Event) -> bool:
    return event.stage == journal.RUN and event.status == journal.STARTED
