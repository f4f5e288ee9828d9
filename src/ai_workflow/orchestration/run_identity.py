"""Name and tags of a flow run in the Prefect UI."""

from __future__ import annotations

import re

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from ai_workflow.telemetry import logs, trace_context

# Flows that process a table; the others are maintenance.
WORK = ("training", "scoring")
# Names that Prefect invents: `wise-lynx` by its API, `Rustic-Vicuña` by its UI. Others are of a person, and stay.
_INVENTED_NAME = re.compile(r"[A-Za-z]+-[a-z]+|[A-Z][a-z]+-[A-Z][^\W\d_]+")
log = logs.logger("flow")


def kind(flow: str) -> str:
    """Return the kind of a flow, `work` or `upkeep`, which is a tag of its runs."""
    return "work" if flow in WORK else "upkeep"


def is_invented(name: str) -> bool:
    """Return whether a name of a flow run has the form of those that Prefect invents."""
    return _INVENTED_NAME.fullmatch(name) is not None


async def show(flow: str, pipeline: str | None, environment: str | None, trace_id: str) -> None:
    """Name the current flow run `<flow> <pipeline> <trace>` unless a person has named it, and add tags.

    A failure to do so is only logged.

    Args:
        flow: name of the flow.
        pipeline: its pipeline, or None if unknown.
        environment: its environment, or None if unknown.
        trace_id: its trace.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    run = context.flow_run
    name = run.name
    if is_invented(run.name):
        name = " ".join(filter(None, (flow, pipeline, trace_context.short(trace_id))))
    labels = {"pipeline": pipeline, "environment": environment, "kind": kind(flow)}
    tags = sorted({*run.tags, *(f"{key}:{value}" for key, value in labels.items() if value)})
    if (run.name, sorted(run.tags)) == (name, tags):
        return
    try:
        async with get_client() as client:
            await client.update_flow_run(run.id, name=name, tags=tags)
    except Exception as error:
        log.warning("the run could not be named '%s': %s", name, error)
