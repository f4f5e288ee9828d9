"""Check that the store can be read and written."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from ai_workflow.doctor.context import Context
from ai_workflow.doctor.finding import Finding
from ai_workflow.errors import StoreError
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal

_REMEDY = "Correct store.root (AIW_STORE), its mount, credentials or permissions"
_FOLDER = "doctor"


def check(context: Context) -> Iterator[Finding]:
    """Yield why the store cannot be read or written."""
    store = context.store
    if store.is_local and not store.local(".").exists():
        remedy = "The first run creates it; if it should exist, correct store.root (AIW_STORE) or mount the disk"
        yield Finding("warning", "the store does not exist", store.root, remedy)
        return
    try:
        if store.is_local:
            next(store.local(".").iterdir(), None)
        store.names(context.models)
        store.names(journal.FOLDER)
    except (StoreError, OSError) as error:
        yield Finding("error", f"the store cannot be read: {error}", store.root, _REMEDY)
        return
    try:
        _write(store)
    except (StoreError, OSError) as error:
        yield Finding("error", f"the store cannot be written: {error}", store.root, _REMEDY)


def _write(store: Store) -> None:
    """Write a file and remove it; a folder is checked with a file without a name.

    Raises:
        StoreError: it cannot be written.
    """
    if store.is_local:
        store.require_writable()
        return
    path = f"{_FOLDER}/{uuid.uuid4().hex}"
    store.write(path, b"ai-workflow doctor")
    store.remove(path)
