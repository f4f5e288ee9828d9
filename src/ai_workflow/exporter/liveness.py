"""Whether the process of a run that has not said its end is gone."""

from __future__ import annotations

import socket

from ai_workflow.exporter.runs import Run
from ai_workflow.storage import run_lock
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal


def gone(store: Store, run: Run) -> bool | None:
    """Say whether a run's process is gone; None where this machine cannot know: the process was on another one.

    A lock that is held outweighs everything. One that is free says for sure that its holder is gone, if that was on
    this machine: in whatever container, the kernel's boot is the same.
    """
    lock = run_lock.status(store, run.id) if run.id else run_lock.LockStatus(held=False)
    if lock.held:
        return False
    here = socket.gethostname()
    if holder := lock.holder:
        if holder.host == here or (holder.boot and holder.boot == run_lock.boot_id()):
            return True
        return None
    # Without a lock's record there is the process id; a run that ended in order has said so.
    return not journal.is_alive(run.writer) if run.writer.host == here else None
