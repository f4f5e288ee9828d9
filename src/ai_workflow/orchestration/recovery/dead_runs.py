"""Marking of runs whose process has died as crashed or cancelled, each with the evidence for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from prefect.client.schemas.objects import State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter
from prefect.states import Cancelled, Crashed

from ai_workflow.orchestration.recovery import orphan_tasks
from ai_workflow.orchestration.recovery.run_lookup import PIPELINES, RunLookup, RunRecord
from ai_workflow.storage import run_lock
from ai_workflow.telemetry import journal

HEARTBEAT = "prefect.flow-run.heartbeat"


async def mark(runs: RunLookup) -> None:
    """Mark every run whose process has died as crashed, or as cancelled if its cancellation was requested."""

    async def mark_if_dead(record: RunRecord) -> None:
        # The reason before the state: a process reports its last state before it releases its lock.
        reason = await dead_reason(runs, record)
        if reason and await runs.is_unchanged(record):
            await _mark(runs, record, reason)

    await runs.for_each(await runs.unfinished(), mark_if_dead)


async def dead_reason(runs: RunLookup, record: RunRecord) -> str | None:
    """Return the evidence that the process of a run has died, or None if it lives or may live.

    A held lock outweighs everything: heartbeats stop for many reasons, and a stopped or swapped-out process sends none.
    A free lock proves that the process of this attempt has died, if it ran on this machine.
    """
    lock, options = record.lock(), runs.options
    if lock.is_held:
        return None
    holder = lock.holder
    # Only the process of an attempt pauses it, so a paused run has its lock from the same attempt.
    if holder and holder.is_same_boot and (record.is_paused or holder.attempt == str(record.state.id)):
        return f"process {holder.pid} is gone"
    if record.is_paused or record.state.type == StateType.RUNNING:
        is_silent = record.age > options.heartbeat_seconds and not await _has_heartbeat(runs, record)
        return f"no heartbeat for {options.heartbeat_seconds:g} s" if is_silent else None
    if record.age <= 60 * options.pending_minutes:
        return None
    is_elsewhere = not (holder and holder.is_same_boot)
    if record.state.type == StateType.CANCELLING and is_elsewhere and await _has_heartbeat(runs, record):
        return None
    return f"{record.state.name} for more than {options.pending_minutes:g} minutes, and no process"


async def _has_heartbeat(runs: RunLookup, record: RunRecord) -> bool:
    since = datetime.now(UTC) - timedelta(seconds=runs.options.heartbeat_seconds)
    event_filter = EventFilter(
        event=EventNameFilter(name=[HEARTBEAT]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{record.id}"]),
        # The heartbeats of a host whose clock is ahead lie in the future.
        occurred=EventOccurredFilter(since=since, until=datetime.now(UTC) + timedelta(days=1)),
    )
    return bool((await runs.client.read_events(event_filter, limit=1)).events)


async def _mark(runs: RunLookup, record: RunRecord, reason: str) -> None:
    is_cancelled = record.state.type == StateType.CANCELLING
    state: State[Any] = Cancelled(message=reason) if is_cancelled else Crashed(message=reason)
    # Not forced: Prefect rejects it if the run has ended meanwhile.
    response = await runs.client.set_flow_run_state(record.run.id, state)
    if response.status != SetStateStatus.ACCEPT:
        return
    tasks = await orphan_tasks.mark_of(runs, record)
    action = f"{reason}: marked {state.name}" + (f", with {tasks} of its tasks" if tasks else "")
    if record.run.deployment_id is None and not is_cancelled and record.flow in PIPELINES:
        action += f". To resume: {_command(record)}"
    runs.note(record, journal.SKIPPED if is_cancelled else journal.ERROR, action)
    if is_cancelled or record.run.deployment_id is None:
        run_lock.remove(record.store, record.id)


def _command(record: RunRecord) -> str:
    parameters = {name: value for name, value in record.run.parameters.items() if value is not None}
    names = {"config": "pipeline", "environment": "environment"}
    options = [f"--{option} {parameters.pop(name)}" for name, option in names.items() if name in parameters]
    parameters.pop("traceparent", None)
    others = f" (and the parameters it had: {', '.join(parameters)})" if parameters else ""
    return " ".join(["ai-workflow run", record.flow, *options]) + others
