"""Loading stage: read a source into partitions: Parquet files, or ranges of rows in a large local text file.

The key of a partition is a digest of its rows; the key of a file's list of partitions is a digest of its bytes and of
the reader's options. A file that was read before is not read again, even under another name; small files are read in
groups. A table that grew adds partitions at its end only, and an interrupted load writes only the missing partitions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypedDict

from ai_workflow.config.settings import CsvSource, Database, FileSource, OwnSource, SampleSource, Source, SqlSource
from ai_workflow.datasets import absent_columns, fingerprint, partition_cache, partitions, source_columns
from ai_workflow.datasets.absent_columns import AbsentColumn
from ai_workflow.datasets.partitions import Dataset, DatasetInfo, DatasetRecord, Partition, PartitionRecord
from ai_workflow.errors import EmptySourceError
from ai_workflow.runtime import progress
from ai_workflow.secret_values import Fetch
from ai_workflow.sources import (
    file_columns,
    file_groups,
    input_files,
    own_source,
    partitioner,
    sklearn_samples,
    sql_source,
)
from ai_workflow.sources.file_columns import Schema
from ai_workflow.sources.file_groups import GroupReader
from ai_workflow.sources.input_files import InputFile
from ai_workflow.sources.partitioner import SpooledRows
from ai_workflow.sources.text_index import indexed_partitions
from ai_workflow.sources.text_index.indexed_partitions import Indexer
from ai_workflow.sources.text_index.whole_files import FileReader
from ai_workflow.stage_names import stage
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

# Each input of a source as JSON; its keys depend on the kind of source.
Inputs = Sequence[Mapping[str, Any]]
# The partitions of a group of files, and the positions of the files without rows.
_GroupPartitions = tuple[list[Partition], list[int]]
log = logger("data_loader")


class LoadedData(DatasetRecord):
    """Result of `load`."""

    message: str


class _FileSchema(TypedDict):
    """Cached columns of one input."""

    columns: Schema


class _InputPartitions(TypedDict):
    """Cached partitions of one input or of a group of files, and the positions of the files without rows."""

    partitions: list[PartitionRecord]
    empty: list[int]


def inspect(source: Source, base: Path | None = None) -> list[dict[str, Any]]:
    """Return the current inputs of a source as JSON; equal inputs mean equal rows.

    Args:
        source: each file gives `{name, path, sha256, bytes}`, a sample its name and version, a database the table or
            query and a unique `read_at`, own code its version.
        base: base of a relative path; the current directory if not given.

    Raises:
        StageError: there is no input, or it is empty or not readable.
        TransientError: the source cannot be reached.
    """
    if isinstance(source, SampleSource):
        return sklearn_samples.inspect(source)
    if isinstance(source, SqlSource):
        return sql_source.inspect(source)
    if isinstance(source, OwnSource):
        return own_source.inspect(source)
    reader = file_columns.reader_of(source)
    return input_files.find(source.path, reader.SUFFIXES, base, getattr(reader, "ARCHIVE_MEMBERS", None))


@stage("data_loader")
def load(
    store: Store,
    source: Source,
    inputs: Inputs,
    database: Database | None = None,
    fetch_secret: Fetch | None = None,
    *,
    accept_empty: bool = False,
) -> LoadedData:
    """Write the rows of a source with its columns and `__row`, the number of each row in its file.

    Rows of small files share partitions and have the name of their file in `__source`.

    Args:
        store: destination of the partitions.
        source: the source and its reader's options.
        inputs: result of `inspect`.
        database: the address of a SQL source without `url`.
        fetch_secret: returns the value of a named secret.
        accept_empty: return a dataset without partitions for a source that has columns and no rows.

    Raises:
        EmptySourceError: the source has no rows, and `accept_empty` is not set.
        StageError: the source is not readable; the text names file, row and remedy.
        TransientError: the source cannot be reached.
        MissingSecretError: the password of the database is not set.
    """
    absent: dict[str, AbsentColumn] = {}
    if isinstance(source, SqlSource):
        parts, schema = _from_database(store, source, database, fetch_secret)
    elif isinstance(source, OwnSource):
        parts, schema = _from_own_code(store, source, inputs)
    elif isinstance(source, SampleSource):
        parts, schema = _from_sample(store, source, inputs)
    else:
        parts, schema, absent = _from_files(store, source, [InputFile(**each) for each in inputs])
    if not parts and not accept_empty:
        names = ", ".join(str(each["name"]) for each in inputs)
        raise EmptySourceError(f"the source has no rows: {names}", "Give a source with rows")
    columns = source_columns.to_json([name for name, _ in schema], [kind for _, kind in schema])
    info: DatasetInfo = {"columns": columns, **partitioner.reduced(parts, source.partition_rows)}
    if absent:
        info["absent"] = absent
    dataset = Dataset(partitioner.STAGE, tuple(parts), info)
    message = f"{dataset.rows} records loaded"
    log.info(message)
    return {**dataset.save(store), "message": message}


def _from_files(
    store: Store, source: FileSource, inputs: list[InputFile]
) -> tuple[list[Partition], Schema, dict[str, AbsentColumn]]:
    reader = file_columns.reader_of(source)
    columns = [file_columns.of_file(file, _own_schema(store, reader, file, source), source.drop) for file in inputs]
    schema = file_columns.merge(columns, is_text_if_mixed=getattr(reader, "READS_ALL_FOR_SCHEMA", False))
    if isinstance(source, CsvSource) and not source.header and not source.columns:
        file_columns.check_widths(columns)
        last = len(schema) - 1
        log.info("no header line: the columns are column_0 to column_%d; name them with source.columns", last)
    # Columns that are not read have no effect but on the schema.
    options = source.model_dump(mode="json", exclude={"path", "drop"})
    parts: list[Partition] = []
    by_name = {each.file.name: each for each in columns}
    present: dict[str, Collection[str]] = {}
    count = 0
    texts = FileReader(source, schema)

    def load_group(files: tuple[InputFile, ...]) -> _GroupPartitions:
        group = GroupReader(files, lambda file: texts.tables(by_name[file.name]))
        folders = dict(by_name[files[0].name].folders)
        index = indexed_partitions.indexer_of(store, [by_name[file.name] for file in files], source, schema)
        return _from_group(store, group, [options, schema], folders, source.partition_rows, index)

    for files, (group_parts, empty) in file_groups.map_groups(load_group, inputs):
        present |= {file.name: by_name[file.name].kinds for n, file in enumerate(files) if n not in empty}
        for number in empty if len(inputs) > 1 else ():
            log.warning("%s has no rows", files[number].shown)
        parts += group_parts
        count += len(files)
        progress.report(count, len(inputs), f"files, {sum(part.rows for part in parts)} rows")
    return parts, schema, absent_columns.of_files([name for name, _ in schema], present)


def _own_schema(store: Store, reader: ModuleType, file: InputFile, source: FileSource) -> Schema:
    """Return the columns of a file, from the cache if they follow from all of its rows."""
    if not getattr(reader, "READS_ALL_FOR_SCHEMA", False):
        return list(reader.schema(file, source))

    def compute(_: str) -> _FileSchema:
        return {"columns": reader.schema(file, source)}

    options = source.model_dump(mode="json", exclude={"path", "partition_rows"})
    key = fingerprint.of("columns", fingerprint.code_version(__name__), options, file.sha256)
    return [(name, kind) for name, kind in partition_cache.cached(store, partitioner.STAGE, key, compute)["columns"]]


def _from_group(
    store: Store,
    group: GroupReader,
    options: list[Any],
    folders: dict[str, str | None],
    partition_rows: int,
    index: Indexer | None,
) -> _GroupPartitions:
    """Return the partitions of a group of files.

    The key of a single file has the values of its folders, but not its name.
    """
    files = group.files
    content = [files[0].sha256, folders] if len(files) == 1 else [[file.name, file.sha256] for file in files]
    key = fingerprint.of(partitioner.STAGE, fingerprint.code_version(__name__), *options, content, index is not None)

    def compute(_: str) -> _InputPartitions:
        if index and (ranges := index()):
            return {"partitions": ranges, "empty": []}
        parts = partitioner.write(store, group.tables, partition_rows)
        return {"partitions": parts, "empty": [number for number, rows in enumerate(group.rows) if not rows]}

    body = partition_cache.cached(store, partitioner.STAGE, key, compute)
    parts = (replace(Partition(**part), source=group.name) for part in body["partitions"])
    return [indexed_partitions.placed(part, files[0]) for part in parts], body["empty"]


def _from_sample(store: Store, source: SampleSource, inputs: Inputs) -> tuple[list[Partition], Schema]:
    options = source.model_dump(mode="json", include={"missing", "strip", "drop", "partition_rows"})
    key = fingerprint.of(partitioner.STAGE, fingerprint.code_version(__name__), options, inputs)

    def compute(_: str) -> _InputPartitions:
        parts = partitioner.write(store, partial(sklearn_samples.read, source), source.partition_rows)
        return {"partitions": parts, "empty": []}

    body = partition_cache.cached(store, partitioner.STAGE, key, compute)
    parts = [replace(Partition(**part), source=source.name) for part in body["partitions"]]
    return parts, source_columns.kinds_of(partitions.table(store, parts[0]))


def _from_database(
    store: Store, source: SqlSource, database: Database | None, fetch: Fetch | None
) -> tuple[list[Partition], Schema]:
    """Return the partitions of the current rows of a database; equal rows give equal partitions."""
    body = partitioner.write_spooled(
        store, lambda spool: sql_source.spool(spool, source, database, fetch), sql_source.replay, source.partition_rows
    )
    name = sql_source.label(source)
    return [replace(Partition(**part), source=name) for part in body["partitions"]], body["columns"]


def _from_own_code(store: Store, source: OwnSource, inputs: Inputs) -> tuple[list[Partition], Schema]:
    """Return the partitions of the rows of own code, which are read once for each version of rows and code."""
    code = fingerprint.of_own_code(own_source.code_path(source))
    key = fingerprint.of(partitioner.STAGE, fingerprint.code_version(__name__), code, source, inputs)

    def compute(_: str) -> SpooledRows:
        spool = partial(own_source.spool, source=source)
        return partitioner.write_spooled(store, spool, sql_source.replay, source.partition_rows)

    body = partition_cache.cached(store, partitioner.STAGE, key, compute)
    parts = [replace(Partition(**part), source=source.kind) for part in body["partitions"]]
    return parts, [(name, kind) for name, kind in body["columns"]]
