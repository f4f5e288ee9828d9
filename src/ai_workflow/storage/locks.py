"""Exclusive locks on local files (flock): the kernel releases a lock when its holder closes the file, or dies.

An object store has no locks. There, callers lock a file in the temporary folder of this machine, or nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ai_workflow.storage.durable import write_error

IN_CACHE_KEY = False
# A lock file that other processes remove this often is treated as held.
_MAX_ATTEMPTS = 10


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock of a file within the context, created if missing; wait until other holders release it.

    Raises:
        OSError: the file cannot be created or locked.
    """
    handle = _open(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def exclusive_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, its file `.lock`, within the context; both are created if missing.

    Raises:
        StoreError: the folder cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(exclusive(folder / ".lock"))
        except OSError as error:
            raise write_error(str(folder), error) from error
        yield


def try_acquire(path: Path) -> int | None:
    """Lock a file without waiting, created with its folder if missing; return the descriptor, None if it is held.

    The lock lasts until the descriptor is closed.

    Raises:
        OSError: the file cannot be created or locked.
    """
    for _ in range(_MAX_ATTEMPTS):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _open(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another process may have removed the file since it was opened: its lock would exclude no one.
            if os.fstat(handle).st_ino == path.stat().st_ino:
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    return None


def create(path: Path) -> int:
    """Create a locked file to append to and return its descriptor; the lock lasts until it is closed.

    Raises:
        OSError: the file exists, or cannot be created or locked.
    """
    while True:
        handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_EXCL, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        # Before it was locked, another process may have removed it as the file of a killed writer.
        if os.fstat(handle).st_nlink:
            return handle
        os.close(handle)


@contextlib.contextmanager
def abandoned(path: Path) -> Iterator[IO[bytes] | None]:
    """Open and lock a file whose writer has closed it or died; None if it is missing or still being written.

    Raises:
        OSError: the file cannot be read or locked.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield None
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        # Another process may have moved its content and removed it since it was opened.
        yield file if path.exists() else None


def is_locked(path: Path) -> bool:
    """Return whether a living process holds the lock of a file; a file that is missing or unreadable is not locked."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _open(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
