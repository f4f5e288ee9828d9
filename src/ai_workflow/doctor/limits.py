"""Check of the limits of this process and of its control group."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

from ai_workflow.datasets.spill import MAX_PARTITIONS
from ai_workflow.doctor.context import Context
from ai_workflow.doctor.finding import Finding

# Files that a process opens beside connections and partitions.
_BASE_FILES = 128
_MAX_SHARE = 0.9
_MAX_IN_FLIGHT = 256
_REMEDY = 'Raise the limit of the unit or container (docs/operating.md, "Out of memory")'


def check(context: Context) -> Iterator[Finding]:
    """Yield limits that are too low, or almost used up."""
    yield from _open_files(context)
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if soft != resource.RLIM_INFINITY:
        yield Finding("warning", f"files are limited to {soft:,} bytes", "ulimit -f", "Set `ulimit -f unlimited`")
    yield from _used(context.cgroup, "memory", "bytes of memory", _reclaimable(context.cgroup))
    yield from _used(context.cgroup, "pids", "processes and threads", 0)


def _open_files(context: Context) -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_flight = context.loaded.settings.service.max_in_flight if context.loaded else _MAX_IN_FLIGHT
    # The service raises its limit to the hard one; a run keeps the soft one.
    for limit, needed, reason in (
        (soft, MAX_PARTITIONS + _BASE_FILES, "runs open up to"),
        (hard, in_flight + _BASE_FILES, f"service.max_in_flight: {in_flight} needs"),
    ):
        if limit not in (resource.RLIM_INFINITY, -1) and limit < needed:
            what = f"{limit} files can be open, {reason} {needed}"
            remedy = f"Set `ulimit -n {needed}`, LimitNOFILE= of the unit, or the limit of the container"
            yield Finding("error", what, "ulimit -n", remedy)


def _used(group: Path, resource_name: str, unit: str, reclaimable: int) -> Iterator[Finding]:
    """Yield a finding if the control group has almost used up its limit."""
    limit, used = _number(group / f"{resource_name}.max"), _number(group / f"{resource_name}.current")
    if limit is None or used is None or used - reclaimable < _MAX_SHARE * limit:
        return
    what = f"{used - reclaimable:,} of {limit:,} {unit} are used; beyond the limit the kernel ends or refuses processes"
    yield Finding("error", what, str(group / f"{resource_name}.max"), _REMEDY)


def _reclaimable(group: Path) -> int:
    """Return the memory of cached files, which the kernel releases on demand."""
    try:
        lines = (group / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))


def _number(path: Path) -> int | None:
    """Return the number in a file, None if there is none or no limit."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
