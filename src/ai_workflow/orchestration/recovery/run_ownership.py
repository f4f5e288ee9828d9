"""Keeps a flow run to one process, and lets `recovery` see whether that process lives: by the lock of the run."""

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
    """Hold the lock of the flow run at hand until this process ends.

    Args:
        store: the store of the run.
        trace_id: what the run writes under.
        is_maintenance: this run looks after those of others: it does not keep their data from being deleted.

    Raises:
        Abort: another process has this run; Prefect then ends this one, and leaves the state of the run alone.
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
        log.error("%s: that one goes on, this one ends", error)
        raise Abort(str(error)) from error


def tidy_at_exit(store: Store) -> None:
    """Have the lock file removed when this process ends; that of a run that crashed stays, for its next attempt."""
    run_lock.remove_at_exit(store, str(current().id))


def release(store: Store) -> None:
    """Release the lock of the flow run at hand: it is suspended, and goes on in another process."""
    run_lock.release(store, str(current().id))


def current() -> FlowRun:
    """Return the flow run at hand."""
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    return context.flow_run
