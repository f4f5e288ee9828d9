"""When each pipeline's training was saved last, from the folders of its checkpoints."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable

from ai_workflow.exporter.samples import Sample
from ai_workflow.storage.store import Store
from ai_workflow.training import checkpoints

_NAME = "training_last_checkpoint_timestamp_seconds"
_CHECKPOINT = re.compile(r"^model_step_\d+\.json$")


class CheckpointSource:
    """Looks for the newest checkpoint of every pipeline.

    Args:
        store: the store.
        at_work: gives the pipelines whose trainer is at work, each with when it began.
    """

    name = "checkpoints"

    def __init__(self, store: Store, at_work: Callable[[], dict[str, float]]) -> None:
        self._store, self._at_work = store, at_work
        # Of a pipeline's newest folder: its path, its own time of change, and the newest checkpoint in it.
        self._known: dict[str, tuple[str, int, float]] = {}

    def look(self) -> list[Sample]:
        """Return up to when each pipeline's training is saved.

        A trainer that has only just begun has nothing to lose yet: until its first checkpoint, its start counts.
        """
        newest = self._local() if self._store.is_local else self._remote()
        for pipeline, began in self._at_work().items():
            newest[pipeline] = max(began, newest.get(pipeline, began))
        return [Sample(_NAME, (pipeline,), moment) for pipeline, moment in newest.items()]

    def _local(self) -> dict[str, float]:
        root = str(self._store.local(checkpoints.FOLDER))
        found = {}
        for pipeline in _folders(root):
            if (moment := self._newest(pipeline.name, pipeline.path)) is not None:
                found[pipeline.name] = moment
        return found

    def _newest(self, pipeline: str, path: str) -> float | None:
        """Return when the newest checkpoint was saved; a folder changes with every save, so the newest one has it."""
        times = sorted(((entry.stat().st_mtime_ns, entry.path) for entry in _folders(path)), reverse=True)
        for changed, folder in times:
            if self._known.get(pipeline, ())[:2] == (folder, changed):
                return self._known[pipeline][2]
            if saved := _saved(folder):
                self._known[pipeline] = (folder, changed, max(saved))
                return max(saved)
        return None

    def _remote(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for pipeline in self._store.names(checkpoints.FOLDER):
            for fingerprint in self._store.names(f"{checkpoints.FOLDER}/{pipeline}"):
                folder = f"{checkpoints.FOLDER}/{pipeline}/{fingerprint}"
                for name in filter(_CHECKPOINT.match, self._store.names(folder)):
                    with contextlib.suppress(FileNotFoundError):
                        saved = self._store.modified(f"{folder}/{name}")
                        found[pipeline] = max(saved.timestamp(), found.get(pipeline, 0.0))
        return found


def _saved(folder: str) -> list[float]:
    """Return when each checkpoint of a folder was saved; a trainer removes old ones while one looks."""
    found = []
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                found += [entry.stat().st_mtime] if _CHECKPOINT.match(entry.name) else []
    return found


def _folders(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if entry.is_dir()]
    except FileNotFoundError:
        return []
