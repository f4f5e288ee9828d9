"""`ai-workflow trace`: the step-by-step trace of a run, without a UI."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from ai_workflow.config import loader
from ai_workflow.errors import AiWorkflowError
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal

_LISTED = 20


def trace(
    trace_id: str | None = None,
    *,
    last: bool = False,
    failed: bool = False,
    list_: Annotated[bool, Parameter(name="--list")] = False,
    store: str | None = None,
    environment: str | None = None,
) -> None:
    """Show what each stage of a run did; without an ID, of the last run.

    Args:
        trace_id: the trace, or the first digits of it.
        last: the run that began last.
        failed: the last run that failed or was killed.
        list_: one line for each of the last runs.
        store: the store's root, if it is not the one of the configuration.
        environment: whose configuration names the store.
    """
    if trace_id and (last or failed or list_):
        raise AiWorkflowError("give either an ID, or one of --last, --failed and --list")
    root = loader.load(environment=environment).settings.store.root if store is None else store
    book = journal.Journal(Store(root) if store is None else Store(root).require())
    if trace_id:
        events = book.read(book.find(trace_id))
        if not events:
            raise AiWorkflowError(f"no event of trace {trace_id} can be read. `ai-workflow trace --list` shows others")
        print(journal.render(events))
        return
    runs = [events for found in book.trace_ids()[: None if failed else _LISTED] if (events := book.read(found))]
    if failed:
        runs = [events for events in runs if journal.outcome(events).startswith(("failed", "killed"))]
    if not runs:
        raise _no_run(book.url, failed=failed)
    if list_:
        for events in runs[:_LISTED]:
            first = events[0]
            moment = journal.local_time(first)
            print(f"{first.trace_id[:8]}  {moment}  {first.flow:<10}  {first.pipeline:<12}  {journal.outcome(events)}")
        return
    print(journal.render(runs[0]))


def _no_run(folder: str, *, failed: bool) -> AiWorkflowError:
    if failed:
        return AiWorkflowError(f"no run in {folder} has failed")
    return AiWorkflowError(
        f"there is no run in {folder} yet. Start one with `make run`, or name another store with --store or "
        "--environment"
    )
