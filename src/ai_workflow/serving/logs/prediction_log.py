"""Prediction log: a thread writes predictions to append-only segments, so that no request waits for the disk.

    prediction_log/<pipeline>/<service>-000001.jsonl    one line for each row; the last line may be incomplete

`compaction` moves closed segments to `predictions/`, in another process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import orjson

from ai_workflow.inference import prediction_columns
from ai_workflow.serving.logs.segment_log import SegmentWriter
from ai_workflow.telemetry import logs, metrics
from ai_workflow.telemetry.logs import logger

FOLDER = "prediction_log"
# A killed service loses at most the predictions of this interval.
_WRITE_SECONDS = 0.25
_MAX_WAITING_ROWS = 20_000
_MAX_WAITING_BYTES = 32 << 20
_MAX_INLINE_ROWS = 32
# Limit of time that a shutdown waits for a compaction.
_COMPACTION_SECONDS = 6.0
log = logger("prediction_log")


class PredictionLine(TypedDict):
    """A line of the prediction log; `values` is the raw row."""

    prediction_id: str
    id: Any
    row: int
    time: float
    prediction: Any
    score: float | None
    model_version: str
    fallback_reason: str | None
    trace_id: str
    features: str | None
    id_column: NotRequired[str]
    probabilities: NotRequired[dict[str, float]]
    values: NotRequired[Mapping[str, Any]]


@dataclass(slots=True)
class PredictionRecord:
    """One request that got predictions.

    Args:
        timestamp: seconds since 1970.
        trace_id: the trace of the request.
        request_id: the ID that its prediction IDs start with.
        version: the version that served it, or `default`.
        reasons: why earlier versions of the fallback chain failed, if so.
        predictions: predicted class or value of each row.
        scores: score of each row.
        rows: the raw rows, if the request has them.
        features: float32 (rows, features) for the first version; None if it could not encode them.
        is_small: whether its lines may be built on the event loop.
        request_bytes: size of the request.
        read_id: returns the ID of a row as the version reads it; None: it is kept as received.
        probabilities: probability of each class, row after row.
        probability_columns: the columns of the probabilities of a row.
    """

    timestamp: float
    trace_id: str
    request_id: str
    version: str
    reasons: str | None
    predictions: Sequence[Any]
    scores: Sequence[float | None]
    rows: Sequence[dict[str, Any]] | None
    features: bytes | None
    is_small: bool = True
    request_bytes: int = 0
    read_id: Callable[[str, Any], str | None] | None = None
    probabilities: Sequence[float] = ()
    probability_columns: Sequence[str] = ()

    @property
    def memory_bytes(self) -> int:
        """Approximate size in memory."""
        return self.request_bytes + len(self.features or b"") + 8 * len(self.probabilities)

    def row_id(self, row: Mapping[str, Any], column: str) -> Any:
        """Return the ID of a row as the scoring flow stores it."""
        return self.read_id(column, row.get(column)) if self.read_id is not None else row.get(column)

    def row_probabilities(self, row: int) -> dict[str, float]:
        """Return the probabilities of a row by column."""
        width = len(self.probability_columns)
        values = self.probabilities[row * width : (row + 1) * width]
        return dict(zip(self.probability_columns, map(float, values), strict=True))


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
        self._written = metrics.get("prediction_log_records_total")
        self._dropped = metrics.get("prediction_log_dropped_total")
        self._has_failed = False
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)

    def start(self) -> None:
        """Start the thread, and the compaction of segments of an earlier service."""
        self._start_compaction()
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
        self._start_compaction()
        self._await_compaction()

    def _run(self) -> None:
        while not self._stop.wait(_WRITE_SECONDS):
            self._write()
            if self._compaction is not None:
                # Reaps the process if it has exited.
                self._compaction.poll()
            if self._segments.is_due:
                self._segments.close()
                self._start_compaction()
        self._write()

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
        finally:
            self._removed_rows += rows
            self._removed_bytes += sum(size for _, size, _ in waiting)

    def _lines(self, record: PredictionRecord) -> bytes:
        width = len(record.features or b"") // len(record.predictions)
        own_id = prediction_columns.of_id(self._id_column)
        lines = []
        for row, (prediction, score) in enumerate(zip(record.predictions, record.scores, strict=True)):
            raw_row = record.rows[row] if record.rows else None
            features = (record.features or b"")[row * width : (row + 1) * width]
            line: PredictionLine = {
                "prediction_id": f"{record.request_id}-{row}",
                "id": record.row_id(raw_row, self._id_column) if raw_row and self._id_column else None,
                "row": row,
                "time": record.timestamp,
                "prediction": prediction,
                "score": score,
                "model_version": record.version,
                "fallback_reason": record.reasons,
                "trace_id": record.trace_id,
                "features": hashlib.blake2b(features).hexdigest()[:32] if width else None,
            }
            # In each line, because the compaction reads only the segment.
            if own_id:
                line["id_column"] = own_id
            if record.probability_columns:
                line["probabilities"] = record.row_probabilities(row)
            if self._values and raw_row is not None:
                line["values"] = raw_row
            lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS))
        return b"".join(lines)

    def _await_compaction(self) -> None:
        if self._compaction is not None:
            # A compaction that takes longer goes on; the next service compacts what is left.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._compaction.wait(_COMPACTION_SECONDS)

    def _start_compaction(self) -> None:
        if self._compaction is not None and self._compaction.poll() is None:
            return
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "AIW_LOG_FORMAT": logs.line_format()}
        try:
            self._compaction = subprocess.Popen(
                ["nice", "-n", "19", sys.executable, *self._compact_command],
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        except OSError as error:
            log.warning("closed segments wait, their compaction cannot be started: %s", error)
