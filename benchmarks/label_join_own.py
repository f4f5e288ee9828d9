"""The label join of the project over two Parquet files: prints how many pairs were joined."""

from __future__ import annotations

import sys

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ai_workflow.datasets.spill import SpillPartitions, hash_keys, partition_count
from ai_workflow.quality import label_join

BATCH_ROWS = 20_000


def main(labels: str, predictions: str) -> None:
    """Join labels to predictions as the stage `label_joiner` does."""
    pairs = pq.read_metadata(labels).num_rows
    count = partition_count(pairs)
    joined = 0
    with (
        SpillPartitions(label_join.label_schema(), count) as label_rows,
        SpillPartitions(label_join.match_schema(), count) as prediction_rows,
    ):
        _spill(labels, label_rows)
        _spill(predictions, prediction_rows)
        now = pd.Timestamp("2026-01-01")
        for number in range(count):
            frames = label_rows.read(number).to_pandas(), prediction_rows.read(number).to_pandas()
            joined += len(label_join.join(*frames, now).labeled)
    print(joined)


def _spill(path: str, partitions: SpillPartitions) -> None:
    start = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH_ROWS):
            table = pa.Table.from_batches([batch])
            columns = {label_join.KEPT: pa.repeat(pa.scalar(False), table.num_rows)}
            columns[label_join.ORDER] = pa.array(range(start, start + table.num_rows), pa.int64())
            for field in partitions.schema:
                if field.name not in table.column_names:
                    table = table.append_column(field, columns.get(field.name, pa.nulls(table.num_rows, field.type)))
            partitions.add(table, hash_keys(table["key"]))
            start += table.num_rows


if __name__ == "__main__":
    main(*sys.argv[1:])
