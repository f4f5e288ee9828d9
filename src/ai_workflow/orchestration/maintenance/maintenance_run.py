"""One run of a maintenance flow: its settings, its trace, and a Failed state for an error of the package."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Failed

from ai_workflow.config import layers, pipeline_folders
from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.orchestration import owner_label, refused_runs, run_logs
from ai_workflow.orchestration.flow_request import FlowRequest
from ai_workflow.orchestration.flow_result import FlowOutcome, FlowResult
from ai_workflow.runtime import memory_pressure, process_limit
from ai_workflow.telemetry import logs, trace_context


@dataclass(frozen=True, slots=True)
class MaintenanceRun:
    """The settings of a run, and the parameters that it was started with."""

    settings: Settings
    request: FlowRequest

    def of_pipeline(self, name: str) -> MaintenanceRun | None:
        """Return the run with the settings of a pipeline in `pipelines/`, None if the project has none of that name.

        Raises:
            ConfigError: the configuration of the pipeline is not valid.
        """
        if not _is_in_project(name):
            return None
        request = replace(self.request, config=pipeline_folders.PipelineFolder(name).file)
        return MaintenanceRun(request.load().settings, request)

    def deployment(self, flow: str) -> str:
        """Return the deployment of a flow for the pipeline, as flow/deployment, of the owner of this run."""
        name = self.settings.pipeline if _is_in_project(self.settings.pipeline) else flow
        return f"{flow}/{owner_label.name(name, owner_label.current())}"


async def execute(
    request: FlowRequest, work: Callable[[MaintenanceRun], Awaitable[FlowResult | State[Any]]]
) -> FlowOutcome:
    """Run the work of a flow with its settings, and return its result, or a state.

    An error of the package becomes a Failed state without a traceback; a result without work becomes the state Idle.
    """
    trace_id = trace_context.trace_id_of_run(str(flow_run.id))
    run_logs.set_up(None)
    with trace_context.bound(trace_id=trace_id):
        try:
            settings = await request.prepare(trace_id)
        except AiWorkflowError as error:
            return await refused_runs.refuse(request, trace_id, error)
        try:
            with process_limit.limit_errors_wrapped(), memory_pressure.memory_errors_wrapped():
                result = await work(MaintenanceRun(settings, request))
        except AiWorkflowError as error:
            logs.logger(request.flow).error("%s", error)
            return Failed(message=str(error))
    return result.outcome() if isinstance(result, FlowResult) else result


def _is_in_project(pipeline: str) -> bool:
    """Return whether the project has a pipeline in `pipelines/`."""
    return pipeline_folders.file_of(layers.project_root(None, os.environ), pipeline) is not None
