"""Metrics of the newest checkpoint of each pipeline, from its checkpoint folders."""

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
    """Newest checkpoint of every pipeline.

    Args:
        store: the store.
        running_trainings: returns the start time of the running trainer, by pipeline.
    """

    name = "checkpoints"

    def __init__(self, store: Store, running_trainings: Callable[[], dict[str, float]]) -> None:
        self._store, self._running_trainings = store, running_trainings
        # By pipeline: the newest folder, its modification time, and the time of its newest checkpoint.
        self._newest_folders: dict[str, tuple[str, int, float]] = {}

    def collect(self) -> list[Sample]:
        """Return the time of the newest checkpoint by pipeline.

        Before the first one, the start of the trainer.
        """
        newest = self._local() if self._store.is_local else self._remote()
        for pipeline, started in self._running_trainings().items():
            newest[pipeline] = max(started, newest.get(pipeline, started))
        return [Sample(_NAME, (pipeline,), saved) for pipeline, saved in newest.items()]

    def _local(self) -> dict[str, float]:
        root = str(self._store.local(checkpoints.FOLDER))
        newest = {pipeline.name: self._newest(pipeline.name, pipeline.path) for pipeline in _folders(root)}
        return {pipeline: saved for pipeline, saved in newest.items() if saved is not None}

    def _newest(self, pipeline: str, path: str) -> float | None:
        """Return the time of the newest checkpoint, which is in the most recently modified folder."""
        folders = sorted(((entry.stat().st_mtime_ns, entry.path) for entry in _folders(path)), reverse=True)
        for changed, folder in folders:
            if self._newest_folders.get(pipeline, ())[:2] == (folder, changed):
                return self._newest_folders[pipeline][2]
            if saved := _saved(folder):
                self._newest_folders[pipeline] = (folder, changed, max(saved))
                return max(saved)
        return None

    def _remote(self) -> dict[str, float]:
        newest: dict[str, float] = {}
        for pipeline in self._store.names(checkpoints.FOLDER):
            for fingerprint in self._store.names(f"{checkpoints.FOLDER}/{pipeline}"):
                folder = f"{checkpoints.FOLDER}/{pipeline}/{fingerprint}"
                for name in filter(_CHECKPOINT.match, self._store.names(folder)):
                    with contextlib.suppress(FileNotFoundError):
                        saved = self._store.modified(f"{folder}/{name}")
                        newest[pipeline] = max(saved.timestamp(), newest.get(pipeline, 0.0))
        return newest


def _saved(folder: str) -> list[float]:
    """Return the times of all checkpoints of a folder; the trainer may delete some of them meanwhile."""
    times = []
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                times += [entry.stat().st_mtime] if _CHECKPOINT.match(entry.name) else []
    return times


def _folders(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if entry.is_dir()]
    except FileNotFoundError:
        return []
