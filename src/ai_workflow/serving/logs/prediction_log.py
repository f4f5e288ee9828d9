"""Prediction log: a thread writes predictions to append-only segments, so that no request waits for the disk.

    prediction_log/<pipeline>/<service>-000001.jsonl    one line for each row; the last line may be incomplete

`compaction` moves closed segments to `predictions/`, in another process.
"""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from ai_workflow.serving.logs.prediction_record import PredictionRecord
from ai_workflow.serving.logs.segment_log import SegmentWriter
from ai_workflow.telemetry import logs, metrics
from ai_workflow.telemetry.logs import logger

FOLDER = "prediction_log"
# A killed service loses at most the predictions of this interval.
_WRITE_SECONDS = 0.25
_MAX_WAITING_ROWS = 20_000
_MAX_WAITING_BYTES = 32 << 20
_MAX_INLINE_ROWS = 32
# Time after which a compaction that failed is repeated, and a segment that a failed write closed is compacted.
_RETRY_SECONDS = 60.0
# Limit of time that a shutdown waits for a compaction.
_COMPACTION_SECONDS = 6.0
log = logger("prediction_log")


class PredictionLog:
    """The prediction log of one service; `add` is for the event loop, the rest happens in a thread.

    Args:
        folder: the folder of segments, on a local disk.
        values: whether raw rows are logged, or only a hash of their features.
        id_column: the column with the ID of a row, if any.
        segment_seconds: age at which a segment is closed.
        compact: command that moves closed segments to `predictions/`.
    """

    def __init__(
        self, folder: Path, *, values: bool, id_column: str | None, segment_seconds: float, compact: Sequence[str]
    ) -> None:
        self._values, self._id_column = values, id_column
        self._segments = SegmentWriter(folder, segment_seconds)
        self._compact_command = list(compact)
        self._waiting: deque[tuple[int, int, PredictionRecord | bytes]] = deque()
        # Totals of rows and bytes; the event loop writes the added ones, the thread the removed ones.
        self._added_rows = 0
        self._added_bytes = 0
        self._removed_rows = 0
        self._removed_bytes = 0
        self._stop = threading.Event()
        self._compaction: subprocess.Popen[bytes] | None = None
        # When the next compaction is due; at once for the segments of an earlier service.
        self._compact_at = 0.0
        self._written = metrics.get("prediction_log_records_total")
        self._dropped = metrics.get("prediction_log_dropped_total")
        self._has_failed = False
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)

    def start(self) -> None:
        """Start the thread, which first compacts the segments of an earlier service."""
        self._thread.start()

    def add(self, record: PredictionRecord) -> None:
        """Add a request to the queue; drop and count it if too many rows or bytes wait already."""
        rows = len(record.predictions)
        # The lines of small requests are built here, because building many at once in the thread would block the loop.
        item = self._lines(record) if record.is_small and rows <= _MAX_INLINE_ROWS else record
        size = len(item) if isinstance(item, bytes) else record.memory_bytes
        rows_waiting = self._added_rows - self._removed_rows
        bytes_waiting = self._added_bytes - self._removed_bytes
        # A request that is larger than the queue is accepted if the queue is empty.
        if rows_waiting and (rows_waiting + rows > _MAX_WAITING_ROWS or bytes_waiting + size > _MAX_WAITING_BYTES):
            self._dropped.inc(rows)
            return
        self._added_rows += rows
        self._added_bytes += size
        self._waiting.append((rows, size, item))

    def close(self) -> None:
        """Write the queue, close the segment, and wait for its compaction for a limited time."""
        self._stop.set()
        self._thread.join()
        self._segments.close()
        self._await_compaction()
        if not self._is_compacting():
            self._start_compaction()
        self._await_compaction()

    def _run(self) -> None:
        self._compact_if_due()
        while not self._stop.wait(_WRITE_SECONDS):
            self._write()
            if self._segments.is_due:
                self._segments.close()
                self._compact_at = 0.0
            self._compact_if_due()
        self._write()

    def _compact_if_due(self) -> None:
        # A running compaction may have missed a segment that was closed since, so that another one follows.
        if not self._is_compacting() and time.monotonic() >= self._compact_at:
            self._compact_at = math.inf
            self._start_compaction()

    def _is_compacting(self) -> bool:
        """Return whether a compaction is running; one that failed is due again after a while."""
        if self._compaction is None:
            return False
        status = self._compaction.poll()
        if status is None:
            return True
        self._compaction = None
        if status:
            self._retry_later()
        return False

    def _retry_later(self) -> None:
        self._compact_at = min(self._compact_at, time.monotonic() + _RETRY_SECONDS)

    def _write(self) -> None:
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not waiting:
            return
        rows = sum(rows for rows, _, _ in waiting)
        try:
            self._segments.append(
                b"".join([item if isinstance(item, bytes) else self._lines(item) for _, _, item in waiting])
            )
            self._written.inc(rows)
            self._has_failed = False
        except Exception as error:  # neither a full disk nor an invalid record may stop the service
            self._dropped.inc(rows)
            if not self._has_failed:
                log.warning("predictions are not logged: %s", error)
            self._has_failed = True
            self._segments.close()
            self._retry_later()
        finally:
            self._removed_rows += rows
            self._removed_bytes += sum(size for _, size, _ in waiting)

    def _lines(self, record: PredictionRecord) -> bytes:
        return record.to_lines(self._id_column, with_values=self._values)

    def _await_compaction(self) -> None:
        if self._compaction is not None:
            # A compaction that takes longer continues in the background; the next service compacts what is left.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._compaction.wait(_COMPACTION_SECONDS)

    def _start_compaction(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "AIW_LOG_FORMAT": logs.line_format()}
        try:
            self._compaction = subprocess.Popen(
                ["nice", "-n", "19", sys.executable, *self._compact_command],
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        except OSError as error:
            log.warning("closed segments wait, their compaction cannot be started: %s", error)
            self._retry_later()
