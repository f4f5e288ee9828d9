"""How much is free where the store lies; an object store has no end that could be told."""

from __future__ import annotations

import shutil
from pathlib import Path

from ai_workflow.exporter.samples import Sample
from ai_workflow.storage.store import Store


class DiskSource:
    """Looks at the disk of a store."""

    name = "disk"

    def __init__(self, store: Store) -> None:
        self._place = store.local("") if store.is_local else None

    def look(self) -> list[Sample]:
        """Return the bytes that this user may still write, before the store's folder is made, too."""
        if self._place is None:
            return []
        return [Sample("model_store_available_bytes", (), float(shutil.disk_usage(_existing(self._place)).free))]


def _existing(place: Path) -> Path:
    return next(folder for folder in (place, *place.parents) if folder.exists())
