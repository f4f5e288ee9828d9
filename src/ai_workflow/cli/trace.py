"""`ai-workflow trace`: the step-by-step trace of a run, without a UI."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from ai_workflow.cli.common_options import CommonOptions
from ai_workflow.errors import AiWorkflowError
from ai_workflow.telemetry import journal

_MAX_LISTED = 20
_DEFAULTS = CommonOptions()


def trace(
    trace_id: str | None = None,
    *,
    last: bool = False,
    failed: bool = False,
    list_: Annotated[bool, Parameter(name="--list")] = False,
    options: CommonOptions = _DEFAULTS,
) -> None:
    """Show the stages of a run, with durations, results and errors; of the last run if no ID is given.

    Args:
        trace_id: Trace ID, or its first digits.
        last: Show the run that began last.
        failed: Show the last run that failed or was killed; with --list, list only such runs.
        list_: List the last runs, one a line; --failed and --list both apply.
        options: Pipeline, environment and store.
    """
    if trace_id and (last or failed or list_):
        raise AiWorkflowError("a trace ID cannot be combined with --last, --failed or --list. Pass one of them")
    if last and (failed or list_):
        raise AiWorkflowError("--last cannot be combined with --failed or --list. Omit --last")
    runs_journal = journal.Journal(options.open_store())
    if trace_id:
        events = runs_journal.read(runs_journal.find(trace_id))
        if not events:
            raise AiWorkflowError(f"no event of trace {trace_id} can be read. `ai-workflow trace --list` shows others")
        print(journal.render(events))
        return
    trace_ids = runs_journal.trace_ids()[: None if failed else _MAX_LISTED]
    runs = [events for each in trace_ids if (events := runs_journal.read(each))]
    if failed:
        runs = [events for events in runs if journal.outcome(events).startswith(("failed", "killed"))]
    if not runs:
        raise _no_run(runs_journal.url, failed=failed)
    if list_:
        for events in runs[:_MAX_LISTED]:
            first = events[0]
            time = journal.local_time(first)
            print(f"{first.trace_id[:8]}  {time}  {first.flow:<10}  {first.pipeline:<12}  {journal.outcome(events)}")
        return
    print(journal.render(runs[0]))


def _no_run(folder: str, *, failed: bool) -> AiWorkflowError:
    if failed:
        return AiWorkflowError(f"no run in {folder} has failed")
    return AiWorkflowError(
        f"there is no run in {folder} yet. Start one with `make run`, or name another store with --store, --pipeline "
        "or --environment"
    )
