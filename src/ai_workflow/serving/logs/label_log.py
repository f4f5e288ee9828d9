"""Keeps labels that callers send: on disk before they are told so, in append-only segments.

    label_log/<pipeline>/<service>-000001.jsonl    one line for each label, written as they come
    labels/<pipeline>/service/<digest>.jsonl       a segment that is closed, for the evaluation flow

A segment is named by its digest once it is closed: handed over twice, it is there once. It is locked as long as its
service lives, so that one that a killed service left is known.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ai_workflow.errors import StoreError
from ai_workflow.quality.label_store import FOLDER as LABELS
from ai_workflow.storage import locks
from ai_workflow.storage.durable import sync_folder, write_error
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

FOLDER = "label_log"
_LOOK_SECONDS, _AGAIN_SECONDS = 0.5, 10.0
_SEGMENT_BYTES = 32 << 20
log = logger("label_log")


class LabelLog:
    """The labels that one service takes; nothing of it runs in the event loop.

    Args:
        store: where closed segments go.
        folder: where open ones are, on a local disk.
        pipeline: whose labels they are.
        segment_seconds: age at which a segment is closed.
    """

    def __init__(self, store: Store, folder: Path, pipeline: str, segment_seconds: float) -> None:
        self._store, self._folder, self._seconds = store, folder, segment_seconds
        self._place = f"{LABELS}/{pipeline}/service"
        self._stem, self._number = secrets.token_hex(4), 0
        self._handle, self._opened, self._bytes = -1, 0.0, 0
        # When something is to be handed over next; what an earlier service left, at once.
        self._next = 0.0
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="labels")

    async def add(self, lines: bytes) -> None:
        """Return once the lines are on disk.

        Raises:
            StoreError: they cannot be written, and nothing of them has been.
        """
        await asyncio.get_running_loop().run_in_executor(self._writer, self._append, lines)

    async def watch(self) -> None:
        """Close segments that are old, and hand over those that are closed, for as long as the service runs."""
        while True:
            await asyncio.get_running_loop().run_in_executor(self._writer, self._close_if_due)
            if time.monotonic() >= self._next:
                await asyncio.to_thread(self._hand_over)
            await asyncio.sleep(min(_LOOK_SECONDS, self._seconds))

    def close(self) -> None:
        """Close the segment, and hand it over."""
        self._writer.shutdown()
        self._close()
        self._hand_over()

    def _append(self, data: bytes) -> None:
        try:
            if self._handle < 0:
                self._open()
            left = memoryview(data)
            while left:
                left = left[os.write(self._handle, left) :]
            os.fdatasync(self._handle)
            self._bytes += len(data)
        except OSError as error:
            if self._handle >= 0:
                # Half a line would spoil the next one.
                with contextlib.suppress(OSError):
                    os.ftruncate(self._handle, self._bytes)
                self._close()
            raise write_error(str(self._folder), error) from error
        if self._bytes >= _SEGMENT_BYTES:
            self._close()

    def _open(self) -> None:
        self._number += 1
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{self._stem}-{self._number:06d}.jsonl"
        self._handle = locks.create(path)
        sync_folder(self._folder)
        self._opened, self._bytes = time.monotonic(), 0

    def _close_if_due(self) -> None:
        if self._handle >= 0 and time.monotonic() - self._opened >= self._seconds:
            self._close()

    def _close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle, self._next = -1, 0.0

    def _hand_over(self) -> None:
        """Hand over what is closed; what fails is tried again, and kept until then."""
        self._next = math.inf
        for path in sorted(self._folder.glob("*.jsonl")):
            try:
                self._hand_over_one(path)
            except Exception as error:  # whatever happens to the store: the service goes on
                log.warning("labels wait in %s, they cannot be handed over yet: %s", path, error)
                self._next = time.monotonic() + _AGAIN_SECONDS

    def _hand_over_one(self, path: Path) -> None:
        with locks.abandoned(path) as segment:
            if segment is None:
                return
            data = segment.read()
            if data:
                self._store.write(f"{self._place}/{hashlib.sha256(data).hexdigest()[:32]}.jsonl", data)
            path.unlink()


def place(store: Store, given: str | None, pipeline: str) -> Path | None:
    """Return where open segments are: in a folder that is given, or in the store; None where that is no local one."""
    if given is not None:
        return Path(given) / "_labels" / pipeline
    try:
        return store.local(f"{FOLDER}/{pipeline}")
    except StoreError:
        return None
