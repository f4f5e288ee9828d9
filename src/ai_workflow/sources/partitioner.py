"""Partitioner: splits a stream of tables into partitions, each stored once under a digest of its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from ai_workflow.datasets import fingerprint, parquet, partition_cache
from ai_workflow.datasets.partitions import REDUCED, DatasetInfo, Partition, PartitionRecord
from ai_workflow.storage.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

STAGE = "loaded"


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
