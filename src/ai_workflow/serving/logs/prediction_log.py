"""Keeps what was predicted: from memory into append-only segments, by a thread that no request waits for.

    prediction_log/<pipeline>/<service>-000001.jsonl    one line for each row; the last line may be torn

A segment that is full, or old, is closed; `compaction` makes `predictions/` of it, in another process. The file is
locked as long as its service lives, so that one that a killed service left is known.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ai_workflow.inference import prediction_columns
from ai_workflow.storage import locks
from ai_workflow.telemetry import logs, metrics
from ai_workflow.telemetry.logs import logger

FOLDER = "prediction_log"
# A service that is killed loses no more than what came in since the last write.
_WRITE_SECONDS = 0.25
_MOST_WAITING = 20_000
_MAX_WAITING_BYTES = 32 << 20
_FEW_ROWS = 32
# A service that ends waits so long for the rows to be in `predictions/`.
_COMPACTION_SECONDS = 6.0
_SEGMENT_BYTES = 32 << 20
log = logger("prediction_log")


@dataclass(slots=True)
class PredictionRecord:
    """One request that was answered."""

    moment: float
    trace_id: str
    stem: str
    version: str
    reasons: str | None
    predictions: Sequence[Any]
    scores: Sequence[float | None]
    rows: Sequence[dict[str, Any]] | None
    data: bytes | None
    is_small: bool = True
    # Bytes of the request.
    size: int = 0
    # How the version reads the id of a row; None: it is kept as it was sent.
    read_id: Callable[[str, Any], str | None] | None = None
    # The probability of each class, row after row, and the columns for those of one row.
    probabilities: Sequence[float] = ()
    probability_columns: Sequence[str] = ()

    @property
    def memory(self) -> int:
        """Bytes in memory, about: those of the request, of its numbers and of the probabilities."""
        return self.size + len(self.data or b"") + 8 * len(self.probabilities)

    def id_of(self, sent: dict[str, Any], name: str) -> Any:
        """Return the id of a row as the scoring flow stores it."""
        return self.read_id(name, sent.get(name)) if self.read_id is not None else sent.get(name)

    def probabilities_of(self, row: int) -> dict[str, float]:
        """Return the probabilities of a row by their columns."""
        width = len(self.probability_columns)
        answers = self.probabilities[row * width : (row + 1) * width]
        return dict(zip(self.probability_columns, map(float, answers), strict=True))


class PredictionLog:
    """The log of one service; `add` is for the event loop, the rest happens in a thread.

    Args:
        folder: where segments are written, on a local disk.
        values: whether rows are kept as they were sent, or as a hash only.
        id_column: the column that names a row, if any.
        segment_seconds: age at which a segment is closed.
        compact: command that makes `predictions/` of the closed segments.
    """

    def __init__(
        self, folder: Path, *, values: bool, id_column: str | None, segment_seconds: float, compact: Sequence[str]
    ) -> None:
        self._folder, self._values, self._id, self._seconds = folder, values, id_column, segment_seconds
        self._compact = list(compact)
        self._stem = secrets.token_hex(4)
        self._waiting: deque[tuple[int, int, PredictionRecord | bytes]] = deque()
        # Rows and bytes so far: the event loop counts those that were added, the thread those that were taken.
        self._added, self._taken = 0, 0
        self._added_bytes, self._taken_bytes = 0, 0
        self._over = threading.Event()
        self._number, self._handle, self._opened, self._bytes = 0, -1, 0.0, 0
        self._compacting: subprocess.Popen[bytes] | None = None
        self._written = metrics.get("prediction_log_records_total")
        self._dropped = metrics.get("prediction_log_dropped_total")
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)

    def start(self) -> None:
        """Begin to write; make `predictions/` of what an earlier service left."""
        self._start_compaction()
        self._thread.start()

    def add(self, record: PredictionRecord) -> None:
        """Add a request to the queue; drop and count it where too many rows or bytes wait already."""
        rows = len(record.predictions)
        # A few lines are made here: a thread that makes many at once would keep requests waiting.
        item = self._lines(record) if record.is_small and rows <= _FEW_ROWS else record
        size = len(item) if isinstance(item, bytes) else record.memory
        rows_waiting, bytes_waiting = self._added - self._taken, self._added_bytes - self._taken_bytes
        # A request that is larger than the queue is logged where nothing else waits.
        if rows_waiting and (rows_waiting + rows > _MOST_WAITING or bytes_waiting + size > _MAX_WAITING_BYTES):
            self._dropped.inc(rows)
            return
        self._added += rows
        self._added_bytes += size
        self._waiting.append((rows, size, item))

    def close(self) -> None:
        """Write what waits, close the segment, and wait a while until `predictions/` has been made of it."""
        self._over.set()
        self._thread.join()
        self._close_segment()
        self._await_compaction()
        self._start_compaction()
        self._await_compaction()

    def _run(self) -> None:
        while not self._over.wait(_WRITE_SECONDS):
            self._write()
            if self._compacting is not None:
                # One that has ended stays as a zombie until it is waited for.
                self._compacting.poll()
            if self._handle >= 0 and (
                self._bytes >= _SEGMENT_BYTES or time.monotonic() - self._opened >= self._seconds
            ):
                self._close_segment()
                self._start_compaction()
        self._write()

    def _write(self) -> None:
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not waiting:
            return
        rows = sum(rows for rows, _, _ in waiting)
        try:
            data = b"".join([item if isinstance(item, bytes) else self._lines(item) for _, _, item in waiting])
            if self._handle < 0:
                self._open()
            self._append(data)
            self._written.inc(rows)
            self._failed = False
        except Exception as error:  # whatever happens to the disk or a record: the service goes on
            self._dropped.inc(rows)
            if not self._failed:
                log.warning("predictions are not logged: %s", error)
            self._failed = True
            self._close_segment()
        finally:
            self._taken += rows
            self._taken_bytes += sum(size for _, size, _ in waiting)

    def _append(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._handle, left) :]
        os.fdatasync(self._handle)
        self._bytes += len(data)

    def _lines(self, record: PredictionRecord) -> bytes:
        width = len(record.data or b"") // len(record.predictions)
        own_id = prediction_columns.of_id(self._id)
        lines = []
        for row, (prediction, score) in enumerate(zip(record.predictions, record.scores, strict=True)):
            sent = record.rows[row] if record.rows else None
            line = {
                "prediction_id": f"{record.stem}-{row}",
                "id": record.id_of(sent, self._id) if sent and self._id else None,
                "row": row,
                "time": record.moment,
                "prediction": prediction,
                "score": score,
                "model_version": record.version,
                "fallback_reason": record.reasons,
                "trace_id": record.trace_id,
                "features": hashlib.blake2b((record.data or b"")[row * width : (row + 1) * width]).hexdigest()[:32]
                if width
                else None,
            }
            # The compaction knows the segment only.
            if own_id:
                line["id_column"] = own_id
            if record.probability_columns:
                line["probabilities"] = record.probabilities_of(row)
            if self._values and sent is not None:
                line["values"] = sent
            lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS))
        return b"".join(lines)

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._number += 1
        path = self._folder / f"{self._stem}-{self._number:06d}.jsonl"
        self._handle = locks.create(path)
        self._opened, self._bytes = time.monotonic(), 0

    def _close_segment(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _await_compaction(self) -> None:
        if self._compacting is not None:
            # It goes on by itself if it takes longer, and what it does not do, that of the next service does.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._compacting.wait(_COMPACTION_SECONDS)

    def _start_compaction(self) -> None:
        if self._compacting is not None and self._compacting.poll() is None:
            return
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "AIW_LOG_FORMAT": logs.line_format()}
        try:
            self._compacting = subprocess.Popen(
                ["nice", "-n", "19", sys.executable, *self._compact], stdin=subprocess.DEVNULL, env=environment
            )
        except OSError as error:
            log.warning("closed segments wait, their compaction does not start: %s", error)
