"""Expired files of runs, by kind: data that can be computed again, checkpoints, journals, predictions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ai_workflow.config.settings import Retention
from ai_workflow.storage import cleanup, run_lock, run_order
from ai_workflow.storage.cleanup import StoredFile
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

# Files of one group: partitions with their record, all files of a training, of a run, of a table.
_DATA = re.compile(r"^data/(?:datasets/.+|\w+/[0-9a-f]+)")
_CHECKPOINTS = re.compile(r"^checkpoints/[^/]+/[^/]+")
_JOURNALS = re.compile(r"^(?:journal|quarantine)/[^/]+")
_PREDICTIONS = re.compile(r"^predictions/[^/]+/[^/]+/[^/]+")
_KINDS = {"data": _DATA, "checkpoints": _CHECKPOINTS, "journals": _JOURNALS, "predictions": _PREDICTIONS}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Kinds that a run in progress may read.
_OF_RUNS = ("data", "checkpoints")
log = logger("retention")


@dataclass
class ExpiredFiles:
    """A group of files that is deleted as a whole; `modified` is that of the youngest file."""

    kind: str
    path: str
    bytes: int = 0
    modified: datetime = _EPOCH
    files: list[str] = field(default_factory=list)

    def add(self, file: StoredFile) -> None:
        """Add a file."""
        self.bytes += file.bytes
        self.modified = max(self.modified, file.modified)
        self.files.append(file.path)


def find(store: Store, policy: Retention, now: datetime) -> list[ExpiredFiles]:
    """Return the groups older than the limit of their kind, the oldest first; no training that may be resumed."""
    groups: dict[tuple[str, str], ExpiredFiles] = {}
    for kind, pattern in _KINDS.items():
        for folder in ("journal", "quarantine") if kind == "journals" else (kind,):
            for file in cleanup.files(store, folder):
                if match := pattern.match(file.path):
                    groups.setdefault((kind, match[0]), ExpiredFiles(kind, match[0])).add(file)
    old = [group for group in groups.values() if now - group.modified > timedelta(days=policy.days(group.kind))]
    expired = [group for group in old if group.kind != "checkpoints" or _is_over(store, group, policy, now)]
    return sorted(expired, key=lambda group: group.modified)


def summary(groups: Iterable[ExpiredFiles]) -> list[tuple[str, int, int]]:
    """Return the number and the bytes of the groups of each kind."""
    sizes: dict[str, list[int]] = {}
    for group in groups:
        sizes.setdefault(group.kind, []).append(group.bytes)
    return [(kind, len(kind_sizes), sum(kind_sizes)) for kind, kind_sizes in sizes.items()]


def _is_over(store: Store, checkpoints: ExpiredFiles, policy: Retention, now: datetime) -> bool:
    """Return whether a training has written its model, or was given up long ago."""
    is_trained = store.exists(f"data/trained/{checkpoints.path.rsplit('/', 1)[-1]}")
    return is_trained or now - checkpoints.modified > timedelta(days=policy.data_days)


def remove(store: Store, expired: Iterable[ExpiredFiles], policy: Retention, now: datetime) -> int:
    """Remove groups of files that are still expired and unchanged, and return the bytes released.

    A group that was used or changed stays, and so do data and checkpoints while a run is in progress; a log line
    counts them. The records of a group are removed first, so that a reader finds the whole group or nothing.
    """
    planned = {(group.kind, group.path): group for group in expired}
    if any(group.kind in _OF_RUNS for group in planned.values()) and run_lock.is_any_run_active(store):
        log.info("a run is in progress: %s stay until the next retention", " and ".join(_OF_RUNS))
        planned = {key: group for key, group in planned.items() if group.kind not in _OF_RUNS}
    freed = removed = 0
    for group in find(store, policy, now) if planned else ():
        approved = planned.get((group.kind, group.path))
        if approved is None or (approved.bytes, approved.modified) != (group.bytes, group.modified):
            continue
        for path in sorted(group.files, key=lambda path: not path.endswith(".json")):
            store.remove(path)
        cleanup.remove_empty(store, group.path)
        if group.kind == "journals":
            run_order.remove_number(store, group.path.rsplit("/", 1)[-1])
        freed += group.bytes
        removed += 1
    if changed := len(planned) - removed:
        log.info("%d of %d old files were used, changed or removed since the plan: they stay", changed, len(planned))
    return freed
