"""Lock of a flow run: one process runs it, and `recovery` sees whether that process lives."""

from __future__ import annotations

import asyncio

from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import Abort

from ai_workflow.runtime import process_limit
from ai_workflow.storage import run_lock
from ai_workflow.storage.run_lock import Holder, RunLockedError
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import logs

log = logs.logger("flow")


async def claim(store: Store, trace_id: str, *, is_maintenance: bool = False) -> None:
    """Hold the lock of the current flow run until this process ends.

    Args:
        store: the store of the run.
        trace_id: the trace of the run.
        is_maintenance: whether retention may delete data and checkpoints while this run is at work.

    Raises:
        Abort: another process has this run; Prefect then ends this one without a change of state.
        StoreError: the store cannot be written.
        ProcessLimitError: no thread can be started to write it.
    """
    run = current()
    attempt = str(run.state.id) if run.state else ""
    store.require_writable()
    try:
        with process_limit.limit_errors_wrapped():
            await asyncio.to_thread(run_lock.acquire, store, str(run.id), Holder(trace_id, attempt, is_maintenance))
    except RunLockedError as error:
        log.error("%s: that process continues, this one ends", error)
        raise Abort(str(error)) from error


def remove_at_exit(store: Store) -> None:
    """Remove the lock file when this process ends; a crashed run keeps it for its next attempt."""
    run_lock.remove_at_exit(store, str(current().id))


def release(store: Store) -> None:
    """Release the lock of the current flow run, which is suspended and continues in another process."""
    run_lock.release(store, str(current().id))


def current() -> FlowRun:
    """Return the current flow run."""
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    return context.flow_run
