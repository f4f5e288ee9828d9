"""Measures a whole process from the outside: wall time, CPU time and peak memory, its children included."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from ai_workflow.errors import AiWorkflowError
from benchmarks.tree_memory import PeakMemory

# `ru_maxrss` counts KiB on Linux and bytes on macOS (getrusage(2)).
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
_TAIL = 2_000


class BenchmarkError(AiWorkflowError):
    """A process under measurement did not do what it should, so that its time means nothing."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process took; `cpu` is user and system time, `mebibytes` peak memory."""

    seconds: float
    cpu: float
    mebibytes: float


def cost(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path, *, tree: bool = False
) -> Cost:
    """Run a command to its end; its output goes to `log`.

    A child's peak memory is never less than this process's own was at the time: keep it small.

    Args:
        command: program and arguments.
        environment: variables of the process.
        folder: current folder of the process.
        log: destination of its output.
        tree: peak memory of the process and its descendants together, sampled; else that of the largest process.

    Raises:
        BenchmarkError: it ended with another code than 0; with the end of its output.
    """
    with log.open("wb") as output:
        start = time.perf_counter()
        child = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        with PeakMemory(child.pid) if tree else nullcontext() as peak:
            _, status, used = os.wait4(child.pid, 0)
            seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        tail = log.read_text(errors="replace")[-_TAIL:]
        raise BenchmarkError(f"`{' '.join(command)}` ended with code {child.returncode}:\n{tail}")
    largest = max(used.ru_maxrss * _RSS_UNIT, peak.bytes if peak else 0)
    return Cost(seconds, used.ru_utime + used.ru_stime, largest / 2**20)


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the least, the median and the greatest."""
    return min(values), statistics.median(values), max(values)


def machine() -> str:
    """Return cores, versions and load of this machine in words."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return f"{cores()} cores, Python {sys.version.split()[0]}, load average {load} at the start"


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
