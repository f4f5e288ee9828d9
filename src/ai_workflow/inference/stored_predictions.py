"""Reader of stored predictions of the service and the scoring flow, a batch at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ai_workflow.datasets import parquet
from ai_workflow.datasets.partitions import PartitionRecord
from ai_workflow.errors import StoreError
from ai_workflow.inference import prediction_files
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.journal import Journal
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 65_536
# Version name of default responses.
DEFAULT = "default"
log = logger("predictions")


@dataclass(frozen=True, slots=True)
class Batch:
    """Predictions of one version from one file.

    Args:
        version: the version that predicted.
        path: the file, relative to the root of the store.
        start: index of the first row in the file.
        table: key (the prediction_id), id, version, prediction (as text), made (None if the time is unknown).
    """

    version: str
    path: str
    start: int
    table: pa.Table


class StoredPredictions:
    """The stored predictions of one pipeline."""

    def __init__(self, store: Store, pipeline: str) -> None:
        self._store, self._folder = store, f"{prediction_files.FOLDER}/{pipeline}"
        self._run_starts: dict[str, int | None] = {}

    def parts(self, since: float | None = None) -> Iterator[tuple[str, PartitionRecord]]:
        """Yield version and partition of every file with a manifest that was written since a time (None: all)."""
        for version in self._store.names(self._folder):
            for name in self._store.names(f"{self._folder}/{version}"):
                # A folder without a manifest is being written or deleted.
                path = f"{self._folder}/{version}/{name}/manifest.json"
                with contextlib.suppress(StoreError, FileNotFoundError):
                    # No prediction is newer than the manifest.
                    if since is None or self._written(path) >= since:
                        yield from ((version, part) for part in self._store.read_record(path)["partitions"])

    def _written(self, path: str) -> float:
        return self._store.modified(path).timestamp()

    def batches(self, version: str, part: PartitionRecord) -> Iterator[Batch]:
        """Yield the rows of a file; a damaged file is left out with a warning."""
        start = 0
        for table in self._tables(part, ("prediction_id", "id", "prediction")):
            yield Batch(version, part["path"], start, self._canonical(table, version))
            start += table.num_rows

    def answers(self, part: PartitionRecord) -> Iterator[tuple[pa.Table, bool]]:
        """Yield `made` and `fallback_reason` of the rows of a file, and whether the service predicted them.

        `made` of a scoring run without a journal is the time of storage. A damaged file is left out with a warning.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        for table in self._tables(part, ("fallback_reason",)):
            predicted_at = self._prediction_times(table).cast(pa.timestamp("us"))
            if predicted_at.null_count:
                stored = self._store.modified(f"{part['path'].rpartition('/')[0]}/manifest.json")
                predicted_at = pc.fill_null(predicted_at, stored.astimezone(UTC).replace(tzinfo=None))
            none = pa.nulls(table.num_rows, pa.string())
            reason = table["fallback_reason"] if "fallback_reason" in table.column_names else none
            columns = {"made": predicted_at, "fallback_reason": reason.cast(pa.string())}
            yield pa.table(columns), "time" in table.column_names

    def _tables(self, part: PartitionRecord, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield those of `columns` that the file has, with `time` or else `trace_id`."""
        import pyarrow.parquet as pq

        path = part["path"]
        if not self._store.matches(path, part["sha256"]):
            log.warning("%s is missing or damaged: its predictions are left out", self._store.url(path))
            return
        with parquet.open_file(self._store, path) as file:
            available = pq.read_schema(file).names
            time = "time" if "time" in available else "trace_id"
            yield from parquet.batches(file, BATCH, [name for name in (*columns, time) if name in available])

    def _prediction_times(self, table: pa.Table) -> pa.ChunkedArray | pa.Array:
        """Return the time of each prediction; null if unknown."""
        return table["time"] if "time" in table.column_names else self._start_times(table["trace_id"])

    def _canonical(self, table: pa.Table, version: str) -> pa.Table:
        import pyarrow as pa

        return pa.table(
            {
                "key": table["prediction_id"].cast(pa.string()),
                "id": table["id"].cast(pa.string()),
                "version": pa.repeat(pa.scalar(version), table.num_rows),
                "prediction": _texts(table["prediction"]),
                "made": self._prediction_times(table).cast(pa.timestamp("us")),
            }
        )

    def _start_times(self, traces: pa.ChunkedArray) -> pa.Array:
        """Return the start time of the run of each prediction."""
        import pyarrow as pa
        import pyarrow.compute as pc

        coded = pc.dictionary_encode(traces.combine_chunks())
        starts = pa.array([self._run_start(trace_id) for trace_id in coded.dictionary.to_pylist()], pa.int64())
        return starts.take(coded.indices)

    def _run_start(self, trace_id: str | None) -> int | None:
        if trace_id is None:
            return None
        if trace_id not in self._run_starts:
            events = Journal(self._store).read(trace_id)
            self._run_starts[trace_id] = (
                int(datetime.fromisoformat(events[0].time).timestamp() * 1e6) if events else None
            )
        return self._run_starts[trace_id]


def _texts(values: pa.ChunkedArray) -> pa.Array:
    """Return predictions as text, a number as Python writes it."""
    import pyarrow as pa

    if pa.types.is_floating(values.type) or pa.types.is_integer(values.type):
        return pa.array([None if value is None else repr(float(value)) for value in values.to_pylist()], pa.string())
    return values.cast(pa.string()).combine_chunks()
