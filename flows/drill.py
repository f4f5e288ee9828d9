"""The drill flow: a test alert, which shows that alerts reach the chats."""

from __future__ import annotations

from typing import Any, Literal

from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.states import Failed

from ai_workflow.config import project
from ai_workflow.orchestration.flow_definition import maintenance_flow
from ai_workflow.orchestration.flow_result import FlowResult
from ai_workflow.orchestration.maintenance.maintenance_run import MaintenanceRun
from ai_workflow.telemetry import logs, trace_context

DRILLED = "ai-workflow.drill"
MESSAGE = "This is a drill: nothing is wrong, and alerts reach this chat"
log = logs.logger("drill")


@maintenance_flow()
async def drill(run: MaintenanceRun, what: Literal["message", "failure"] = "message") -> FlowResult | State[Any]:
    """Send a test message through automation, relay and chat, or fail deliberately.

    Args:
        run: settings and parameters of the run.
        what: message: the automation "drill" sends it to the chats. failure: this run fails, and the automation
            "run failed" reports it.
    """
    if what == "failure":
        return Failed(message=MESSAGE)
    pipeline = run.settings.pipeline
    log.info("%s", MESSAGE)
    emit_event(
        event=DRILLED,
        resource={
            "prefect.resource.id": f"ai-workflow.drill.{run.settings.environment}.{pipeline}",
            "prefect.resource.name": f"drill of {pipeline}",
            **project.event_labels(run.settings.environment),
        },
        payload={"says": MESSAGE, "flow_run_id": str(flow_run.id), "trace_id": trace_context.current() or ""},
    )
    return FlowResult(MESSAGE, {"what": what})
