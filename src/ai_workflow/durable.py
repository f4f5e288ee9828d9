"""What outlives a power cut: flushed files, flushed folders, and a clear word where a disk takes nothing more."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from ai_workflow.errors import StoreError


def make_ready(written: Path, *, flushed: bool) -> None:
    """Flush a file that is about to get its name, and let others read it."""
    if flushed:
        with written.open("rb") as file:
            os.fsync(file.fileno())
    written.chmod(0o644)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename in it outlives a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def create_locked(path: Path) -> int:
    """Create a file to append to, locked for as long as it is open; return its handle."""
    while True:
        handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_EXCL, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        # Until it was locked, it passed for one that a killed process left, and whoever looks for those removes it.
        if os.fstat(handle).st_nlink:
            return handle
        os.close(handle)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes of this machine that lock a folder out of it; a lock dies with its holder.

    Raises:
        StoreError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise write_error(str(folder), error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_error(place: str, error: OSError) -> StoreError:
    """Return what to say where a place could not be written: which, why, and what to do."""
    remedy = {
        errno.ENOSPC: "The disk is full: free some space and run again; nothing is lost",
        errno.EDQUOT: "The quota is used up: free some space and run again; nothing is lost",
        errno.EACCES: "Give this user the right to write there, or set store.root to another place",
        errno.EROFS: "The file system is read-only: set store.root to another place",
    }.get(error.errno or 0, "Mend the place, or set store.root to another")
    return StoreError(f"{place} cannot be written: {error.strerror or error}. {remedy}")
