"""Gives crashed runs of deployments more attempts, and gives them up after `recovery.max_attempts`."""

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

from ai_workflow.orchestration.approval import last_suspension
from ai_workflow.orchestration.recovery import orphan_tasks
from ai_workflow.orchestration.recovery.run_lookup import RETRIED, Found, FoundRuns
from ai_workflow.storage import run_lock
from ai_workflow.telemetry import journal, logs
from ai_workflow.telemetry.journal import Journal

GIVEN_UP, LEFT = "given up after", "not rescheduled:"
log = logs.logger("recovery")


async def give(runs: FoundRuns) -> None:
    """Reschedule the crashed runs of deployments whose process is gone, each as the same flow run."""
    crashed = [found for found in await runs.crashed() if _is_open(found)]
    # A worker reports a crash twice, seconds apart: the second report would crash the rescheduled run again.
    wait = runs.options.settle_seconds - min((found.age for found in crashed), default=runs.options.settle_seconds)
    await asyncio.sleep(min(max(wait, 0), runs.options.settle_seconds))

    async def see_to(found: Found) -> None:
        # Reported as crashed, and yet alive: it will say itself how it ended.
        if not found.lock().held and await runs.unchanged(found):
            await _decide(runs, found)

    await runs.each(crashed, see_to)


def attempts(found: Found, states: list[State[Any]]) -> int:
    """Return how many attempts recovery has given a run: Prefect's own count stays 0 where a run dies before it begins.

    An attempt that was crashed before any process took it is not counted: a worker's late report of the crash before.

    Args:
        found: the run.
        states: all states of the run, in any order.
    """
    book = Journal(found.store)
    events = [event for trace_id in found.traces() for event in book.read(trace_id)]
    rescheduled = sum(
        (event.stage, event.status, event.flow_run_id) == (journal.RECOVERY, journal.RESUMED, found.id)
        for event in events
    )
    history = sorted(states, key=lambda state: state.timestamp)
    untried = sum(
        before.name == "AwaitingRetry" and after.type == StateType.CRASHED for before, after in pairwise(history)
    )
    return max(rescheduled - untried, 0)


def _is_open(found: Found) -> bool:
    message = found.state.message or ""
    return bool(found.run.deployment_id) and found.flow in RETRIED and not message.startswith((GIVEN_UP, LEFT))


async def _decide(runs: FoundRuns, found: Found) -> None:
    states = await runs.client.read_flow_run_states(found.run.id)
    made = attempts(found, states)
    most = runs.options.max_attempts
    if reason := await _why_not(runs, found, states):
        await _close(runs, found, journal.SKIPPED, f"{LEFT} {reason}")
    elif made >= most:
        remedy = f"Mend the cause, then: prefect flow-run retry {found.id}"
        await _close(runs, found, journal.ERROR, f"{GIVEN_UP} {made} attempts: {found.state.message}. {remedy}")
    else:
        await orphan_tasks.end_of(runs, found)
        # Counted before it is done: what is interrupted here costs an attempt, and never makes one too many.
        runs.note(found, journal.RESUMED, f"rescheduled, attempt {made + 1} of {most}")
        again: State[Any] = AwaitingRetry(message="its process was gone")
        answer = await runs.client.set_flow_run_state(found.run.id, again)
        if answer.status != SetStateStatus.ACCEPT:
            log.error("%s run %s was not rescheduled: Prefect refused it", found.flow, found.run.name)


async def _why_not(runs: FoundRuns, found: Found, states: list[State[Any]]) -> str | None:
    """Return why a run is not rescheduled, or None if it is."""
    assert found.run.deployment_id is not None
    # While it was suspended, later runs of the same parameters left the question to it.
    suspended = last_suspension(states)
    begun = (suspended.resumed if suspended else None) or found.run.start_time or found.run.created
    try:
        await runs.client.read_deployment(found.run.deployment_id)
    except ObjectNotFound:
        return "its deployment does not exist any more"
    later = await runs.client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[found.run.deployment_id]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED])),
            start_time=FlowRunFilterStartTime(after_=begun),
        )
    )
    same = next((run for run in later if run.parameters == found.run.parameters and run.id != found.run.id), None)
    return f"{same.name}, a later run of the same parameters, has completed" if same else None


async def _close(runs: FoundRuns, found: Found, status: str, message: str) -> None:
    runs.note(found, status, message)
    # Forced, as Prefect refuses to crash a crashed run; the message is what keeps it from being seen to again.
    await runs.client.set_flow_run_state(found.run.id, Crashed(message=message), force=True)
    run_lock.remove(found.store, found.id)
