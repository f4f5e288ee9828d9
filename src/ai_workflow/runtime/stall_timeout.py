"""Timeouts that tolerate a busy machine: only time without progress of a process counts.

Progress is CPU time: a process on busy cores gets some of it, a process that hangs gets none.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

# A process in an endless loop always makes progress, so it is ended after this many timeouts.
MAX_TIMEOUTS = 10
_CHECK_SECONDS = 1.0


class StallTimeout:
    """Timeout that expires after `seconds` without progress of a process, or after ten times `seconds` in total.

    Args:
        pid: the process.
        seconds: the longest time without progress.
        clock: seconds of a monotonic clock.
        cpu: CPU time by pid: `process_ticks`, or `group_ticks` for a process with children; a change is progress.
    """

    def __init__(
        self,
        pid: int,
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[int], int] | None = None,
    ) -> None:
        self._pid, self._seconds, self._clock, self._cpu = pid, seconds, clock, cpu or process_cpu_ticks
        self._started = self._progressed = clock()
        self._ticks = self._cpu(pid)

    @property
    def wait_seconds(self) -> float:
        """The longest wait before the next check of `reason`."""
        return max(0.0, min(_CHECK_SECONDS, self._progressed + self._seconds - self._clock()))

    @property
    def reason(self) -> str | None:
        """Reason why the timeout has expired; None if it has not."""
        now = self._clock()
        if now - self._progressed < self._seconds:
            return None
        ticks = self._cpu(self._pid)
        if ticks == self._ticks:
            return f"it made no progress for {self._seconds:g} s"
        if now - self._started >= MAX_TIMEOUTS * self._seconds:
            return f"it was still busy after {MAX_TIMEOUTS * self._seconds:g} s"
        self._progressed, self._ticks = now, ticks
        return None


def process_cpu_ticks(pid: int) -> int:
    """Return the CPU time of a process in clock ticks; 0 if it is gone, or where there is no /proc."""
    return _usage(pid).ticks


def group_cpu_ticks(pid: int) -> int:
    """Return the CPU time of the group that a process leads and of its descendants in other groups, in clock ticks."""
    with contextlib.suppress(FileNotFoundError):
        usages = {int(entry.name): _usage(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
        family = {number for number, usage in usages.items() if pid in (number, usage.group)}
        # Each process of PostgreSQL, for example, has a group of its own.
        while more := {number for number, usage in usages.items() if usage.parent in family} - family:
            family |= more
        return sum(usages[number].family_ticks for number in family)
    return 0


class _Usage(NamedTuple):
    """Parent, group and CPU time of a process; `family_ticks` includes its children that have ended."""

    parent: int
    group: int
    ticks: int
    family_ticks: int


def _usage(pid: int) -> _Usage:
    try:
        # The name stands in brackets and may hold any character; parent and group are fields 4 and 5, times 14 to 17
        # (proc(5)).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return _Usage(0, 0, 0, 0)
    user, system, children_user, children_system = map(int, fields[11:15])
    ticks = user + system
    return _Usage(int(fields[1]), int(fields[2]), ticks, ticks + children_user + children_system)
