"""Cancellation of the current flow run: Prefect sends SIGTERM for it, and for other reasons too."""

from __future__ import annotations

import asyncio

from prefect.client.orchestration import get_client

from ai_workflow.errors import AiWorkflowError, RunCancelledError, RunInterruptedError
from ai_workflow.orchestration.recovery import run_ownership
from ai_workflow.telemetry import logs

# A worker kills a cancelled run 30 s after its SIGTERM.
_TIMEOUT_SECONDS = 5.0
log = logs.logger("flow")


async def of(error: AiWorkflowError) -> AiWorkflowError:
    """Return `RunCancelledError` for an interruption that a person requested in Prefect, else the error itself."""
    return RunCancelledError() if isinstance(error, RunInterruptedError) and await _is_requested() else error


async def _is_requested() -> bool:
    """Return whether a person has cancelled the run; False if Prefect does not answer."""
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS), get_client() as client:
            state = (await client.read_flow_run(run_ownership.current().id)).state
    except Exception as error:
        log.warning("Prefect does not answer whether the run is cancelled: %s", error or type(error).__name__)
        return False
    return state is not None and (state.is_cancelling() or state.is_cancelled())
