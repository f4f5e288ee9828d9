"""Reads back what was predicted, a batch at a time, whoever predicted it: the service, or the scoring flow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ai_workflow.datasets import parquet
from ai_workflow.errors import StoreError
from ai_workflow.inference import prediction_files
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.journal import Journal
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 65_536
# What no version answered.
DEFAULT = "default"
log = logger("predictions")


@dataclass(frozen=True, slots=True)
class Batch:
    """Predictions of one version from one file.

    Args:
        version: who predicted.
        path: the file, below the store's root.
        start: number of the first of the rows in it, from 0.
        table: key (the prediction_id), id, version, prediction (as text), made (None: not known when).
    """

    version: str
    path: str
    start: int
    table: pa.Table


class Predictions:
    """The predictions of one pipeline."""

    def __init__(self, store: Store, pipeline: str) -> None:
        self._store, self._folder = store, f"{prediction_files.FOLDER}/{pipeline}"
        self._begun: dict[str, int | None] = {}

    def parts(self, since: float | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield version and partition of every file that a manifest vouches for, written `since` then (None: ever)."""
        for version in self._store.names(self._folder):
            for name in self._store.names(f"{self._folder}/{version}"):
                # One without a manifest is being written, or on its way out.
                path = f"{self._folder}/{version}/{name}/manifest.json"
                with contextlib.suppress(StoreError, FileNotFoundError):
                    # No prediction in it is younger than the file.
                    if since is None or self._written(path) >= since:
                        yield from ((version, part) for part in self._store.read_record(path)["partitions"])

    def _written(self, path: str) -> float:
        return self._store.modified(path).timestamp()

    def batches(self, version: str, part: dict[str, Any]) -> Iterator[Batch]:
        """Yield the rows of a file; one that is damaged is left out with a warning."""
        start = 0
        for table in self._tables(part, ("prediction_id", "id", "prediction")):
            yield Batch(version, part["path"], start, self._plain(table, version))
            start += table.num_rows

    def answers(self, part: dict[str, Any]) -> Iterator[tuple[pa.Table, bool]]:
        """Yield `made` and `fallback_reason` of the rows of a file, and whether they are of the service.

        `made` of a scoring run without a journal is when its file was stored. A damaged file is left out with a
        warning.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        for table in self._tables(part, ("fallback_reason",)):
            made = self._made(table).cast(pa.timestamp("us"))
            if made.null_count:
                stored = self._store.modified(f"{part['path'].rpartition('/')[0]}/manifest.json")
                made = pc.fill_null(made, stored.astimezone(UTC).replace(tzinfo=None))
            none = pa.nulls(table.num_rows, pa.string())
            reason = table["fallback_reason"] if "fallback_reason" in table.column_names else none
            columns = {"made": made, "fallback_reason": reason.cast(pa.string())}
            yield pa.table(columns), "time" in table.column_names

    def _tables(self, part: dict[str, Any], wanted: Sequence[str]) -> Iterator[pa.Table]:
        """Yield wanted columns of a file as far as it has them, and `time` or else `trace_id`."""
        import pyarrow.parquet as pq

        path = part["path"]
        if not self._store.matches(path, part["sha256"]):
            log.warning("%s is missing or damaged: its predictions are left out", self._store.url(path))
            return
        with parquet.open_file(self._store, path) as file:
            there = pq.read_schema(file).names
            moment = "time" if "time" in there else "trace_id"
            yield from parquet.batches(file, BATCH, [name for name in (*wanted, moment) if name in there])

    def _made(self, table: pa.Table) -> pa.ChunkedArray | pa.Array:
        """Return when the rows were answered; null where it is not known."""
        return table["time"] if "time" in table.column_names else self._times(table["trace_id"])

    def _plain(self, table: pa.Table, version: str) -> pa.Table:
        import pyarrow as pa

        return pa.table(
            {
                "key": table["prediction_id"].cast(pa.string()),
                "id": table["id"].cast(pa.string()),
                "version": pa.repeat(pa.scalar(version), table.num_rows),
                "prediction": _texts(table["prediction"]),
                "made": self._made(table).cast(pa.timestamp("us")),
            }
        )

    def _times(self, traces: pa.ChunkedArray) -> pa.Array:
        """Return when the runs began that made predictions which do not say when."""
        import pyarrow as pa
        import pyarrow.compute as pc

        coded = pc.dictionary_encode(traces.combine_chunks())
        known = pa.array([self._began(trace_id) for trace_id in coded.dictionary.to_pylist()], pa.int64())
        return known.take(coded.indices)

    def _began(self, trace_id: str | None) -> int | None:
        if trace_id is None:
            return None
        if trace_id not in self._begun:
            events = Journal(self._store).read(trace_id)
            self._begun[trace_id] = int(datetime.fromisoformat(events[0].time).timestamp() * 1e6) if events else None
        return self._begun[trace_id]


def _texts(values: pa.ChunkedArray) -> pa.Array:
    """Return predictions as text, a number as Python writes it."""
    import pyarrow as pa

    if pa.types.is_floating(values.type) or pa.types.is_integer(values.type):
        return pa.array([None if value is None else repr(float(value)) for value in values.to_pylist()], pa.string())
    return values.cast(pa.string()).combine_chunks()
