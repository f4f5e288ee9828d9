"""Which folders of the journal have changed since one last looked: without looking into all of them."""

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
# A folder may change twice within one tick of its disk's clock, of which some only have whole seconds: what changed so
# lately is looked at again.
_SECOND_NS, _TICK_NS = 1_000_000_000, 100_000_000
# A folder whose run has ended may get events again, of a retry or of a recovery: all are passed in so many looks.
ROUND = 60
# On an object store only a list of everything can tell: so many seconds between two.
FULL_SECONDS = 600.0


class Folders(Protocol):
    """The folders of a journal, each a trace."""

    def changed(self, watched: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
        """Yield trace id and names of each folder that is new or has changed, the newest first where that is known.

        Args:
            watched: those that are looked at whenever one looks.
        """

    def again(self, trace_id: str) -> None:
        """Take a folder for changed at the next look, too."""


def folders(store: Store) -> Folders:
    """Return the folders of a store's journal."""
    return LocalFolders(str(store.local(journal.FOLDER))) if store.is_local else ObjectFolders(store)


class LocalFolders:
    """On a disk, a folder's own time of change tells: one look costs a few system calls, however many there are."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._root_time = -1
        self._times: dict[str, int] = {}
        self._young: set[str] = set()
        self._round: list[str] = []

    def changed(self, watched: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
        """Yield trace id and names of each folder that is new or has changed, the newest first."""
        found = []
        for trace_id in {*self._new(), *watched, *self._young, *self._due()}:
            try:
                changed = os.stat(f"{self._root}/{trace_id}").st_mtime_ns  # noqa: PTH116 - ten times a Path
            except OSError:
                self._forget(trace_id)
                continue
            if self._times.get(trace_id) != changed:
                found.append((changed, trace_id))
            else:
                self._young.discard(trace_id)
        for changed, trace_id in sorted(found, reverse=True):
            # Before the list, so that what comes after it is another change.
            self._remember(trace_id, changed)
            with contextlib.suppress(OSError):
                yield trace_id, journal.sort_names(os.listdir(f"{self._root}/{trace_id}"))  # noqa: PTH208

    def again(self, trace_id: str) -> None:
        """Take a folder for changed at the next look, too."""
        self._times[trace_id] = -1
        self._young.add(trace_id)

    def _new(self) -> set[str]:
        try:
            changed = os.stat(self._root).st_mtime_ns  # noqa: PTH116
        except FileNotFoundError:
            return set()
        if changed == self._root_time:
            return set()
        self._root_time = -1 if _is_young(changed) else changed
        there = set(os.listdir(self._root))  # noqa: PTH208
        new = there - self._times.keys()
        if len(there) - len(new) < len(self._times):
            for trace_id in self._times.keys() - there:
                self._forget(trace_id)
        return set(filter(_TRACE_ID.match, new))

    def _due(self) -> list[str]:
        """Return those of all folders whose turn it is."""
        if not self._round:
            self._round = list(self._times)
        count = -(-len(self._times) // ROUND)
        due, self._round = self._round[:count], self._round[count:]
        return due

    def _remember(self, trace_id: str, changed: int) -> None:
        if _is_young(changed):
            self.again(trace_id)
        else:
            self._times[trace_id] = changed
            self._young.discard(trace_id)

    def _forget(self, trace_id: str) -> None:
        self._times.pop(trace_id, None)
        self._young.discard(trace_id)


def _is_young(changed: int) -> bool:
    return time.time_ns() - changed <= (_TICK_NS if changed % _SECOND_NS else 2 * _SECOND_NS)


class ObjectFolders:
    """On an object store, which has no times of folders, the number of files tells."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counts: dict[str, int] = {}
        self._full = float("-inf")

    def changed(self, watched: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
        """Yield trace id and names of each folder that is new or has more files than before."""
        for trace_id, names in self._listed(set(watched)).items():
            if len(names) != self._counts.get(trace_id):
                self._counts[trace_id] = len(names)
                yield trace_id, names

    def again(self, trace_id: str) -> None:
        """Take a folder for changed at the next look, too."""
        self._counts.pop(trace_id, None)

    def _listed(self, watched: set[str]) -> dict[str, list[str]]:
        if time.monotonic() - self._full >= FULL_SECONDS:
            found = self._all()
            self._full = time.monotonic()
            for trace_id in self._counts.keys() - found.keys():
                del self._counts[trace_id]
            return found
        there = set(filter(_TRACE_ID.match, self._store.names(journal.FOLDER)))
        wanted = sorted((there - self._counts.keys()) | (there & watched))
        return {name: journal.sort_names(self._store.names(f"{journal.FOLDER}/{name}")) for name in wanted}

    def _all(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path, _size, _modified in self._store.files(journal.FOLDER):
            trace_id, name = path.split("/")[-2:]
            if _TRACE_ID.match(trace_id):
                found.setdefault(trace_id, []).append(name)
        return {trace_id: journal.sort_names(names) for trace_id, names in found.items()}
