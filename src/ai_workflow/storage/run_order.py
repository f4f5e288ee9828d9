"""Order of runs: a sequence number for each trace, independent of clocks.

run_order/00000042-<trace id>.json     an empty record: this trace was the 42nd to start
"""

from __future__ import annotations

import re

from ai_workflow.storage.store import Store

FOLDER = "run_order"
_NAME = re.compile(r"^(\d{8,})-([0-9a-f]{32})\.json$")


def assign_number(store: Store, trace_id: str) -> None:
    """Assign the next number to a trace that has none.

    Raises:
        StoreError: the number cannot be written.
    """
    by_trace = numbers(store)
    if trace_id in by_trace:
        return
    next_number = max(by_trace.values(), default=0) + 1
    # Two runs that start at the same time may share a number; the trace ID then decides the order.
    store.write_new(f"{FOLDER}/{next_number:08d}-{trace_id}.json", b"{}\n", flushed=False)


def remove_number(store: Store, trace_id: str) -> None:
    """Remove the number of a deleted trace, unless it is the greatest, from which the next number is derived."""
    by_trace = numbers(store)
    if trace_id in by_trace and by_trace[trace_id] < max(by_trace.values()):
        store.remove(f"{FOLDER}/{by_trace[trace_id]:08d}-{trace_id}.json")


def numbers(store: Store) -> dict[str, int]:
    """Return trace ID -> number; a run that started later has a greater number."""
    matches = filter(None, map(_NAME.match, store.names(FOLDER)))
    return {match[2]: int(match[1]) for match in matches}
