"""Looks through a store and clears away in it, so that nobody finds half of what is going."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from ai_workflow.storage.durable import sync_folder, write_error
from ai_workflow.storage.store import Store


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that is there: where, how large, and when it was written last."""

    path: str
    bytes: int
    modified: datetime


def files(store: Store, folder: str) -> Iterator[StoredFile]:
    """Yield every file below a folder, files being written left out; a missing folder has none."""
    for path, size, modified in store.files(folder):
        yield StoredFile(path, size, modified)


def delete_atomically(store: Store, path: str, aside: str) -> None:
    """Remove a folder so that it is gone at once: it first gets another name, which nobody looks for.

    On an object store, which has no rename, its `manifest.json` goes first.

    Raises:
        StoreError: it cannot be renamed.
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
    """Remove a folder if nothing is left in it, and those above it that are empty then."""
    if not store.is_local:
        return
    place, base = store.local(folder), store.local("")
    while place != base and place.is_dir():
        try:
            place.rmdir()
        except OSError:
            return
        place = place.parent
