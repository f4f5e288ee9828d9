"""File listing and atomic deletion of folders, so that readers never see half a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from ai_workflow.storage.durable import sync_folder, write_error
from ai_workflow.storage.store import Store


@dataclass(frozen=True, slots=True)
class StoredFile:
    """Path, size and last modification time of a file."""

    path: str
    bytes: int
    modified: datetime


def files(store: Store, folder: str) -> Iterator[StoredFile]:
    """Yield every file below a folder, except files being written; a missing folder has none."""
    for path, size, modified in store.files(folder):
        yield StoredFile(path, size, modified)


def delete_atomically(store: Store, path: str, aside: str) -> None:
    """Delete a folder so that readers see all of it or nothing: it is first renamed to `aside`.

    An object store has no rename, so there `manifest.json` is deleted first.

    Raises:
        StoreError: the folder cannot be renamed.
    """
    if not store.is_local:
        store.remove(f"{path}/manifest.json")
        store.remove(path)
        return
    try:
        store.local(path).rename(store.local(aside))
        sync_folder(store.local(path).parent)
    except FileNotFoundError:
        return
    except OSError as error:
        raise write_error(store.url(path), error) from error
    store.remove(aside)


def remove_empty(store: Store, folder: str) -> None:
    """Remove a folder if it is empty, and then its parents that are empty."""
    if not store.is_local:
        return
    path, base = store.local(folder), store.local("")
    while path != base and path.is_dir():
        try:
            path.rmdir()
        except OSError:
            return
        path = path.parent
