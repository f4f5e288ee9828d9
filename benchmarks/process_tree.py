"""Which processes a server is made of, and the CPU time they took, read from /proc."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure import BenchmarkError

PROC = Path("/proc")
# proc_pid_stat(5), counted from the state on: the name before it may hold blanks and brackets.
_PARENT, _SESSION, _TIMES, _STARTED = 1, 3, slice(11, 15), 19


class Process(NamedTuple):
    """One process: parent, session, ticks of CPU time of it and of the children it waited for, and when it started."""

    parent: int
    session: int
    ticks: int
    started: int


def parse(stat: str) -> Process:
    """Read one line of /proc/PID/stat."""
    fields = stat.rpartition(")")[2].split()
    return Process(int(fields[_PARENT]), int(fields[_SESSION]), sum(map(int, fields[_TIMES])), int(fields[_STARTED]))


def members(root: int) -> dict[int, Process]:
    """Return a process, its descendants, and the remaining processes of its session."""
    every = _every()
    found = {pid for pid, process in every.items() if root in (pid, process.session)}
    grown = True
    while grown:
        more = {pid for pid, process in every.items() if process.parent in found} - found
        found |= more
        grown = bool(more)
    return {pid: every[pid] for pid in found}


def cpu_seconds(root: int) -> float:
    """Return the user and system time of a process and all that belong to it.

    Raises:
        BenchmarkError: there is no such process (any more).
    """
    found = members(root)
    if root not in found:
        raise BenchmarkError(f"process {root} is not there any more; see the log of the server")
    return sum(process.ticks for process in found.values()) / os.sysconf("SC_CLK_TCK")


def kill(those: Mapping[int, Process]) -> None:
    """End at once those that are still there; not another process that has got the number of one by now."""
    now = _every()
    for pid, process in those.items():
        if pid in now and now[pid].started == process.started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _every() -> dict[int, Process]:
    found = {}
    for folder in PROC.glob("[0-9]*"):
        # One that ends meanwhile, or is another user's behind `hidepid`.
        with contextlib.suppress(OSError):
            found[int(folder.name)] = parse((folder / "stat").read_text())
    return found
