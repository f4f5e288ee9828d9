"""Reschedules crashed runs of deployments, up to `recovery.max_attempts` times."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry, Crashed

from ai_workflow.orchestration.maintenance.approval import last_suspension
from ai_workflow.orchestration.recovery import orphan_tasks
from ai_workflow.orchestration.recovery.run_lookup import RETRIED, RunLookup, RunRecord
from ai_workflow.storage import run_lock
from ai_workflow.telemetry import journal, logs
from ai_workflow.telemetry.journal import Journal

GIVEN_UP, NOT_RESCHEDULED = "given up after", "not rescheduled:"
log = logs.logger("recovery")


async def reschedule(runs: RunLookup) -> None:
    """Reschedule the crashed runs of deployments whose process has died, each as the same flow run."""
    crashed = [record for record in await runs.crashed() if _is_open(record)]
    # A worker reports a crash twice, seconds apart: the second report would crash the rescheduled run again.
    settle_seconds = runs.options.settle_seconds
    wait = settle_seconds - min((record.age for record in crashed), default=settle_seconds)
    await asyncio.sleep(min(max(wait, 0), settle_seconds))

    async def decide(record: RunRecord) -> None:
        # A process that lives although its run was reported as crashed sets the final state itself.
        if not record.lock().is_held and await runs.is_unchanged(record):
            await _decide(runs, record)

    await runs.for_each(crashed, decide)


def attempts(record: RunRecord, states: list[State[Any]]) -> int:
    """Return the number of attempts that recovery has given a run.

    Prefect's own count stays 0 if a run dies before it begins. An attempt that crashed before any process took it is
    not counted: it is a worker's late report of the crash before.

    Args:
        record: the run.
        states: all states of the run, in any order.
    """
    run_journal = Journal(record.store)
    events = [event for trace_id in record.traces() for event in run_journal.read(trace_id)]
    rescheduled = sum(
        (event.stage, event.status, event.flow_run_id) == (journal.RECOVERY, journal.RESUMED, record.id)
        for event in events
    )
    history = sorted(states, key=lambda state: state.timestamp)
    untried = sum(
        before.name == "AwaitingRetry" and after.type == StateType.CRASHED for before, after in pairwise(history)
    )
    return max(rescheduled - untried, 0)


def _is_open(record: RunRecord) -> bool:
    message = record.state.message or ""
    is_closed = message.startswith((GIVEN_UP, NOT_RESCHEDULED))
    return bool(record.run.deployment_id) and record.flow in RETRIED and not is_closed


async def _decide(runs: RunLookup, record: RunRecord) -> None:
    states = await runs.client.read_flow_run_states(record.run.id)
    count, max_attempts = attempts(record, states), runs.options.max_attempts
    if reason := await _skip_reason(runs, record, states):
        await _close(runs, record, journal.SKIPPED, f"{NOT_RESCHEDULED} {reason}")
    elif count >= max_attempts:
        remedy = f"Fix the cause, then run: prefect flow-run retry {record.id}"
        await _close(runs, record, journal.ERROR, f"{GIVEN_UP} {count} attempts: {record.state.message}. {remedy}")
    else:
        await orphan_tasks.mark_of(runs, record)
        # Counted first: an interruption here costs an attempt, and never adds one.
        runs.note(record, journal.RESUMED, f"rescheduled, attempt {count + 1} of {max_attempts}")
        state: State[Any] = AwaitingRetry(message="its process had died")
        response = await runs.client.set_flow_run_state(record.run.id, state)
        if response.status != SetStateStatus.ACCEPT:
            log.error("%s run %s was not rescheduled: Prefect rejected it", record.flow, record.run.name)


async def _skip_reason(runs: RunLookup, record: RunRecord, states: list[State[Any]]) -> str | None:
    """Return the reason why a run is not rescheduled, or None if it is."""
    assert record.run.deployment_id is not None
    # While it was suspended, later runs of the same parameters left the approval to it.
    suspended = last_suspension(states)
    start = (suspended.resumed if suspended else None) or record.run.start_time or record.run.created
    try:
        await runs.client.read_deployment(record.run.deployment_id)
    except ObjectNotFound:
        return "its deployment does not exist any more"
    later_runs = await runs.client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[record.run.deployment_id]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED])),
            start_time=FlowRunFilterStartTime(after_=start),
        )
    )
    for run in later_runs:
        if run.parameters == record.run.parameters and run.id != record.run.id:
            return f"{run.name}, a later run of the same parameters, has completed"
    return None


async def _close(runs: RunLookup, record: RunRecord, status: str, message: str) -> None:
    runs.note(record, status, message)
    # Forced, as Prefect rejects Crashed after Crashed; by the message the next recovery skips the run.
    await runs.client.set_flow_run_state(record.run.id, Crashed(message=message), force=True)
    run_lock.remove(record.store, record.id)
