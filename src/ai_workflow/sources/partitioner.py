"""Partitioner: splits a stream of tables into partitions, each stored once under a digest of its bytes."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import IO, TYPE_CHECKING, TypedDict

from ai_workflow.datasets import fingerprint, parquet, partition_cache
from ai_workflow.datasets.partitions import REDUCED, DatasetInfo, Partition, PartitionRecord
from ai_workflow.datasets.source_columns import DetectedKind
from ai_workflow.errors import StageError
from ai_workflow.runtime import memory_pressure
from ai_workflow.storage.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

STAGE = "loaded"
Columns = list[tuple[str, DetectedKind]]


class SpooledRows(TypedDict):
    """Partitions and columns of rows that came by way of a temporary file."""

    partitions: list[PartitionRecord]
    columns: Columns


def write(store: Store, read: Callable[[], Iterable[pa.Table]], partition_rows: int) -> list[PartitionRecord]:
    """Write tables as partitions of `partition_rows` rows, or of fewer rows if memory runs out.

    Args:
        store: destination of the partitions.
        read: returns the tables from the first one on; it is called again if memory runs out.
        partition_rows: rows of each partition but the last.
    """

    def attempt(rows: int) -> list[PartitionRecord]:
        return [store_partition(store, table) for table in split_tables(read(), rows)]

    return memory_pressure.with_smaller_batches(attempt, partition_rows)


def write_spooled(
    store: Store,
    spool: Callable[[IO[bytes]], Columns],
    replay: Callable[[IO[bytes], Columns], Iterable[pa.Table]],
    partition_rows: int,
) -> SpooledRows:
    """Write rows to partitions by way of a temporary file, because the kinds of columns follow from all rows.

    Args:
        store: destination of the partitions.
        spool: writes all rows to a file and returns their columns.
        replay: returns the rows of the file as tables with these columns.
        partition_rows: rows of each partition but the last.

    Raises:
        StageError: the temporary folder cannot hold the rows.
    """
    try:
        with tempfile.TemporaryFile() as file:
            columns = spool(file)
            parts = write(store, lambda: replay(file, columns), partition_rows)
    except OSError as error:
        raise StageError(
            f"{tempfile.gettempdir()} cannot hold the rows: {error.strerror}", "Free some space there, or set TMPDIR"
        ) from error
    return {"partitions": parts, "columns": columns}


def split_tables(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Yield the rows as tables of `rows` rows, the last may be smaller; little more than one table is in memory."""
    import pyarrow as pa

    pending: list[pa.Table] = []
    count = 0
    for table in tables:
        pending.append(table)
        count += table.num_rows
        if count < rows:
            continue
        joined, start = pa.concat_tables(pending), 0
        while count - start >= rows:
            yield joined.slice(start, rows)
            start += rows
        pending, count = [joined.slice(start)], count - start
    if count:
        yield pa.concat_tables(pending)


def store_partition(store: Store, table: pa.Table) -> PartitionRecord:
    """Return the partition of a table as JSON, without a source; it is written unless an intact copy exists."""
    data = parquet.to_bytes(table)

    def compute(stem: str) -> PartitionRecord:
        ref = store.write(f"{stem}-00000.parquet", data)
        return Partition.of(ref, table.num_rows, source="").to_json()

    return partition_cache.cached(store, STAGE, fingerprint.of("rows", hashlib.sha256(data).hexdigest()), compute)


def reduced(parts: list[Partition], partition_rows: int) -> DatasetInfo:
    """Return a note if partitions have fewer rows than `partition_rows` because memory ran short."""
    # The last partition of an input may be smaller for another reason: there are no more rows.
    smaller = [
        part.rows
        for part, following in pairwise(parts)
        if part.source == following.source and part.rows < partition_rows
    ]
    return {REDUCED: [partition_rows, max(smaller)]} if smaller else {}
