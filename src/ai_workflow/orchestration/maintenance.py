"""Shared by the flows of upkeep: settings, log format, the state where nothing was to do, and one line for an error."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from prefect.runtime import flow_run
from prefect.states import Failed

from ai_workflow.config import loader as configuration
from ai_workflow.config import variables
from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.orchestration import idle_runs, refused_runs, result_storage, run_identity, run_logs
from ai_workflow.runtime import memory_pressure, process_limit
from ai_workflow.telemetry import logs, trace_context


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
    trace_id = trace_context.trace_id_of_run(str(flow_run.id))
    run_logs.set_up(None)
    with trace_context.bound(trace_id=trace_id):
        try:
            loaded = configuration.load(config, environment=environment, overrides=chosen)
            variables.check(loaded, os.environ, "run")
            settings = loaded.settings
            run_logs.set_up(settings)
            await result_storage.check(settings)
            await run_identity.show(name, settings.pipeline, settings.environment, trace_id)
        except AiWorkflowError as error:
            return await refused_runs.refuse(refused_runs.Request(name, config, environment, trace_id), error)
        try:
            with process_limit.limit_errors_wrapped(), memory_pressure.memory_errors_wrapped():
                return idle_runs.ended(await work(settings))
        except AiWorkflowError as error:
            log.error("%s", error)
            return Failed(message=str(error))
