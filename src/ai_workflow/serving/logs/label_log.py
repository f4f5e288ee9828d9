"""Label log: labels are on disk before the response, in append-only segments.

    label_log/<pipeline>/<service>-000001.jsonl    one line for each label, in order of arrival
    labels/<pipeline>/service/<digest>.jsonl       a closed segment, for the evaluation flow

A closed segment is named by its digest, so that moving it to the store is idempotent.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ai_workflow.errors import StoreError
from ai_workflow.quality.label_store import FOLDER as LABELS
from ai_workflow.serving.logs.segment_log import SegmentWriter
from ai_workflow.storage import locks
from ai_workflow.storage.durable import write_error
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

FOLDER = "label_log"
_POLL_SECONDS, _RETRY_SECONDS = 0.5, 10.0
log = logger("label_log")


class LabelLog:
    """The labels that one service receives; all file access is in threads.

    Args:
        store: the store of closed segments.
        folder: the folder of open segments, on a local disk.
        pipeline: the pipeline of the labels.
        segment_seconds: age at which a segment is closed.
    """

    def __init__(self, store: Store, folder: Path, pipeline: str, segment_seconds: float) -> None:
        self._store, self._folder = store, folder
        self._poll_seconds = min(_POLL_SECONDS, segment_seconds)
        self._store_folder = f"{LABELS}/{pipeline}/service"
        self._segments = SegmentWriter(folder, segment_seconds)
        # When closed segments are due to be moved; at once for those of an earlier service.
        self._move_at = 0.0
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="labels")

    async def add(self, lines: bytes) -> None:
        """Write lines to disk.

        Raises:
            StoreError: the lines cannot be written; none of them is kept.
        """
        await asyncio.get_running_loop().run_in_executor(self._writer, self._append, lines)

    async def watch(self) -> None:
        """Close segments that are due, and move closed ones to the store, until cancelled."""
        while True:
            await asyncio.get_running_loop().run_in_executor(self._writer, self._close_if_due)
            if time.monotonic() >= self._move_at:
                await asyncio.to_thread(self._move_closed)
            await asyncio.sleep(self._poll_seconds)

    def close(self) -> None:
        """Close the current segment, and move it to the store."""
        self._writer.shutdown()
        self._segments.close()
        self._move_closed()

    def _append(self, lines: bytes) -> None:
        try:
            self._segments.append(lines)
        except OSError as error:
            self._move_at = 0.0
            raise write_error(str(self._folder), error) from error
        self._close_if_due()

    def _close_if_due(self) -> None:
        if self._segments.is_due:
            self._segments.close()
            self._move_at = 0.0

    def _move_closed(self) -> None:
        """Move closed segments to the store; those that fail stay, and are retried."""
        self._move_at = math.inf
        for path in sorted(self._folder.glob("*.jsonl")):
            try:
                self._move(path)
            except Exception as error:  # a store may raise any exception, and the service must continue
                log.warning("labels stay in %s for now, the store cannot be written: %s", path, error)
                self._move_at = time.monotonic() + _RETRY_SECONDS

    def _move(self, path: Path) -> None:
        with locks.abandoned(path) as file:
            if file is None:
                return
            if data := file.read():
                self._store.write(f"{self._store_folder}/{hashlib.sha256(data).hexdigest()[:32]}.jsonl", data)
            path.unlink()


def segment_folder(store: Store, configured: str | None, pipeline: str) -> Path | None:
    """Return the folder of open segments: the configured one, or one in the store; None if the store is not local."""
    if configured is not None:
        return Path(configured) / "_labels" / pipeline
    try:
        return store.local(f"{FOLDER}/{pipeline}")
    except StoreError:
        return None
