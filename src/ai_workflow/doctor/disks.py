"""Check of the free space on the disks of the store, the logs and temporary files."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ai_workflow.doctor.context import Context
from ai_workflow.doctor.finding import Finding
from ai_workflow.slo import reader

_ALERT = "ModelStoreDiskLow"
_MIN_FREE_FILES = 0.01
_REMEDY = "Free space or grow the disk; `ai-workflow models prune --dry-run` shows what can be deleted"


def check(context: Context) -> Iterator[Finding]:
    """Yield the disks with less free space than `ModelStoreDiskLow` of the SLO file allows."""
    min_free_bytes = _min_free_bytes(context)
    if min_free_bytes is None:
        what = f"the limit of free space is unknown: {reader.own()} has no valid {_ALERT}"
        yield Finding("unknown", what, str(reader.own()), "Correct the file: `ai-workflow slo validate`")
    devices: set[int] = set()
    for name, folder in _folders(context).items():
        yield from _disk(name, folder, devices, min_free_bytes)
    try:
        temporary = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        # Python tries to write a file in each usual folder.
        yield Finding("error", f"temporary files cannot be written: {error.strerror}", "TMPDIR", _REMEDY)
        return
    yield from _disk("temporary files", temporary, devices, min_free_bytes)


def _folders(context: Context) -> dict[str, Path]:
    store = context.store
    folders = {"store": store.local(".")} if store.is_local else {}
    return folders | {"logs": context.var.resolve()}


def _disk(name: str, folder: Path, devices: set[int], min_free_bytes: float | None) -> Iterator[Finding]:
    """Yield the problems of the disk of a folder, and add it to the checked `devices`."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    device = existing.stat().st_dev
    if device in devices:
        return
    devices.add(device)
    where = f"{name} {folder}"
    free = shutil.disk_usage(existing).free
    if min_free_bytes is not None and free < min_free_bytes:
        what = f"the disk has {free / 1e9:.2f} GB free, below {_ALERT} ({min_free_bytes / 1e9:.2f} GB)"
        yield Finding("error", what, where, _REMEDY)
    system = os.statvfs(existing)
    if system.f_files and system.f_favail < _MIN_FREE_FILES * system.f_files:
        what = f"the disk has room for {system.f_favail:,} more files (of {system.f_files:,} inodes)"
        yield Finding("error", what, where, _REMEDY)


def _min_free_bytes(context: Context) -> float | None:
    entry = context.spec.entry(_ALERT) if context.spec else None
    return float(entry.parameters["bytes"]) if entry else None
