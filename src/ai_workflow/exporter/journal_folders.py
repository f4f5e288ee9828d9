"""Detection of changed journal folders without listing all of them."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from typing import Protocol

from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal

_TRACE_ID = re.compile(r"^[0-9a-f]{32}$")
# A folder may change twice within one tick of the file system clock, which may be a second. Folders that changed this
# recently are checked again.
_SECOND_NS, _TICK_NS = 1_000_000_000, 100_000_000
# A retry or a recovery adds events to the folder of an ended run, so all folders are checked within this number of
# collections.
SCAN_ROUNDS = 60
# Changes of ended runs on an object store are found only by a full listing.
FULL_SCAN_SECONDS = 600.0


class Folders(Protocol):
    """Folders of a journal, one for each trace."""

    def changed(self, watched: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
        """Yield trace id and file names of each new or changed folder, the newest first if times are available.

        Args:
            watched: folders that are checked each time.
        """

    def mark_changed(self, trace_id: str) -> None:
        """Report a folder as changed at the next collection as well."""


def folders(store: Store) -> Folders:
    """Return the folders of a store's journal."""
    return LocalFolders(str(store.local(journal.FOLDER))) if store.is_local else ObjectFolders(store)


class LocalFolders:
    """Local folders, compared by modification time: a collection needs only a few system calls."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._root_time = -1
        self._times: dict[str, int] = {}
        self._recent: set[str] = set()
        self._unchecked: list[str] = []

    def changed(self, watched: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
        """Yield trace id and file names of each new or changed folder, the newest first."""
        changes = []
        for trace_id in {*self._new(), *watched, *self._recent, *self._due()}:
            try:
                changed = os.stat(f"{self._root}/{trace_id}").st_mtime_ns  # noqa: PTH116 - Path is ten times slower
            except OSError:
                self._forget(trace_id)
                continue
            if self._times.get(trace_id) != changed:
                changes.append((changed, trace_id))
            else:
                self._recent.discard(trace_id)
        for changed, trace_id in sorted(changes, reverse=True):
            # Before the listing, so that a later file counts as another change.
            self._remember(trace_id, changed)
            with contextlib.suppress(OSError):
                yield trace_id, journal.sort_names(os.listdir(f"{self._root}/{trace_id}"))  # noqa: PTH208

    def mark_changed(self, trace_id: str) -> None:
        """Report a folder as changed at the next collection as well."""
        self._times[trace_id] = -1
        self._recent.add(trace_id)

    def _new(self) -> set[str]:
        try:
            changed = os.stat(self._root).st_mtime_ns  # noqa: PTH116
        except FileNotFoundError:
            return set()
        if changed == self._root_time:
            return set()
        self._root_time = -1 if _is_recent(changed) else changed
        present = set(os.listdir(self._root))  # noqa: PTH208
        new = present - self._times.keys()
        if len(present) - len(new) < len(self._times):
            for trace_id in self._times.keys() - present:
                self._forget(trace_id)
        return set(filter(_TRACE_ID.match, new))

    def _due(self) -> list[str]:
        """Return the next part of all folders."""
        if not self._unchecked:
            self._unchecked = list(self._times)
        count = -(-len(self._times) // SCAN_ROUNDS)
        due, self._unchecked = self._unchecked[:count], self._unchecked[count:]
        return due

    def _remember(self, trace_id: str, changed: int) -> None:
        if _is_recent(changed):
            self.mark_changed(trace_id)
        else:
            self._times[trace_id] = changed
            self._recent.discard(trace_id)

    def _forget(self, trace_id: str) -> None:
        self._times.pop(trace_id, None)
        self._recent.discard(trace_id)


def _is_recent(changed: int) -> bool:
    return time.time_ns() - changed <= (_TICK_NS if changed % _SECOND_NS else 2 * _SECOND_NS)


class ObjectFolders:
    """Folders in an object store, compared by their number of files because they have no modification time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counts: dict[str, int] = {}
        self._last_full_scan = float("-inf")

    def changed(self, watched: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
        """Yield trace id and file names of each folder that is new or has another number of files."""
        for trace_id, names in self._listed(set(watched)).items():
            if len(names) != self._counts.get(trace_id):
                self._counts[trace_id] = len(names)
                yield trace_id, names

    def mark_changed(self, trace_id: str) -> None:
        """Report a folder as changed at the next collection as well."""
        self._counts.pop(trace_id, None)

    def _listed(self, watched: set[str]) -> dict[str, list[str]]:
        if time.monotonic() - self._last_full_scan >= FULL_SCAN_SECONDS:
            folders = self._all()
            self._last_full_scan = time.monotonic()
            for trace_id in self._counts.keys() - folders.keys():
                del self._counts[trace_id]
            return folders
        present = set(filter(_TRACE_ID.match, self._store.names(journal.FOLDER)))
        trace_ids = sorted((present - self._counts.keys()) | (present & watched))
        return {name: journal.sort_names(self._store.names(f"{journal.FOLDER}/{name}")) for name in trace_ids}

    def _all(self) -> dict[str, list[str]]:
        folders: dict[str, list[str]] = {}
        for path, _size, _modified in self._store.files(journal.FOLDER):
            trace_id, name = path.split("/")[-2:]
            if _TRACE_ID.match(trace_id):
                folders.setdefault(trace_id, []).append(name)
        return {trace_id: journal.sort_names(names) for trace_id, names in folders.items()}
