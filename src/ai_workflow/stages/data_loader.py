"""Loads a source into partitions of Parquet: whatever comes in goes on as verified rows, or as one clear error.

A partition is stored under a digest of its rows, and a file's list of partitions under a digest of its bytes and of the
reader's options. So a file that was read before is not read again, whatever its name; of a table that grew, only the
end is new; and a load that was killed writes only what it had not yet written.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ai_workflow.config.settings import CsvSource, Database, ParquetSource, SampleSource, Source, SqlSource
from ai_workflow.datasets import fingerprint, partitions, source_columns
from ai_workflow.datasets.partitions import Dataset, Partition
from ai_workflow.datasets.source_columns import DetectedKind
from ai_workflow.errors import EmptySourceError, StageError
from ai_workflow.runtime import memory_pressure, progress
from ai_workflow.secret_values import Fetch
from ai_workflow.sources import csv_source, input_files, parquet_source, partitioner, sklearn_samples, sql_source
from ai_workflow.sources.input_files import InputFile
from ai_workflow.stage_names import stage
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    import pyarrow as pa

Schema = list[tuple[str, DetectedKind]]
_NO_ROWS = "Give a source with rows"
log = logger("data_loader")


def inspect(source: Source, base: Path | None = None) -> list[dict[str, Any]]:
    """Return what the source consists of now, as JSON; two equal answers mean equal rows.

    Args:
        source: files give `{name, path, sha256, bytes}` each; a sample its name and version; a database what is read
            and a `read_at` that is never the same.
        base: what a relative path is relative to; the current directory if not given.

    Raises:
        StageError: nothing is there, it is empty, or it may not be read.
        TransientError: the place cannot be reached.
    """
    if isinstance(source, SampleSource):
        return sklearn_samples.inspect(source)
    if isinstance(source, SqlSource):
        return sql_source.inspect(source)
    return input_files.find(source.path, _reader(source).SUFFIXES, base)


@stage("data_loader")
def load(
    store: Store,
    source: Source,
    inputs: list[dict[str, Any]],
    database: Database | None = None,
    fetch_secret: Fetch | None = None,
) -> dict[str, Any]:
    """Return a reference to the source's rows: its columns, and `__row`, the number of each row in its file.

    Args:
        store: where the partitions go.
        source: what is read, and how.
        inputs: what `inspect` found.
        database: the address of a SQL source without `url`.
        fetch_secret: gives the value of a named secret.

    Raises:
        EmptySourceError: there are none.
        StageError: the source cannot be read as it is; the text says which file and row, and what to do.
        TransientError: a database or a place cannot be reached.
        MissingSecretError: the password of the database is not set.
    """
    if isinstance(source, SqlSource):
        parts, schema = _from_database(store, source, database, fetch_secret)
    elif isinstance(source, SampleSource):
        parts, schema = _from_sample(store, source, inputs)
    else:
        parts, schema = _from_files(store, source, [InputFile(**each) for each in inputs])
    if not parts:
        raise EmptySourceError(f"the source has no rows: {', '.join(str(each['name']) for each in inputs)}", _NO_ROWS)
    described = source_columns.to_json([name for name, _ in schema], [kind for _, kind in schema])
    dataset = Dataset(partitioner.STAGE, tuple(parts), {"columns": described, **_reduced(parts, source.partition_rows)})
    message = f"{dataset.rows} records loaded"
    log.info(message)
    return {**dataset.save(store), "message": message}


def _from_files(
    store: Store, source: CsvSource | ParquetSource, inputs: list[InputFile]
) -> tuple[list[Partition], Schema]:
    reader = _reader(source)
    schema = _agreed([(file, reader.schema(file, source)) for file in inputs])
    if isinstance(source, CsvSource) and not source.header and not source.columns:
        log.info(
            "no header line: the columns are column_0 to column_%d; name them with source.columns", len(schema) - 1
        )
    options = source.model_dump(mode="json", exclude={"path"})
    parts: list[Partition] = []
    for number, file in enumerate(inputs, 1):
        tables = partial(reader.read, file, source, schema)
        key = fingerprint.of(partitioner.STAGE, fingerprint.code_version(__name__), options, schema, file.sha256)
        found = _remembered(store, key, file.name, source.partition_rows, tables)
        if not found and len(inputs) > 1:
            log.warning("%s has no rows", file.shown)
        parts += found
        progress.report(number, len(inputs), f"files, {sum(part.rows for part in parts)} rows")
    return parts, schema


def _from_sample(store: Store, source: SampleSource, inputs: list[dict[str, Any]]) -> tuple[list[Partition], Schema]:
    options = source.model_dump(mode="json", include={"missing", "strip", "partition_rows"})
    key = fingerprint.of(partitioner.STAGE, fingerprint.code_version(__name__), options, inputs)
    parts = _remembered(store, key, source.name, source.partition_rows, partial(sklearn_samples.read, source))
    return parts, source_columns.kinds_of(partitions.table(store, parts[0]))


def _from_database(
    store: Store, source: SqlSource, database: Database | None, fetch: Fetch | None
) -> tuple[list[Partition], Schema]:
    """Return the partitions of what the database holds now; where the rows are the same, so are the partitions."""
    try:
        with tempfile.TemporaryFile() as spool:
            schema = sql_source.spool(spool, source, database, fetch)
            kept = _cut(store, lambda: sql_source.replay(spool, schema), source.partition_rows)
    except OSError as error:
        place = tempfile.gettempdir()
        raise StageError(
            f"{place} cannot hold the rows: {error.strerror}", "Free some space there, or set TMPDIR"
        ) from error
    name = sql_source.label(source)
    return [Partition(**{**part, "source": name}) for part in kept], schema


def _remembered(
    store: Store, key: str, name: str, rows: int, read: Callable[[], Iterable[pa.Table]]
) -> list[Partition]:
    """Return the partitions of one input, read only if they are not known or not whole."""

    def compute(_: str) -> dict[str, Any]:
        return {"partitions": _cut(store, read, rows)}

    body = partitions.cached(store, partitioner.STAGE, key, compute)
    return [Partition(**{**part, "source": name}) for part in body["partitions"]]


def _cut(store: Store, read: Callable[[], Iterable[pa.Table]], rows: int) -> list[dict[str, Any]]:
    """Return the partitions of what is read as JSON, smaller ones where memory runs out."""

    def kept(most: int) -> list[dict[str, Any]]:
        return [partitioner.store_partition(store, table) for table in partitioner.split_tables(read(), most)]

    return memory_pressure.with_smaller_batches(kept, rows)


def _reduced(parts: list[Partition], asked: int) -> dict[str, Any]:
    """Return what must be said of partitions that are smaller than was asked for, and not at the end of their input."""
    smaller = [one.rows for one, after in pairwise(parts) if one.source == after.source and one.rows < asked]
    return {partitions.REDUCED: [asked, max(smaller)]} if smaller else {}


def _agreed(found: list[tuple[InputFile, Schema]]) -> Schema:
    """Return the columns that all files have, in the order of the first.

    Raises:
        StageError: a file has other columns, or a column of a kind that does not go with the first's.
    """
    first, schema = found[0]
    agreed = dict(schema)
    for file, other in found[1:]:
        names = dict(other)
        more, fewer = sorted(names.keys() - agreed.keys()), sorted(agreed.keys() - names.keys())
        if more or fewer:
            parts = [f"{word} {', '.join(them)}" for word, them in (("has also", more), ("lacks", fewer)) if them]
            raise StageError(
                f"{file.shown} and {first.shown} have different columns: the former {' and '.join(parts)}",
                "Give all files the same columns, or narrow source.path",
            )
        for name, kind in other:
            both = source_columns.common_kind([agreed[name], kind])
            if both is None:
                raise StageError(
                    f"column '{name}' is {kind} in {file.shown} and {agreed[name]} before",
                    "Write it with one type in all files",
                )
            agreed[name] = both
    return list(agreed.items())


def _reader(source: CsvSource | ParquetSource) -> ModuleType:
    return csv_source if isinstance(source, CsvSource) else parquet_source
