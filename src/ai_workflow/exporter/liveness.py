"""Liveness of the process of an unfinished run."""

from __future__ import annotations

import socket

from ai_workflow.exporter.runs import Run
from ai_workflow.storage import run_lock
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal


def is_gone(store: Store, run: Run) -> bool | None:
    """Return whether the process of a run is gone; None if unknown, because it ran on another host.

    A held lock proves that the process is alive. A free lock proves that its holder is gone if the holder was on this
    host; containers of a host share the boot id.
    """
    lock = run_lock.status(store, run.id) if run.id else run_lock.LockStatus(is_held=False)
    if lock.is_held:
        return False
    hostname = socket.gethostname()
    if holder := lock.holder:
        if holder.host == hostname or (holder.boot and holder.boot == run_lock.boot_id()):
            return True
        return None
    # Without a lock record, check the process id of the last event.
    return not journal.is_alive(run.last_event) if run.last_event.host == hostname else None
