"""A flow run that is refused before its first stage: named, tagged and journaled by what is known of it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Failed

from ai_workflow.config import loader
from ai_workflow.config.layers import DEFAULT_ENVIRONMENT
from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.orchestration import run_identity, trace_artifact
from ai_workflow.orchestration.result_storage import TemporaryStore
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import instrumentation, journal, logs

UNKNOWN = "unknown"
# Flows whose runs are in the journal; those of upkeep are not.
JOURNALED = ("training", "scoring", "evaluation")
log = logs.logger("flow")


@dataclass(frozen=True, slots=True)
class Request:
    """The parameters of a refused run.

    Args:
        flow: name of the flow.
        pipeline: the pipeline file.
        environment: the environment.
        trace_id: the trace of the run.
    """

    flow: str
    pipeline: str | None
    environment: str | None
    trace_id: str


async def refuse(request: Request, error: AiWorkflowError) -> State[None]:
    """Log an error once, show it in Prefect and in the journal, and return the Failed state."""
    log.error("%s", error, extra=logs.REPORT if isinstance(error, loader.ConfigError) else {})
    own = _settings(request.pipeline, request.environment)
    # The file of the pipeline cannot be used, but the other layers name the store.
    settings = own or _settings(None, request.environment)
    environment = settings.environment if settings else request.environment or os.environ.get("AIW_ENVIRONMENT")
    pipeline = own.pipeline if own else None
    await run_identity.show(request.flow, pipeline, environment or DEFAULT_ENVIRONMENT, request.trace_id)
    if settings is not None and not isinstance(error, TemporaryStore) and request.flow in JOURNALED:
        await _record(request, settings.store.root, pipeline or UNKNOWN, error)
    return Failed(message=str(error))


def _settings(pipeline: str | None, environment: str | None) -> Settings | None:
    """Return the settings without overrides, None if they are not valid."""
    try:
        return loader.load(pipeline, environment=environment).settings
    except AiWorkflowError:
        return None


async def _record(request: Request, root: str, pipeline: str, error: AiWorkflowError) -> None:
    """Write the run into the journal, and its trace as an artifact; a failure to do so is only logged."""
    visit = instrumentation.StageExecution(
        request.trace_id, pipeline, request.flow, journal.RUN, flow_run_id=str(flow_run.id), status=journal.ERROR,
        message=str(error),
    )  # fmt: skip
    key = f"{pipeline.replace('_', '-')}-{request.flow}-trace"
    try:
        book = journal.Journal(Store(root))
        with instrumentation.stage(visit, (instrumentation.JournalObserver(book),)):
            pass
        await trace_artifact.create(book.read(request.trace_id), request.trace_id, key)
    except Exception as problem:
        log.warning("the trace of the run could not be recorded: %s", problem)
