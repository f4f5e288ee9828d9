"""Run locks: the process of a run holds a file lock for as long as it lives, whatever the state of the run.

    runs/<flow run id>.lock    one line of JSON, the holder; the kernel releases the lock when the process dies

An object store has no locks; the file is then in the temporary folder of this machine.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ai_workflow import json_text
from ai_workflow.errors import AiWorkflowError, StoreError
from ai_workflow.storage import locks
from ai_workflow.storage.durable import write_error
from ai_workflow.storage.store import Store

FOLDER = "runs"
# Prefix of the names of locks that belong to no run.
EXCLUSIVE_PREFIX = "alone-"
# `locks.is_locked` holds a shared lock for a moment, so an attempt may fail although no run holds the lock.
_TIMEOUT_SECONDS = 1.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Never closed: the process of a run may live on for a second, until its last state is reported.
_held: dict[Path, int] = {}


class RunLockedError(AiWorkflowError):
    """A living process already executes the run."""


def boot_id() -> str:
    """Return the ID of the current boot of this machine; empty if the system has none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that acquired a lock last, and which attempt of the run it executes.

    A run that `is_maintenance` works on other runs and does not count as active itself.
    """

    trace_id: str = ""
    attempt: str = ""
    is_maintenance: bool = False
    pid: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)
    boot: str = field(default_factory=boot_id)

    @property
    def is_same_boot(self) -> bool:
        """Whether it ran on this machine since the last boot: only then a free lock means that it has died."""
        return (self.host, self.boot) == (socket.gethostname(), boot_id())


@dataclass(frozen=True, slots=True)
class LockStatus:
    """State of a run lock, and its last holder; None if there was none or its record is damaged."""

    is_held: bool
    holder: Holder | None = None


def acquire(store: Store, run_id: str, holder: Holder) -> None:
    """Acquire the lock of a run until this process ends.

    Raises:
        RunLockedError: another process holds it.
        StoreError: the lock file cannot be written.
    """
    path = _path(store, run_id)
    if path in _held:
        return
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    try:
        while (handle := locks.try_acquire(path)) is None:
            if time.monotonic() > deadline:
                other = _record(path) or Holder(pid=0, host="an unknown host")
                raise RunLockedError(f"process {other.pid} on {other.host} already executes this run")
            time.sleep(0.05)
        _held[path] = handle
        line = (json_text.line(asdict(holder), sort_keys=False) + "\n").encode()
        # Overwritten, then truncated: after a kill between the two, the first line is still whole.
        os.pwrite(handle, line, 0)
        os.ftruncate(handle, len(line))
    except OSError as error:
        raise _unwritable(store, path, error) from error


def remove_at_exit(store: Store, run_id: str) -> None:
    """Remove the lock file when this process ends, because the run needs no recovery."""
    atexit.register(_path(store, run_id).unlink, missing_ok=True)


def release(store: Store, run_id: str) -> None:
    """Release the lock of a run and remove its file, because another process continues the run."""
    path = _path(store, run_id)
    # Removed before it is unlocked, so that a process that opened the file earlier does not acquire the removed file.
    path.unlink(missing_ok=True)
    if (handle := _held.pop(path, None)) is not None:
        os.close(handle)


def status(store: Store, run_id: str) -> LockStatus:
    """Return whether a living process executes a run, and the last holder of its lock."""
    path = _path(store, run_id)
    return LockStatus(locks.is_locked(path), _record(path))


def is_any_run_active(store: Store) -> bool:
    """Return whether a process of this machine executes a run of this store; maintenance runs do not count."""
    runs, others = (_path(store, name) for name in ("*", f"{EXCLUSIVE_PREFIX}*"))
    paths = set(runs.parent.glob(runs.name)) - set(others.parent.glob(others.name))
    return any(locks.is_locked(path) and not (_record(path) or Holder()).is_maintenance for path in paths)


def remove(store: Store, run_id: str) -> None:
    """Remove the lock file of a run whose process has died."""
    _path(store, run_id).unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive(store: Store, name: str) -> Iterator[bool]:
    """Yield whether this is the only thread on this machine in a context of this name.

    Raises:
        StoreError: the lock file cannot be written.
    """
    path = _path(store, EXCLUSIVE_PREFIX + name)
    try:
        handle = locks.try_acquire(path)
    except OSError as error:
        raise _unwritable(store, path, error) from error
    try:
        yield handle is not None
    finally:
        if handle is not None:
            os.close(handle)


def _unwritable(store: Store, path: Path, error: OSError) -> StoreError:
    if store.is_local:
        return write_error(str(path), error)
    remedy = "Free some space there, or set TMPDIR to a folder that this user may write"
    return StoreError(f"{path} cannot be written: {error.strerror or error}. {remedy}")


def _record(path: Path) -> Holder | None:
    try:
        body = json.loads(path.read_bytes().splitlines()[0])
        # Earlier releases wrote `looks_after`.
        is_maintenance = body.pop("looks_after", False)
        return Holder(**{"is_maintenance": is_maintenance, **body})
    except (OSError, ValueError, TypeError, AttributeError, IndexError):
        return None


def _path(store: Store, name: str) -> Path:
    if store.is_local:
        return store.local(f"{FOLDER}/{name}.lock")
    store_hash = hashlib.sha256(store.root.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"ai-workflow-{store_hash}-{name}.lock"
