"""The processes of a stack, whoever their parent is now: all bear the folder of the stack in their environment."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from ai_workflow.errors import AiWorkflowError
from ai_workflow.local.process import Process, born
from ai_workflow.local.stack.paths import MARK

# How long a run that has lost its worker may take to save its checkpoint.
SAVE_SECONDS = 60.0
KILL_SECONDS = 10.0


class StillThere(AiWorkflowError):
    """A process of the stack cannot be ended."""


def find(folder: Path) -> list[Process]:
    """Return the living processes of the stack of a folder but this one."""
    mark = f"{MARK}={folder}\0".encode()
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        pid = int(environment.parent.name)
        with contextlib.suppress(OSError):
            if pid != os.getpid() and mark in environment.read_bytes() and (since := born(pid)):
                found.append(Process(pid, since))
    return found


def end(folder: Path, seconds: float = SAVE_SECONDS) -> int:
    """Ask all of them to end, kill those that have not within `seconds`, and return how many there were.

    Raises:
        StillThere: one cannot be killed, as it belongs to somebody else.
    """
    there = find(folder)
    asked: set[int] = set()
    for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, KILL_SECONDS)):
        deadline = time.monotonic() + patience
        # What is asked to end may start something meanwhile.
        while left := find(folder):
            for process in left:
                if number == signal.SIGKILL or process.pid not in asked:
                    asked.add(process.pid)
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(process.pid, number)
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        else:
            return len(there)
    those = ", ".join(str(process.pid) for process in find(folder))
    raise StillThere(f"processes of the stack do not end: {those}. End them as whoever they belong to")
