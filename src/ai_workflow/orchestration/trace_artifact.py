"""The trace of a run as a table in the Prefect UI."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from prefect.artifacts import acreate_table_artifact

from ai_workflow.evaluation.markdown import inert
from ai_workflow.telemetry import journal, trace_context
from ai_workflow.telemetry.journal import Event


async def create(events: Sequence[Event], trace_id: str, key: str) -> UUID:
    """Add the table to the flow run at hand.

    Args:
        events: the events of the trace.
        trace_id: the trace.
        key: the key of the artifact.
    """
    ended = [event for event in events if event.status != journal.STARTED]
    stages = [event for event in ended if event.stage != journal.RUN]
    if not any(event.status == journal.ERROR for event in stages):
        # An error before or between stages is in the event of the run alone.
        stages += [event for event in ended if event.stage == journal.RUN and event.status == journal.ERROR]
    columns = ("time", "stage", "status", "message", "seconds")
    rows = [
        {column: getattr(event, column) for column in columns} | {"message": inert(event.message)} for event in stages
    ]
    description = f"Trace {trace_context.short(trace_id)}: what each stage did"
    created: UUID = await acreate_table_artifact(rows, key=key, description=description)
    return created
