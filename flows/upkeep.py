"""Shared by the flows of upkeep: settings, log format, the state where nothing was to do, and one line for an error."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from prefect.runtime import flow_run
from prefect.states import Failed

from ai_workflow import config as configuration
from ai_workflow import logs, memory, process_limit, trace
from ai_workflow.config import variables
from ai_workflow.errors import AiWorkflowError
from ai_workflow.settings import Settings
from flows import durable_store, idle, refusal, run_identity, run_logs


async def upkeep(
    name: str,
    work: Callable[[Settings], Awaitable[dict[str, Any]]],
    *,
    config: str | None,
    environment: str | None,
    overrides: Mapping[str, Any] | None,
    log_level: str | None,
) -> Any:
    """Do the work of a flow with its settings, and return its result, or a state.

    An error of the package becomes a Failed state without a traceback; a result marked `IDLE` becomes that state.
    """
    log = logs.logger(name)
    chosen = {**(overrides or {}), **({"logging.level": log_level} if log_level else {})}
    trace_id = trace.id_of_run(str(flow_run.id))
    run_logs.set_up(None)
    with trace.bound(trace_id=trace_id):
        try:
            loaded = configuration.load(config, environment=environment, overrides=chosen)
            variables.check(loaded, os.environ, "run")
            settings = loaded.settings
            run_logs.set_up(settings)
            await durable_store.check(settings)
            await run_identity.show(name, settings.pipeline, settings.environment, trace_id)
        except AiWorkflowError as error:
            return await refusal.refuse(refusal.Request(name, config, environment, trace_id), error)
        try:
            with process_limit.explained(), memory.translated():
                return idle.ended(await work(settings))
        except AiWorkflowError as error:
            log.error("%s", error)
            return Failed(message=str(error))
