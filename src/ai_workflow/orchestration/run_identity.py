"""The name and the tags by which people find a flow run in the Prefect UI."""

from __future__ import annotations

import re

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from ai_workflow.telemetry import logs, trace_context

# Flows that process a table; the others keep versions, runs and files in order.
WORK = ("training", "scoring")
# Names that Prefect invents; others were given by a person, and stay.
_INVENTED = re.compile(r"[A-Za-z]+-[a-z]+|[A-Z][a-z]+-[A-Z][a-z]+")
log = logs.logger("flow")


def kind(flow: str) -> str:
    """Return `work` or `upkeep`, the kind of a flow."""
    return "work" if flow in WORK else "upkeep"


async def show(flow: str, pipeline: str | None, environment: str | None, trace_id: str) -> None:
    """Name the flow run at hand `<flow> <pipeline> <trace>` unless a person has named it, and add tags.

    A failure to do so is only logged.

    Args:
        flow: name of the flow.
        pipeline: its pipeline, None if it is not known.
        environment: its environment, None if it is not known.
        trace_id: its trace.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    run = context.flow_run
    name = run.name
    if _INVENTED.fullmatch(run.name):
        name = " ".join(filter(None, (flow, pipeline, trace_context.short(trace_id))))
    known = {"pipeline": pipeline, "environment": environment, "kind": kind(flow)}
    tags = sorted({*run.tags, *(f"{key}:{value}" for key, value in known.items() if value)})
    if (run.name, sorted(run.tags)) == (name, tags):
        return
    try:
        async with get_client() as client:
            await client.update_flow_run(run.id, name=name, tags=tags)
    except Exception as error:
        log.warning("the run could not be named '%s': %s", name, error)
