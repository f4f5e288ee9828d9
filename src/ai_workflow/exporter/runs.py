"""What the events of a trace tell: its runs, each attempt one, and how their stages ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from ai_workflow.telemetry import journal
from ai_workflow.telemetry.journal import Event

# Flows that journal their runs; of others there is only what a recovery did about them.
JOURNALED = ("training", "scoring", "evaluation")


@dataclass(slots=True)
class Run:
    """One attempt at a run; moments are seconds since the epoch.

    Args:
        pipeline: whose run it is.
        flow: training, scoring, ...
        id: the flow run's id in Prefect; empty where it ran without.
        started: when it began.
        last: its last sign of life.
        writer: its last event; who wrote it is the run's process.
        ended: whether it is over: it said so, or was found gone.
        failed: whether it ended badly; one that was cancelled neither failed nor completed.
        completed: whether it ended well.
        seconds: how long it took, where it said so.
        stage: the stage at work, since `stage_started`.
        failed_stage: the last stage that failed, or was at work when the run was killed.
    """

    pipeline: str
    flow: str
    id: str
    started: float
    last: float
    writer: Event
    ended: bool = False
    failed: bool = False
    completed: bool = False
    seconds: float | None = None
    stage: str | None = None
    stage_started: float = 0.0
    failed_stage: str = ""


@dataclass(frozen=True, slots=True)
class StageEnd:
    """How a stage ended, and when."""

    pipeline: str
    stage: str
    moment: float
    status: str
    seconds: float | None = None
    rows: float | None = None

    @classmethod
    def of(cls, event: Event) -> StageEnd:
        """Return what an event tells of its stage's end."""
        return cls(event.pipeline, event.stage, moment(event), event.status, event.seconds, event.numbers.get("rows"))


def moment(event: Event) -> float:
    """Return when an event happened, in seconds since the epoch."""
    return datetime.fromisoformat(event.time).timestamp()


def fold(events: Iterable[Event]) -> tuple[list[Run], list[StageEnd]]:
    """Return the runs of a trace and the ends of their stages, from its events in order."""
    folding = _Folding()
    for event in events:
        folding.take(event)
    return folding.runs, folding.ends


def kill(run: Run) -> StageEnd | None:
    """Mark a run whose process is gone, and return how its stage ended, if it was in one."""
    run.ended = run.failed = True
    stage, run.stage = run.stage, None
    run.failed_stage = stage or run.failed_stage
    return StageEnd(run.pipeline, stage, run.last, journal.ERROR) if stage else None


class _Folding:
    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.ends: list[StageEnd] = []
        self._current: dict[tuple[str, str, str], Run] = {}

    def take(self, event: Event) -> None:
        key = (event.pipeline, event.flow, event.flow_run_id or "")
        run, is_recovery = self._current.get(key), event.stage == journal.RECOVERY
        if run is None and is_recovery and event.flow not in JOURNALED:
            return
        if run is None or (not is_recovery and (run.ended or _is_start(event))):
            if run is not None and not run.ended:
                # The next attempt has begun: this one was killed, and nobody said so.
                self._kill(run)
            # A power cut may take the event of its start.
            began = moment(event) - (event.seconds or 0)
            run = self._current[key] = Run(*key, began, moment(event), event)
            self.runs.append(run)
        if is_recovery:
            self._recover(run, event)
        else:
            run.last, run.writer = max(run.last, moment(event)), event
            self._work(run, event)

    def _work(self, run: Run, event: Event) -> None:
        if event.status == journal.STARTED:
            if event.stage != journal.RUN:
                run.stage, run.stage_started = event.stage, moment(event)
            return
        run.stage = None
        if event.stage != journal.RUN:
            self.ends.append(StageEnd.of(event))
            if event.status == journal.ERROR:
                run.failed_stage = event.stage
            return
        run.ended, run.seconds = True, event.seconds
        run.failed = event.status == journal.ERROR
        run.completed = event.status not in (journal.ERROR, journal.CANCELLED)

    def _recover(self, run: Run, event: Event) -> None:
        """Take what was done about a run that is gone; one that was cancelled did not fail."""
        if event.status == journal.SKIPPED and not run.ended:
            run.ended, run.stage = True, None
        elif not run.ended:
            self._kill(run)

    def _kill(self, run: Run) -> None:
        if end := kill(run):
            self.ends.append(end)


def _is_start(event: Event) -> bool:
    return event.stage == journal.RUN and event.status == journal.STARTED
