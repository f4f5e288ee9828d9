"""Processes of a stack, identified by the folder of the stack in their environment."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from ai_workflow.errors import AiWorkflowError
from ai_workflow.local.process import Process, start_time
from ai_workflow.local.stack.paths import MARK

# Time for a run that has lost its worker to save its checkpoint.
SAVE_SECONDS = 60.0
KILL_SECONDS = 10.0


class ProcessStopError(AiWorkflowError):
    """A process of the stack cannot be stopped."""


def find(folder: Path) -> list[Process]:
    """Return the running processes of the stack in a folder, except this process."""
    mark = f"{MARK}={folder}\0".encode()
    processes = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        pid = int(environment.parent.name)
        with contextlib.suppress(OSError):
            if pid != os.getpid() and mark in environment.read_bytes() and (since := start_time(pid)):
                processes.append(Process(pid, since))
    return processes


def stop_all(folder: Path, seconds: float = SAVE_SECONDS) -> int:
    """Stop all processes by SIGTERM, after `seconds` by SIGKILL, and return their number.

    Raises:
        ProcessStopError: a process of another user cannot be killed.
    """
    initial = find(folder)
    signaled: set[int] = set()
    for number, timeout in ((signal.SIGTERM, seconds), (signal.SIGKILL, KILL_SECONDS)):
        deadline = time.monotonic() + timeout
        # A process may start others before it ends.
        while remaining := find(folder):
            for process in remaining:
                if number == signal.SIGKILL or process.pid not in signaled:
                    signaled.add(process.pid)
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(process.pid, number)
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        else:
            return len(initial)
    pids = ", ".join(str(process.pid) for process in find(folder))
    raise ProcessStopError(f"processes of the stack do not end: {pids}. Kill them as their owner")
