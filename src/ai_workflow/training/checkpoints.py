"""Checkpoints of one training, verified by checksum and rotated; the newest valid one is resumed.

    checkpoints/<pipeline>/<fingerprint>/
        model_step_300.state   everything that the next step depends on
        model_step_300.json    step, figures, sha256 of the state; written last, it commits the checkpoint
        expected.json          the step saved last, which reveals a missing checkpoint
        .lock                  locked by the training process; the kernel releases it when the process dies

The fingerprint covers trainer settings, data and code, so a folder has checkpoints of one training only.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from ai_workflow.errors import StageError, StoreError
from ai_workflow.storage import locks
from ai_workflow.storage.durable import write_error
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

IN_CACHE_KEY = False
FOLDER = "checkpoints"
_NAME = re.compile(r"^model_step_(\d+)\.json$")
_STATE = re.compile(r"^model_step_\d+\.state$")
_EXPECTED = "expected.json"
log = logger("checkpoint")


class ProgressRecord(TypedDict):
    """Progress of a training as JSON, in the record of a checkpoint."""

    step: int
    best_step: int
    best_loss: float | None
    losses: list[tuple[int, float]]
    over: bool
    batch_size: int | None


class TrainingLockedError(StageError):
    """Another process trains the same model now."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A verified checkpoint: the step, the state after it, and its progress as readable figures."""

    step: int
    state: bytes
    figures: ProgressRecord

    @property
    def name(self) -> str:
        """Name in log lines and files: `model_step_300`."""
        return f"model_step_{self.step}"


class Checkpoints:
    """Checkpoints of one training in a store."""

    def __init__(self, store: Store, pipeline: str, fingerprint: str, keep: int) -> None:
        self._store = store
        self.folder = f"{FOLDER}/{pipeline}/{fingerprint}"
        self._keep = keep

    def save(self, step: int, state: bytes, figures: ProgressRecord) -> float:
        """Save the state after a step, delete all but the last `keep` checkpoints, and return the seconds it took.

        Raises:
            StoreError: it cannot be written; earlier checkpoints are unchanged.
        """
        start = time.perf_counter()
        stem = f"{self.folder}/model_step_{step}"
        ref = self._store.write(f"{stem}.state", state)
        body = {"step": step, "sha256": ref.sha256, "bytes": ref.bytes, "figures": figures}
        self._store.write_record(f"{stem}.json", body)
        self._store.write_record(f"{self.folder}/{_EXPECTED}", {"step": step})
        for old in self.steps()[: -self._keep]:
            # The record is deleted first: a state without a record is not a checkpoint.
            self._store.remove(f"{self.folder}/model_step_{old}.json")
        kept = {f"model_step_{step}.state" for step in self.steps()}
        # This includes states that a killed process left without a record.
        for name in set(filter(_STATE.match, self._store.names(self.folder))) - kept:
            self._store.remove(f"{self.folder}/{name}")
        seconds = time.perf_counter() - start
        log.debug("checkpoint model_step_%d saved, %d bytes in %.3f s", step, ref.bytes, seconds)
        return seconds

    def clear(self) -> None:
        """Delete all checkpoints of a training whose result is stored elsewhere."""
        # Without the step saved last, a missing checkpoint is no loss.
        self._store.remove(f"{self.folder}/{_EXPECTED}")
        for pattern in (_NAME, _STATE):
            for name in filter(pattern.match, self._store.names(self.folder)):
                self._store.remove(f"{self.folder}/{name}")

    def steps(self) -> list[int]:
        """Return the steps that have a record, the earliest first; the checkpoint may be damaged."""
        return sorted(int(match[1]) for name in self._store.names(self.folder) if (match := _NAME.match(name)))

    def newest(self) -> Checkpoint | None:
        """Return the newest valid checkpoint, or None; a damaged one is set aside with a warning.

        If the checkpoint saved last is missing, that is logged, as an ERROR if no other is left.
        """
        expected = self._expected()
        for step in reversed(self.steps()):
            try:
                checkpoint = self._load(step)
            except StoreError as error:
                log.warning("checkpoint model_step_%d is set aside: %s", step, error)
                self._set_aside(step)
                continue
            if step < expected:
                log.warning(
                    "checkpoint model_step_%d was saved in %s and cannot be used any more: "
                    "the steps after %d are trained again", expected, self._store.url(self.folder), step,
                )  # fmt: skip
            log.debug("checkpoint %s read, %d bytes", checkpoint.name, len(checkpoint.state))
            return checkpoint
        if expected:
            log.error(
                "checkpoint model_step_%d was saved in %s and is not there any more: all %d steps are trained again",
                expected, self._store.url(self.folder), expected,
            )  # fmt: skip
        return None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of this training, which excludes other processes on this machine.

        Raises:
            TrainingLockedError: another process has the lock.
            StoreError: the lock file cannot be created.
        """
        path = self._lock_file()
        try:
            handle = locks.try_acquire(path)
            holder = "" if handle is not None else path.read_text(errors="replace").strip()
        except OSError as error:
            raise write_error(str(path), error) from error
        if handle is None:
            raise TrainingLockedError(
                f"process {holder or 'unknown'} trains the same model on the same data now",
                "Wait for it, or end it, and run again",
            )
        try:
            # On a full disk the lock is held all the same, only its file does not name this process.
            with contextlib.suppress(OSError):
                os.ftruncate(handle, 0)
                os.pwrite(handle, str(os.getpid()).encode(), 0)
            self._store.remove_parts(self.folder)
            yield
        finally:
            os.close(handle)

    def _load(self, step: int) -> Checkpoint:
        stem = f"{self.folder}/model_step_{step}"
        body = self._store.read_record(f"{stem}.json")
        if body["step"] != step:
            raise StoreError(f"{self._store.url(stem)}.json is of step {body['step']}")
        return Checkpoint(step, self._store.read(f"{stem}.state", body["sha256"]), body["figures"])

    def _set_aside(self, step: int) -> None:
        for suffix in (".json", ".state"):
            path = f"{self.folder}/model_step_{step}{suffix}"
            if not self._store.exists(path):
                continue
            if self._store.is_local:
                file = self._store.local(path)
                file.replace(file.with_name(f"{file.name}.damaged"))
            else:
                self._store.remove(path)

    def _expected(self) -> int:
        try:
            return int(self._store.read_record(f"{self.folder}/{_EXPECTED}")["step"])
        except StoreError:
            return 0

    def _lock_file(self) -> Path:
        if self._store.is_local:
            return self._store.local(f"{self.folder}/.lock")
        # An object store has no locks, so only processes on one machine exclude each other.
        name = hashlib.sha256(f"{self._store.root}/{self.folder}".encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"ai-workflow-{name}.lock"
