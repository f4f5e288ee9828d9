"""Free disk space of a local store; an object store has no limit."""

from __future__ import annotations

import shutil
from pathlib import Path

from ai_workflow.exporter.samples import Sample
from ai_workflow.storage.store import Store


class DiskSource:
    """Free space on the disk of a store."""

    name = "disk"

    def __init__(self, store: Store) -> None:
        self._root = store.local("") if store.is_local else None

    def collect(self) -> list[Sample]:
        """Return the free bytes for this user, even if the folder of the store does not exist yet."""
        if self._root is None:
            return []
        return [Sample("model_store_available_bytes", (), float(shutil.disk_usage(_existing(self._root)).free))]


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())
