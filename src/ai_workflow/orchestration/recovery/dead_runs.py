"""Marks the runs whose process is gone, each with the reason why it is believed to be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from prefect.client.schemas.objects import State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter
from prefect.states import Cancelled, Crashed

from ai_workflow.orchestration.recovery import orphan_tasks
from ai_workflow.orchestration.recovery.run_lookup import PIPELINES, Found, FoundRuns
from ai_workflow.storage import run_lock
from ai_workflow.telemetry import journal

HEARTBEAT = "prefect.flow-run.heartbeat"


async def end(runs: FoundRuns) -> None:
    """Mark every run whose process is gone as crashed, or as cancelled where that was asked for."""

    async def see_to(found: Found) -> None:
        # Why first, state after: a process that ends in between has said so before it let go of its lock.
        reason = await why_gone(runs, found)
        if reason and await runs.unchanged(found):
            await _mark(runs, found, reason)

    await runs.each(await runs.unfinished(), see_to)


async def why_gone(runs: FoundRuns, found: Found) -> str | None:
    """Return why a run's process is known to be gone, or None if it lives or may live.

    A lock that is held outweighs everything: heartbeats stop for many reasons, and a stopped or swapped-out process
    sends none. One that is free says for sure that the process of this attempt is gone, if that ran on this machine.
    """
    lock, options = found.lock(), runs.options
    if lock.held:
        return None
    holder = lock.holder
    # Only the process of an attempt pauses it: what is paused has its lock from the same attempt.
    if holder and holder.is_same_boot and (found.is_paused or holder.attempt == str(found.state.id)):
        return f"process {holder.pid} is gone"
    if found.is_paused or found.state.type == StateType.RUNNING:
        silent = found.age > options.heartbeat_seconds and not await _beats(runs, found)
        return f"no heartbeat for {options.heartbeat_seconds:g} s" if silent else None
    if found.age <= 60 * options.pending_minutes:
        return None
    if found.state.type == StateType.CANCELLING and not (holder and holder.is_same_boot) and await _beats(runs, found):
        return None
    return f"{found.state.name} for more than {options.pending_minutes:g} minutes, and no process"


async def _beats(runs: FoundRuns, found: Found) -> bool:
    since = datetime.now(UTC) - timedelta(seconds=runs.options.heartbeat_seconds)
    wanted = EventFilter(
        event=EventNameFilter(name=[HEARTBEAT]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{found.id}"]),
        # A host whose clock is ahead beats in the future.
        occurred=EventOccurredFilter(since=since, until=datetime.now(UTC) + timedelta(days=1)),
    )
    return bool((await runs.client.read_events(wanted, limit=1)).events)


async def _mark(runs: FoundRuns, found: Found, reason: str) -> None:
    cancelled = found.state.type == StateType.CANCELLING
    state: State[Any] = Cancelled(message=reason) if cancelled else Crashed(message=reason)
    # Not forced: Prefect refuses it where the run has ended meanwhile.
    answer = await runs.client.set_flow_run_state(found.run.id, state)
    if answer.status != SetStateStatus.ACCEPT:
        return
    tasks = await orphan_tasks.end_of(runs, found)
    done = f"{reason}: marked {state.name}" + (f", with {tasks} of its tasks" if tasks else "")
    if found.run.deployment_id is None and not cancelled and found.flow in PIPELINES:
        done += f". To go on: {_command(found)}"
    runs.note(found, journal.SKIPPED if cancelled else journal.ERROR, done)
    if cancelled or found.run.deployment_id is None:
        run_lock.remove(found.store, found.id)


def _command(found: Found) -> str:
    given = {name: value for name, value in found.run.parameters.items() if value is not None}
    names = {"config": "pipeline", "environment": "environment"}
    options = [f"--{option} {given.pop(name)}" for name, option in names.items() if name in given]
    given.pop("traceparent", None)
    others = f" (and the parameters it had: {', '.join(given)})" if given else ""
    return " ".join(["ai-workflow run", found.flow, *options]) + others
