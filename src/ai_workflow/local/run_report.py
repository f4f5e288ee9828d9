"""The last lines of the output of a run: trace, error and next commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ai_workflow.config import loader, project
from ai_workflow.errors import AiWorkflowError
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal, logs, trace_context
from ai_workflow.telemetry.control_characters import escape, escape_lines


@dataclass(frozen=True, slots=True)
class Hints:
    """Shell commands for the pipeline, environment and store of the current command.

    Args:
        pipeline: the pipeline file of the current command.
        environment: the environment of the current command.
        root: the root of the store that is used.
        store: the root that the current command set by `--store`.
    """

    pipeline: str | None = None
    environment: str | None = None
    root: str | None = None
    store: str | None = None

    def make(self, target: str) -> str:
        """Return a make command, or the command `ai-workflow` for a project without a Makefile."""
        options = (("pipeline", self.pipeline), ("environment", self.environment), ("store", self.store))
        arguments = [(name, value) for name, value in options if value]
        if _has_makefile():
            return " ".join(
                ["make", target, *(f"{name.upper()}={_quoted_for_make(value)}" for name, value in arguments)]
            )
        return " ".join(["ai-workflow", target, *(f"--{name} {shlex.quote(value)}" for name, value in arguments)])

    @property
    def stop(self) -> str:
        """The command that stops the local Prefect server."""
        return "make stop" if _has_makefile() else "ai-workflow stop"

    def trace(self, selection: str) -> str:
        """Return the command that shows traces, with `--store` if the configuration alone has another store."""
        option = [f"--environment {shlex.quote(self.environment)}"] if self.environment else []
        if self.root is not None and self.root != _configured_root(self.environment):
            option = [f"--store {shlex.quote(self.root)}"]
        program = ".venv/bin/ai-workflow" if _has_makefile() else "ai-workflow"
        return " ".join([f"{program} trace", *option, selection])


def _has_makefile() -> bool:
    return project.path("Makefile").is_file()


def _quoted_for_make(value: str) -> str:
    return shlex.quote(value.replace("$", "$$"))


def _configured_root(environment: str | None) -> str | None:
    """Return the root of the store without a pipeline file, None if the configuration is invalid without one."""
    try:
        return loader.load(environment=environment).settings.store.root
    except AiWorkflowError:
        return None


def print_trace(store: Store, state: Any) -> None:
    """Print the trace of the run of a final state; a run that never began has no trace."""
    events = journal.Journal(store).read(trace_context.trace_id_of_run(str(state.state_details.flow_run_id)))
    # The console has the errors already.
    brief = [replace(event, message="see above") if event.status == journal.ERROR else event for event in events]
    if brief:
        print("\n" + journal.render(brief), flush=True)


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Return aligned lines of names and values."""
    return "\n".join(f"{name:>12}  {escape(value)}" for name, value in rows)


def failure(message: str, hints: Hints) -> str:
    """Return the last lines of a failed run; the error is included unless it was printed before."""
    error = "" if logs.is_reported(message) else f"error: {escape_lines(message)}\n"
    return f"\n{error}{table([('look back', hints.trace('--failed')), ('stop', hints.stop)])}"
