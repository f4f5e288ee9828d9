"""A flow run that is rejected before its first stage: named, tagged and journaled as far as its settings load."""

from __future__ import annotations

import os

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Failed

from ai_workflow.config import loader
from ai_workflow.config.layers import DEFAULT_ENVIRONMENT
from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.orchestration import artifacts, run_identity
from ai_workflow.orchestration.flow_request import FlowRequest
from ai_workflow.orchestration.temporary_store import TemporaryStoreError
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import instrumentation, journal, logs

UNKNOWN = "unknown"
# Flows whose runs are in the journal; those of maintenance are not.
JOURNALED = ("training", "scoring", "evaluation")
log = logs.logger("flow")


async def refuse(request: FlowRequest, trace_id: str, error: AiWorkflowError) -> State[None]:
    """Log an error once, show it in Prefect and in the journal, and return the Failed state."""
    log.error("%s", error, extra=logs.REPORT if isinstance(error, loader.ConfigError) else {})
    own = _settings(request.config, request.environment)
    # If the pipeline file is not valid, the other layers still name the store.
    settings = own or _settings(None, request.environment)
    environment = settings.environment if settings else request.environment or os.environ.get("AIW_ENVIRONMENT")
    pipeline = own.pipeline if own else None
    await run_identity.show(request.flow, pipeline, environment or DEFAULT_ENVIRONMENT, trace_id)
    if settings is not None and not isinstance(error, TemporaryStoreError) and request.flow in JOURNALED:
        await _record(request.flow, trace_id, settings.store.root, pipeline or UNKNOWN, error)
    return Failed(message=str(error))


def _settings(pipeline: str | None, environment: str | None) -> Settings | None:
    """Return the settings without overrides, or None if they are not valid."""
    try:
        return loader.load(pipeline, environment=environment).settings
    except AiWorkflowError:
        return None


async def _record(flow: str, trace_id: str, root: str, pipeline: str, error: AiWorkflowError) -> None:
    """Write the run into the journal, and its trace as an artifact; a failure to do so is only logged."""
    visit = instrumentation.StageExecution(
        trace_id, pipeline, flow, journal.RUN, flow_run_id=str(flow_run.id), status=journal.ERROR, message=str(error)
    )
    key = f"{pipeline.replace('_', '-')}-{flow}-trace"
    try:
        book = journal.Journal(Store(root))
        with instrumentation.stage(visit, (instrumentation.JournalObserver(book),)):
            pass
        await artifacts.create_trace(book.read(trace_id), trace_id, key)
    except Exception as problem:
        log.warning("the trace of the run could not be recorded: %s", problem)
