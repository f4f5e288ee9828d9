"""Marking of orphaned task runs: RUNNING or PENDING although their flow run is over and its process has died."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

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

from ai_workflow.evaluation.markdown import escape_active_markup
from ai_workflow.orchestration.recovery.run_lookup import FLOWS, RunAction, RunLookup, RunRecord, pages
from ai_workflow.telemetry import logs

_PAGE = 200
log = logs.logger("recovery")


async def mark(runs: RunLookup) -> None:
    """Mark the orphaned task runs of all flow runs that ended a while ago, because task states arrive late."""
    ended = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(TERMINAL_STATES))),
        end_time=FlowRunFilterEndTime(before_=datetime.now(UTC) - timedelta(seconds=runs.options.settle_seconds)),
    )
    for task_run in await _own(runs, await _orphans(runs, ended)):
        if await _crash(runs, task_run):
            log.error("task run %s of a run that is over was still running: marked Crashed", task_run.name)
            runs.actions.append(
                RunAction(flow="", run=escape_active_markup(task_run.name), trace="", done="task run marked Crashed")
            )


async def mark_of(runs: RunLookup, record: RunRecord) -> int:
    """Mark the orphaned task runs of one run whose process has died, and return their number."""
    orphans = await _orphans(runs, FlowRunFilter(id=FlowRunFilterId(any_=[record.run.id])))
    return sum([await _crash(runs, task_run) for task_run in orphans])


async def _orphans(runs: RunLookup, flow_runs: FlowRunFilter) -> list[TaskRun]:
    unfinished: Any = [StateType.RUNNING, StateType.PENDING]
    task_runs = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=unfinished)))
    flows = FlowFilter(name=FlowFilterName(any_=list(FLOWS)))
    return await pages(
        lambda offset: runs.client.read_task_runs(
            flow_filter=flows, flow_run_filter=flow_runs, task_run_filter=task_runs, limit=_PAGE, offset=offset
        )
    )


async def _own(runs: RunLookup, task_runs: list[TaskRun]) -> list[TaskRun]:
    """Return the task runs of flow runs that belong to the owner of this recovery."""
    ids = sorted({task_run.flow_run_id for task_run in task_runs if task_run.flow_run_id}, key=str)
    own: set[UUID] = set()
    for start in range(0, len(ids), _PAGE):
        batch = FlowRunFilter(id=FlowRunFilterId(any_=ids[start : start + _PAGE]))
        flow_runs = await runs.client.read_flow_runs(flow_run_filter=batch, limit=_PAGE)
        own |= {run.id for run in flow_runs if runs.is_own(run)}
    return [task_run for task_run in task_runs if task_run.flow_run_id in own]


async def _crash(runs: RunLookup, task_run: TaskRun) -> bool:
    state: State[Any] = Crashed(message="its process is gone")
    response: OrchestrationResult[Any] = await runs.client.set_task_run_state(task_run.id, state)
    return response.status == SetStateStatus.ACCEPT
