"""What a run in this process prints at its end, beside the summary of its own."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

from ai_workflow import journal, logs, trace
from ai_workflow.store import Store


def make(target: str, pipeline: str | None) -> str:
    """Return a make command for a pipeline file that can be pasted into a shell."""
    return f"make {target}" + (f" CONFIG={shlex.quote(pipeline.replace('$', '$$'))}" if pipeline else "")


def print_trace(store: Store, state: Any) -> None:
    """Print what each stage of the run did that a state ended; a run that never began has no trace."""
    events = journal.Journal(store).read(trace.id_of_run(str(state.state_details.flow_run_id)))
    # Errors are on the console already, with stage, place and remedy.
    brief = [replace(event, message="see above") if event.status == journal.ERROR else event for event in events]
    if brief:
        print("\n" + journal.render(brief), flush=True)


def failure(message: str) -> str:
    """Return the last lines of a run that failed; the error itself only if no line has it yet."""
    error = "" if logs.is_reported(message) else f"error: {message}\n"
    return f"\n{error}{'look back':>12}  .venv/bin/ai-workflow trace --failed\n{'stop':>12}  make stop"
