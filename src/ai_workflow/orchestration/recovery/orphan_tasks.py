"""Ends the task runs that are still RUNNING though the process that ran them is gone, and their flow run over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, State, StateType, TaskRun
from prefect.client.schemas.responses import OrchestrationResult, SetStateStatus
from prefect.states import Crashed

from ai_workflow.evaluation.markdown import inert
from ai_workflow.orchestration.recovery.run_lookup import FLOWS, Found, FoundRuns, pages
from ai_workflow.telemetry import logs

log = logs.logger("recovery")


async def end(runs: FoundRuns) -> None:
    """Mark the orphans of all runs that ended a while ago: what a task says of itself arrives late."""
    ended = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(TERMINAL_STATES))),
        end_time=FlowRunFilterEndTime(before_=datetime.now(UTC) - timedelta(seconds=runs.options.settle_seconds)),
    )
    for orphan in await _orphans(runs, ended):
        if await _crash(runs, orphan):
            log.error("task run %s of a run that is over was still running: marked Crashed", orphan.name)
            runs.done.append({"flow": "", "run": inert(orphan.name), "trace": "", "done": "task run marked Crashed"})


async def end_of(runs: FoundRuns, found: Found) -> int:
    """Mark the orphans of one run, whose process is known to be gone; return how many there were."""
    orphans = await _orphans(runs, FlowRunFilter(id=FlowRunFilterId(any_=[found.run.id])))
    return sum([await _crash(runs, orphan) for orphan in orphans])


async def _orphans(runs: FoundRuns, of: FlowRunFilter) -> list[TaskRun]:
    unfinished: Any = [StateType.RUNNING, StateType.PENDING]
    wanted = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=unfinished)))
    ours = FlowFilter(name=FlowFilterName(any_=list(FLOWS)))
    return await pages(
        lambda offset: runs.client.read_task_runs(
            flow_filter=ours, flow_run_filter=of, task_run_filter=wanted, limit=200, offset=offset
        )
    )


async def _crash(runs: FoundRuns, orphan: TaskRun) -> bool:
    state: State[Any] = Crashed(message="its process is gone")
    answer: OrchestrationResult[Any] = await runs.client.set_task_run_state(orphan.id, state)
    return answer.status == SetStateStatus.ACCEPT
