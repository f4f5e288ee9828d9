"""Says which process has a run: each run holds a file lock as long as its process lives, whatever becomes of the run.

    runs/<flow run id>.lock    one line of JSON: who holds it; the lock is the kernel's, and dies with the process

Where the store is an object store, which has no locks, the file is among the temporary ones of this machine.
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
# What the names of locks begin with that no run has.
EXCLUSIVE_PREFIX = "alone-"
# Whoever asks whether a lock is held takes it for a moment.
_PATIENCE_SECONDS = 1.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Closed by nobody: a run's process may live on for a second, until its last state is reported.
_held: dict[Path, int] = {}


class RunLockedError(AiWorkflowError):
    """Another process has the run, and lives."""


def boot_id() -> str:
    """Return what tells one start of this machine from the next; empty where the system does not say."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that took a lock last; `attempt` tells the attempts at one run apart.

    One that `is_maintenance` the runs of others does not count as a run that is at work.
    """

    trace_id: str = ""
    attempt: str = ""
    is_maintenance: bool = False
    pid: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)
    boot: str = field(default_factory=boot_id)

    @property
    def is_same_boot(self) -> bool:
        """Whether it ran on this machine since it was last started, so that a free lock means that it is gone."""
        return (self.host, self.boot) == (socket.gethostname(), boot_id())


@dataclass(frozen=True, slots=True)
class LockStatus:
    """A run's lock as it is now; no holder is known where there is none, or its record is damaged."""

    held: bool
    holder: Holder | None = None


def acquire(store: Store, run_id: str, holder: Holder) -> None:
    """Take the lock of a run until this process ends.

    Raises:
        RunLockedError: another process has it.
        StoreError: it cannot be written.
    """
    place = _place(store, run_id)
    if place in _held:
        return
    deadline = time.monotonic() + _PATIENCE_SECONDS
    try:
        while (handle := locks.try_acquire(place)) is None:
            if time.monotonic() > deadline:
                other = _record(place) or Holder(pid=0, host="an unknown host")
                raise RunLockedError(f"process {other.pid} of {other.host} has this very run, and lives")
            time.sleep(0.05)
        _held[place] = handle
        line = (json_text.line(asdict(holder), sort_keys=False) + "\n").encode()
        # Written over, then cut: what a kill between the two leaves still begins with a whole line.
        os.pwrite(handle, line, 0)
        os.ftruncate(handle, len(line))
    except OSError as error:
        raise _unwritable(store, place, error) from error


def remove_at_exit(store: Store, run_id: str) -> None:
    """Let this process remove the lock file when it ends: the run needs no recovery."""
    atexit.register(_place(store, run_id).unlink, missing_ok=True)


def release(store: Store, run_id: str) -> None:
    """Release the lock of a run that this process holds and remove its file: the run goes on in another process."""
    place = _place(store, run_id)
    # Removed first: a process that opened the file before finds that it is another one.
    place.unlink(missing_ok=True)
    if (handle := _held.pop(place, None)) is not None:
        os.close(handle)


def status(store: Store, run_id: str) -> LockStatus:
    """Return whether a living process has the run, and who had it last."""
    place = _place(store, run_id)
    return LockStatus(locks.is_locked(place), _record(place))


def is_any_run_active(store: Store) -> bool:
    """Say whether a process of this machine has a run of this store that is at work: not waiting for a person, say."""
    runs, others = (_place(store, name) for name in ("*", f"{EXCLUSIVE_PREFIX}*"))
    places = set(runs.parent.glob(runs.name)) - set(others.parent.glob(others.name))
    return any(locks.is_locked(place) and not (_record(place) or Holder()).is_maintenance for place in places)


def remove(store: Store, run_id: str) -> None:
    """Remove the lock file of a run whose process is gone."""
    _place(store, run_id).unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive(store: Store, name: str) -> Iterator[bool]:
    """Say whether no other process of this machine, and no other thread of this one, is in a block of this name.

    Raises:
        StoreError: the lock cannot be written.
    """
    place = _place(store, EXCLUSIVE_PREFIX + name)
    try:
        handle = locks.try_acquire(place)
    except OSError as error:
        raise _unwritable(store, place, error) from error
    try:
        yield handle is not None
    finally:
        if handle is not None:
            os.close(handle)


def _unwritable(store: Store, place: Path, error: OSError) -> StoreError:
    if store.is_local:
        return write_error(str(place), error)
    remedy = "Free some space there, or set TMPDIR to a folder that this user may write"
    return StoreError(f"{place} cannot be written: {error.strerror or error}. {remedy}")


def _record(place: Path) -> Holder | None:
    try:
        body = json.loads(place.read_bytes().splitlines()[0])
        # Earlier releases wrote `looks_after`.
        is_maintenance = body.pop("looks_after", False)
        return Holder(**{"is_maintenance": is_maintenance, **body})
    except (OSError, ValueError, TypeError, AttributeError, IndexError):
        return None


def _place(store: Store, name: str) -> Path:
    if store.is_local:
        return store.local(f"{FOLDER}/{name}.lock")
    of_store = hashlib.sha256(store.root.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"ai-workflow-{of_store}-{name}.lock"
