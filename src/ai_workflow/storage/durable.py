"""Durable writes: files and folders flushed to disk, and write errors with their remedy."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from ai_workflow.errors import StoreError

_OTHER_PATH = "Set store.root to another place"
_REMEDIES = {
    errno.ENOSPC: "The disk is full: free some space and run again; nothing is lost",
    errno.EDQUOT: "The quota is used up: free some space and run again; nothing is lost",
    errno.EACCES: "Give this user the right to write there, or set store.root to another place",
    errno.EPERM: "Give this user the right to write there, or set store.root to another place",
    errno.EROFS: "The file system is read-only: set store.root to another place",
    errno.ENOTDIR: "Set store.root to a folder",
    errno.EEXIST: "Set store.root to a folder",
    errno.EISDIR: "Remove the folder that is in the way, or set store.root to another place",
    errno.ENAMETOOLONG: "Set store.root to a shorter path",
    errno.EFBIG: "Raise the limit of file sizes (ulimit -f), or set store.root to another place",
    errno.EMFILE: "Raise the limit of open files (ulimit -n)",
    errno.ENOMEM: "Give the process more memory",
    errno.EIO: "Check the disk, or set store.root to another place",
    errno.ELOOP: "Correct the links in the path, or set store.root to another place",
}
# Errors that are caused by a part of the path.
_PATH_ERRORS = (errno.ENOTDIR, errno.ENOENT, errno.EEXIST)


def prepare_for_rename(written: Path, *, flushed: bool) -> None:
    """Flush a file before it is renamed, and make it readable for other users."""
    if flushed:
        with written.open("rb") as file:
            os.fsync(file.fileno())
    written.chmod(0o644)


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk, so that a rename in it survives a power failure."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def require_writable(root: str, folder: Path) -> None:
    """Create the folder of a store and check that a file can be written in it.

    Raises:
        StoreError: the folder cannot be written; the message names `store.root`, reason and remedy.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0")
            file.flush()
    except OSError as error:
        raise write_error(f"store.root '{root}'", error, folder) from error


def write_error(name: str, error: OSError, path: Path | None = None) -> StoreError:
    """Return the error of a file or folder that cannot be written, with reason and remedy.

    Args:
        name: how the message names it.
        error: the error of the system.
        path: its path, if `name` is not the path.
    """
    reason, remedy = _path_problem(path or Path(name)) if error.errno in _PATH_ERRORS else (None, None)
    reason = reason or error.strerror or str(error)
    return StoreError(f"{name} cannot be written: {reason}. {remedy or _REMEDIES.get(error.errno or 0, _OTHER_PATH)}")


def _path_problem(path: Path) -> tuple[str | None, str | None]:
    """Return which part of a path is not a folder, and the remedy."""
    for part in [path, *path.parents]:
        if part.is_symlink() and not part.exists():
            return (
                f"'{part}' is a link to '{part.readlink()}', which does not exist",
                "Create that folder, or correct the link",
            )
        if part.exists():
            return (f"Not a directory: '{part}' is a file", None) if not part.is_dir() else (None, None)
    return None, None
