"""Added stage: own code that changes, drops or completes loaded rows, before they are cleaned.

The rows pass it partition by partition. The key of a partition is a digest of its rows, of the code and of the
arguments, so that an interrupted stage computes only the missing partitions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

from ai_workflow.cleaning import own_stage, row_independence, stage_rows, whole_table
from ai_workflow.cleaning.own_stage import OwnStage
from ai_workflow.cleaning.stage_rows import Kinds
from ai_workflow.config.settings import AddedStage, ConfigModel
from ai_workflow.config.settings.config_model import Scope
from ai_workflow.datasets import fingerprint, partition_cache, partitions, source_columns
from ai_workflow.datasets.partitions import SOURCE, Dataset, DatasetInfo, Partition, PartitionRecord
from ai_workflow.datasets.source_columns import MissingRules
from ai_workflow.errors import EmptySourceError, StageError
from ai_workflow.runtime import memory_pressure, progress
from ai_workflow.sources import input_files, partitioner
from ai_workflow.stage_names import named
from ai_workflow.stages.data_loader import LoadedData
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

Files = Sequence[Mapping[str, Any]]


class AddedStageOptions(ConfigModel):
    """The settings of a stage, and the texts that mean a missing value in the source of its rows."""

    scope: ClassVar[Scope] = "pipeline"
    stage: AddedStage
    missing: tuple[str, ...] = ()
    strip: bool = False


class StagedData(LoadedData):
    """Result of an added stage."""

    dropped: int


class _StagedPartition(TypedDict):
    """Cached rows of one partition, their columns, and the columns that have missing values."""

    part: PartitionRecord
    columns: Kinds
    gaps: list[str]


class _StagedTable(TypedDict):
    """Cached rows of a stage that gets all rows, and whether they are new ones."""

    partitions: list[_StagedPartition]
    is_new: bool


def check(added: Iterable[AddedStage]) -> dict[str, tuple[str, ...]]:
    """Import the code of all stages, and return it by the name of the stage for a cache key.

    Raises:
        StageError: the code of a stage is not found, fails, or is no stage.
    """
    return {stage.name: own_stage.check(stage) for stage in added}


def inspect(stage: AddedStage) -> list[dict[str, Any]]:
    """Return the files of a stage as JSON `{name, path, sha256, bytes}`.

    Raises:
        StageError: a file is missing or cannot be read.
        TransientError: the server cannot be reached.
    """
    files = []
    for name, path in stage.files.items():
        sha256, size = input_files.digest(path)
        files.append({"name": name, "path": path, "sha256": sha256, "bytes": size})
    return files


def of(stage: AddedStage) -> Callable[..., StagedData]:
    """Return the stage function `run` with the name of an added stage."""
    return named(run, stage.name)


def run(
    store: Store, loaded: LoadedData, options: AddedStageOptions, files: Files, *, accept_empty: bool = False
) -> StagedData:
    """Return the loaded rows after a stage of own code, partition by partition.

    Args:
        store: the store of the rows.
        loaded: the result of the loader or of another added stage.
        options: the stage.
        files: the result of `inspect`.
        accept_empty: return a dataset without partitions if no row is kept.

    Raises:
        EmptySourceError: no row is kept, and `accept_empty` is not set.
        StageError: the code fails, or returns something else than a table of the rows.
    """
    dataset = Dataset.load(store, loaded)
    own = OwnStage(options.stage, MissingRules(options.missing, options.strip))
    is_new = False
    if own.takes_parts:
        whole = _of_all(store, dataset, own, options, files)
        staged, is_new = whole["partitions"], whole["is_new"]
        sources = [options.stage.name] * len(staged)
    else:
        staged = _staged(store, dataset, own, options, files)
        sources = [part.source for part in dataset.partitions]
    if not staged:
        staged = [_empty(dataset, own)]
    kinds = stage_rows.common_kinds([[(name, kind) for name, kind in each["columns"]] for each in staged], own.label)
    parts = tuple(
        _typed(store, replace(Partition(**each["part"]), source=source), each["columns"], kinds)
        for source, each in zip(sources, staged, strict=False)
        if each["part"]["rows"]
    )
    rows = sum(part.rows for part in parts)
    dropped = 0 if is_new else dataset.rows - rows
    info = _info(dataset, kinds, staged)
    info["stages"] = {**dataset.info.get("stages", {}), options.stage.name: dropped}
    result = Dataset(partitioner.STAGE, parts, info)
    if not parts and not accept_empty:
        problem = f"{own.label} dropped all {dataset.rows} rows" if dataset.rows else "the source has no rows"
        raise EmptySourceError(problem, "Keep some rows" if dataset.rows else "Give a source with rows")
    message = f"{rows} records made of {dataset.rows}" if is_new else f"{rows} records kept, {dropped} dropped"
    logger(options.stage.name).info(message)
    return {**result.save(store), "message": message, "dropped": dropped}


def _staged(
    store: Store, dataset: Dataset, own: OwnStage, options: AddedStageOptions, files: Files
) -> list[_StagedPartition]:
    """Return the rows of each partition after the stage; the first one that is computed checks the code."""
    contents = [[file["name"], file["sha256"]] for file in files]
    code = (fingerprint.code_version(__name__), own.code())
    staged: list[_StagedPartition] = []
    is_checked = False
    for part in dataset.partitions:

        def compute(stem: str, part: Partition = part) -> _StagedPartition:
            nonlocal is_checked
            if not is_checked:
                sample = next(partitions.table_slices(store, part, row_independence.SAMPLE_ROWS))
                row_independence.check(own, sample.slice(0, row_independence.SAMPLE_ROWS), part.source)
                is_checked = True
            staged_part = memory_pressure.with_smaller_batches(
                lambda rows: _write(store, stem, part, own, rows), max(part.rows, 1)
            )
            _check_files(options.stage, files, own)
            return staged_part

        key = fingerprint.of("staged", *code, options, contents, part.sha256)
        staged.append(partition_cache.cached(store, partitioner.STAGE, key, compute))
        progress.report(len(staged), len(dataset.partitions), "partitions")
    return staged


def _check_files(stage: AddedStage, files: Files, own: OwnStage) -> None:
    """Raise StageError if a file is not as it was, before rows that were made of it are recorded."""
    if inspect(stage) != list(files):
        raise StageError(f"{own.label}: one of its files changed while it was read", "Run again")


def _write(store: Store, stem: str, part: Partition, own: OwnStage, at_once: int) -> _StagedPartition:
    """Write the rows of a partition after the stage, which gets at most `at_once` rows in a call."""
    tables = [own.rows(table, part.source).table for table in partitions.table_slices(store, part, at_once)]
    return _store(store, f"{stem}-00000.parquet", tables, own)


def _of_all(store: Store, dataset: Dataset, own: OwnStage, options: AddedStageOptions, files: Files) -> _StagedTable:
    """Return the rows of a stage that gets all rows, in partitions of about the size of the loaded ones."""
    contents = [[file["name"], file["sha256"]] for file in files]
    inputs = [[part.sha256, part.source] for part in dataset.partitions]
    key = fingerprint.of("staged", fingerprint.code_version(__name__), own.code(), options, contents, inputs)
    most = max((part.rows for part in dataset.partitions), default=0)

    def compute(stem: str) -> _StagedTable:
        staged: list[_StagedPartition] = []
        pending: list[pa.Table] = []
        is_new = False
        for table in whole_table.results(own, store, dataset):
            is_new = SOURCE not in table.column_names
            pending.append(table)
            if sum(each.num_rows for each in pending) >= most:
                staged.append(_store(store, f"{stem}-{len(staged):05d}.parquet", pending, own))
                pending.clear()
        if pending:
            staged.append(_store(store, f"{stem}-{len(staged):05d}.parquet", pending, own))
        if not staged:
            raise StageError(f"{own.label}: it returned no table", "Yield one, which may be empty")
        _check_files(options.stage, files, own)
        return {"partitions": staged, "is_new": is_new}

    return partition_cache.cached(store, partitioner.STAGE, key, compute)


def _store(store: Store, path: str, tables: list[pa.Table], own: OwnStage) -> _StagedPartition:
    """Write tables as one partition."""
    import pyarrow as pa

    kinds = stage_rows.common_kinds([stage_rows.kinds_of(table) for table in tables], own.label)
    table = pa.concat_tables([stage_rows.typed(table, kinds) for table in tables])
    written = partitions.write(store, path, table, source="")
    gaps = [name for name, _ in kinds if table[name].null_count]
    return {"part": written.to_json(), "columns": kinds, "gaps": gaps}


def _typed(store: Store, part: Partition, found: Kinds, kinds: Kinds) -> Partition:
    """Return a partition with the kinds of the whole table; it is written again if its own kinds differ."""
    if [(name, kind) for name, kind in found] == kinds:
        return part
    key = fingerprint.of("typed", fingerprint.code_version(__name__), part.sha256, kinds)

    def compute(stem: str) -> PartitionRecord:
        table = stage_rows.typed(partitions.table(store, part), kinds)
        return partitions.write(store, f"{stem}-00000.parquet", table, source="").to_json()

    record = partition_cache.cached(store, partitioner.STAGE, key, compute)
    return replace(Partition(**record), source=part.source)


def _empty(dataset: Dataset, own: OwnStage) -> _StagedPartition:
    """Return the columns that the stage returns for no rows."""
    table = own.rows(whole_table.empty(dataset), "").table
    part: PartitionRecord = {"path": "", "sha256": "", "bytes": 0, "rows": 0, "source": ""}
    return {"part": part, "columns": stage_rows.kinds_of(table), "gaps": []}


def _info(dataset: Dataset, kinds: Kinds, staged: list[_StagedPartition]) -> DatasetInfo:
    """Return the columns, and those that some files lack unless the stage filled them."""
    columns = source_columns.to_json([name for name, _ in kinds], [kind for _, kind in kinds])
    gaps = {name for each in staged for name in each["gaps"]}
    absent = {name: where for name, where in dataset.info.get("absent", {}).items() if name in gaps}
    info: DatasetInfo = {"columns": columns, **dataset.reduced}
    if absent:
        info["absent"] = absent
    return info
