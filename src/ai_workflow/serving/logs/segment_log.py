"""Append-only segment files `<folder>/<writer>-000001.jsonl`, which the logs of predictions and of labels share.

A segment stays locked while its writer uses it. One that is not locked is complete: its writer closed it or died, and
`locks.abandoned` opens it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from pathlib import Path

from ai_workflow.storage import locks
from ai_workflow.storage.durable import sync_folder

_MAX_BYTES = 32 << 20


class SegmentWriter:
    """Writer of the current segment of one service; for one thread at a time.

    Args:
        folder: the folder of the segments, on a local disk.
        max_seconds: age at which a segment is due to be closed.
    """

    def __init__(self, folder: Path, max_seconds: float) -> None:
        self._folder, self._max_seconds = folder, max_seconds
        self._name = secrets.token_hex(4)
        self._number = 0
        self._handle: int | None = None
        self._opened_at = 0.0
        self._bytes = 0

    @property
    def is_due(self) -> bool:
        """Whether a segment is open that is full or old."""
        is_old = time.monotonic() - self._opened_at >= self._max_seconds
        return self._handle is not None and (self._bytes >= _MAX_BYTES or is_old)

    def append(self, data: bytes) -> None:
        """Append lines and flush them to disk, to a new segment if none is open.

        Raises:
            OSError: the lines cannot be written; the segment is closed without them.
        """
        try:
            handle = self._open() if self._handle is None else self._handle
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(handle, rest) :]
            os.fdatasync(handle)
        except OSError:
            if self._handle is not None:
                # A partial line would corrupt the next one.
                with contextlib.suppress(OSError):
                    os.ftruncate(self._handle, self._bytes)
                self.close()
            raise
        self._bytes += len(data)

    def close(self) -> None:
        """Close the current segment, if any."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _open(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._number += 1
        self._handle = locks.create(self._folder / f"{self._name}-{self._number:06d}.jsonl")
        self._opened_at = time.monotonic()
        self._bytes = 0
        # The folder entry must survive a power failure, too.
        sync_folder(self._folder)
        return self._handle
