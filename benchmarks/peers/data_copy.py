"""DuckDB COPY of typed CSV to Parquet without any check: TABLE FOLDER THREADS. The lower bound of the benchmark."""

from __future__ import annotations

import sys

import duckdb
from data_job import Clock, Table


def main(description: str, folder: str, threads: str) -> None:
    """Copy the table."""
    clock = Clock()
    table = Table.read(description)
    with duckdb.connect(config={"threads": threads, "preserve_insertion_order": False}) as connection:
        source = f"read_csv({table.files}, header = true, auto_detect = false, delim = ',', columns = {table.types})"
        target = f"'{folder}/copy.parquet' (format parquet, compression zstd)"
        [copied] = connection.execute(f"COPY (SELECT * FROM {source}) TO {target}").fetchone()
    clock.finish(copied, 0, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
