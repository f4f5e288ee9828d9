"""The order in which runs began: a number for each trace in the store, which no clock can change.

run_order/00000042-<trace id>.json     an empty record: this trace was the 42nd to begin
"""

from __future__ import annotations

import re

from ai_workflow.storage.store import Store

FOLDER = "run_order"
_NAME = re.compile(r"^(\d{8,})-([0-9a-f]{32})\.json$")


def assign_number(store: Store, trace_id: str) -> None:
    """Give a trace the next number; a trace that has one keeps it.

    Raises:
        StoreError: the number cannot be written.
    """
    taken = numbers(store)
    if trace_id in taken:
        return
    following = max(taken.values(), default=0) + 1
    # The name holds number and trace, so two runs that begin at once may share a number; the trace id decides then.
    store.write_new(f"{FOLDER}/{following:08d}-{trace_id}.json", b"{}\n", flushed=False)


def remove_number(store: Store, trace_id: str) -> None:
    """Remove the number of a trace whose journal is deleted, unless it is the greatest: the next one counts on."""
    taken = numbers(store)
    if trace_id in taken and taken[trace_id] < max(taken.values()):
        store.remove(f"{FOLDER}/{taken[trace_id]:08d}-{trace_id}.json")


def numbers(store: Store) -> dict[str, int]:
    """Return trace id -> its number, greater for a run that began later."""
    found = filter(None, map(_NAME.match, store.names(FOLDER)))
    return {match[2]: int(match[1]) for match in found}
