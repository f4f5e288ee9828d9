"""Artifacts of a run in the Prefect UI: the trace as a table, warnings, and the model card with its plots."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from uuid import UUID

from prefect.artifacts import acreate_table_artifact

from ai_workflow.errors import AiWorkflowError
from ai_workflow.evaluation.markdown import escape_active_markup, escaped
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal, trace_context
from ai_workflow.telemetry.journal import Event

# A plot has a line of its own, which no text of a user has.
_PLOT = re.compile(r"^(!\[[\w-]+\])\(([\w-]+\.svg)\)$", re.MULTILINE)


async def create_trace(events: Sequence[Event], trace_id: str, key: str) -> UUID:
    """Add the table of a trace to the current flow run.

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
        {column: getattr(event, column) for column in columns} | {"message": escape_active_markup(event.message)}
        for event in stages
    ]
    description = f"Trace {trace_context.short(trace_id)}: what each stage did"
    artifact_id: UUID = await acreate_table_artifact(rows, key=key, description=description)
    return artifact_id


def warnings(texts: Sequence[str]) -> str:
    """Return warnings as a Markdown list."""
    return "\n".join(f"- {escaped(text)}" for text in texts)


def model_card(store: Store, folder: str) -> str:
    """Return the model card of a version as Markdown, or an empty text if it cannot be read.

    Its plots are embedded, because links to files lead nowhere in the UI.
    """
    try:
        text = store.read(f"{folder}/card.md").decode()
        return _PLOT.sub(lambda match: f"{match[1]}({_data_url(store.read(f'{folder}/{match[2]}'))})", text)
    except AiWorkflowError:
        return ""


def _data_url(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
