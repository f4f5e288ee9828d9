"""What runs left behind long ago, by kind: data that can be computed again, checkpoints, journals, predictions."""

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

# What belongs together: partitions and the record that vouches for them, all files of a training, of a run, of a table.
_DATA = re.compile(r"^data/(?:datasets/.+|\w+/[0-9a-f]+)")
_CHECKPOINTS = re.compile(r"^checkpoints/[^/]+/[^/]+")
_JOURNALS = re.compile(r"^(?:journal|quarantine)/[^/]+")
_PREDICTIONS = re.compile(r"^predictions/[^/]+/[^/]+/[^/]+")
_KINDS = {"data": _DATA, "checkpoints": _CHECKPOINTS, "journals": _JOURNALS, "predictions": _PREDICTIONS}
# A run under way may be about to read these.
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_OF_RUNS = ("data", "checkpoints")
log = logger("retention")


@dataclass
class Old:
    """Files that go together, as long as none of them is young; `modified` is that of the youngest."""

    kind: str
    path: str
    bytes: int = 0
    modified: datetime = _LONG_AGO
    files: list[str] = field(default_factory=list)

    def take(self, found: StoredFile) -> None:
        """Add a file."""
        self.bytes += found.bytes
        self.modified = max(self.modified, found.modified)
        self.files.append(found.path)


def find(store: Store, policy: Retention, now: datetime) -> list[Old]:
    """Return what is older than its kind is kept, the oldest first; nothing of a training that may go on."""
    groups: dict[tuple[str, str], Old] = {}
    for kind, pattern in _KINDS.items():
        for folder in ("journal", "quarantine") if kind == "journals" else (kind,):
            for found in cleanup.files(store, folder):
                if match := pattern.match(found.path):
                    groups.setdefault((kind, match[0]), Old(kind, match[0])).take(found)
    old = [one for one in groups.values() if now - one.modified > timedelta(days=policy.days(one.kind))]
    gone = [one for one in old if one.kind != "checkpoints" or _is_over(store, one, policy, now)]
    return sorted(gone, key=lambda one: one.modified)


def summary(old: Iterable[Old]) -> list[tuple[str, int, int]]:
    """Return for each kind how many there are and how many bytes they take."""
    found: dict[str, list[int]] = {}
    for one in old:
        found.setdefault(one.kind, []).append(one.bytes)
    return [(kind, len(sizes), sum(sizes)) for kind, sizes in found.items()]


def _is_over(store: Store, checkpoints: Old, policy: Retention, now: datetime) -> bool:
    """Whether a training has made its model, or was given up long ago."""
    made = store.exists(f"data/trained/{checkpoints.path.rsplit('/', 1)[-1]}")
    return made or now - checkpoints.modified > timedelta(days=policy.data_days)


def remove(store: Store, old: Iterable[Old], policy: Retention, now: datetime) -> int:
    """Remove groups of files that are still old and as they were, and return the bytes released.

    A group that was used or changed stays, and what runs may need stays while a run is under way; a log line counts
    them. The files that vouch for others go first, so that a reader finds all of a group or nothing.
    """
    planned = {(group.kind, group.path): group for group in old}
    if any(group.kind in _OF_RUNS for group in planned.values()) and run_lock.is_any_run_active(store):
        log.info("a run is under way: %s stay until the next time", " and ".join(_OF_RUNS))
        planned = {key: group for key, group in planned.items() if group.kind not in _OF_RUNS}
    freed = removed = 0
    for group in find(store, policy, now) if planned else ():
        shown = planned.get((group.kind, group.path))
        if shown is None or (shown.bytes, shown.modified) != (group.bytes, group.modified):
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
