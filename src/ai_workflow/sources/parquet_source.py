"""Parquet files as tables of plain typed columns, streamed in batches."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ai_workflow.config.settings import ParquetSource
from ai_workflow.datasets import source_columns
from ai_workflow.datasets.source_columns import DetectedKind, MissingRules
from ai_workflow.errors import StageError
from ai_workflow.sources import input_files
from ai_workflow.sources.input_files import InputFile
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

SUFFIXES = (".parquet", ".pq", ".parq")
_BATCH = 65_536
# An index without a name, as pandas writes it.
_INDEX = re.compile(r"__index_level_\d+__")
_TOO_LARGE = 2**63
log = logger("data_loader")


def schema(file: InputFile, source: ParquetSource) -> list[tuple[str, DetectedKind]]:
    """Return names and kinds of the columns of a file.

    Raises:
        StageError: the file is not Parquet or damaged, or a column is nested, unnamed or repeated.
    """
    with _opened(file) as parquet:
        columns = parquet.schema_arrow
        kept = [field for field in columns if field.name not in source.drop and not _INDEX.fullmatch(field.name)]
        if left_out := [name for name in columns.names if _INDEX.fullmatch(name) and name not in source.drop]:
            log.info("%s: the index of pandas is left out (%s)", file.shown, ", ".join(left_out))
        source_columns.check_names([field.name for field in kept], file.shown)
        return [(field.name, _kind(parquet, field, file)) for field in kept]


def read(file: InputFile, source: ParquetSource, columns: list[tuple[str, DetectedKind]]) -> Iterator[pa.Table]:
    """Yield the rows with the names and kinds of `columns`, in that order; the first row has number 1.

    Raises:
        StageError: the file is damaged, a value does not fit its kind, or the file changed.
    """
    import pyarrow as pa

    missing = MissingRules(source.missing, source.strip)
    start = 1
    with _opened(file) as parquet:
        # Without threads, for the reason given in datasets/parquet.py.
        batches = parquet.iter_batches(_BATCH, columns=[name for name, _ in columns], use_threads=False)
        for batch in batches:
            values = {name: _normalize(batch.column(name), name, kind, missing, file) for name, kind in columns}
            yield source_columns.with_row_numbers(values, pa.array(range(start, start + batch.num_rows), pa.int64()))
            start += batch.num_rows
    if input_files.digest(file.path)[0] != file.sha256:
        raise file.changed()


def _kind(parquet: pq.ParquetFile, field: pa.Field, file: InputFile) -> DetectedKind:
    """Return the kind of a column: `number` if it has whole numbers beyond 64 bits with a sign."""
    kind = source_columns.kind_of(field.type, field.name, file.shown)
    if kind != "integer" or str(field.type) != "uint64" or _largest(parquet, field.name) < _TOO_LARGE:
        return kind
    log.warning(
        "%s: column '%s' has whole numbers from 2**63 on: it is read as numbers, exact to 15 digits; "
        "write it as text if it is an id",
        file.shown,
        field.name,
    )
    return "number"


def _largest(parquet: pq.ParquetFile, name: str) -> int:
    """Return the largest value of a column, 0 without any value."""
    import pyarrow.compute as pc

    batches = parquet.iter_batches(_BATCH, columns=[name], use_threads=False)
    return max((pc.max(batch.column(0)).as_py() or 0 for batch in batches), default=0)


def _normalize(values: pa.Array, name: str, kind: DetectedKind, missing: MissingRules, file: InputFile) -> pa.Array:
    import pyarrow as pa

    try:
        return source_columns.normalize(values, kind, missing)
    except pa.ArrowException as error:
        raise StageError(
            f"{file.shown}: column '{name}' of type {values.type} does not fit {kind}: {error}",
            f"Convert it, or {source_columns.leave_out(name)}",
        ) from error


@contextlib.contextmanager
def _opened(file: InputFile) -> Iterator[pq.ParquetFile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with input_files.opened(file.path, stream=False) as raw:
        if raw.read(4) != b"PAR1":
            raise StageError(f"{file.shown} is not a Parquet file", "If it is delimited text, set source.kind: csv")
        raw.seek(0)
        try:
            with pq.ParquetFile(raw) as parquet:
                yield parquet
        except (pa.ArrowException, OSError) as error:
            raise StageError(
                f"{file.shown} is damaged: {str(error).splitlines()[0]}", "Write or copy the file again"
            ) from error
