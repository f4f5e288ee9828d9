"""Deterministic Parquet files: the same rows give the same bytes, independent of batch sizes."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, Any

from ai_workflow.errors import StoreError
from ai_workflow.storage.store import Store

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# Reads use no pre-buffering, which would hold the whole file in memory, and no threads: a thread that still uses a
# Python file when Python exits aborts the process (apache/arrow issue 50482).
# Rows of a row group; writes and batched reads have one group in memory at a time.
_GROUP_ROWS = 32_768
_WRITER_BYTES = 8 << 20
# Size of a file that is read at once.
_SMALL_BYTES = 8 << 20
# A text column has a dictionary if each value has at least this number of rows, on average of the first ones.
_SAMPLE_ROWS, _ROWS_PER_VALUE = 1024, 4
_OPTIONS: dict[str, Any] = {"compression": "zstd", "compression_level": 1}


def to_table(frame: pd.DataFrame) -> pa.Table:
    """Return a frame as an Arrow table."""
    import pyarrow as pa

    # More threads are not faster here, and each takes memory.
    return pa.Table.from_pandas(frame, preserve_index=False, nthreads=1)


def to_bytes(table: pa.Table) -> bytes:
    """Return a table as the bytes of a Parquet file, independent of its chunks."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    write([table], sink)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def write(tables: Iterable[pa.Table], sink: Any, dictionary: list[str] | None = None) -> int:
    """Write tables as one Parquet file, each row group as soon as it is full; return the number of rows.

    Args:
        tables: consecutive tables.
        sink: path or file.
        dictionary: the columns with few distinct values. None: the texts that repeat in the first rows.
    """
    import pyarrow.parquet as pq

    rows = 0
    writer = None
    for group in _row_groups(tables):
        writer = writer or pq.ParquetWriter(sink, group.schema, **_OPTIONS, **_encodings(group, dictionary))
        rows += group.num_rows
        _put_group(writer, group)
    if writer:
        writer.close()
    return rows


def _row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield tables of the size of a row group; the last one may be smaller, and is the only one that may be empty."""
    import pyarrow as pa

    rows = count = 0
    pending: list[pa.Table] = []
    for table in tables:
        pending, count, rows = [*pending, table], count + table.num_rows, rows + table.num_rows
        while count >= _GROUP_ROWS:
            whole = pa.concat_tables(pending)
            yield whole.slice(0, _GROUP_ROWS)
            pending, count = [whole.slice(_GROUP_ROWS)], count - _GROUP_ROWS
    if count or (pending and not rows):
        yield pa.concat_tables(pending)


def _encodings(group: pa.Table, dictionary: list[str] | None) -> dict[str, Any]:
    """Return the options of the writer that encode each column by its type and the first row group.

    Arrow would try a dictionary for each column, and compute statistics, which no reader uses.
    """
    from pyarrow import types

    texts = [field.name for field in group.schema if types.is_string(field.type) or types.is_large_string(field.type)]
    few = {name for name in texts if _repeats(group[name])} if dictionary is None else set(dictionary)
    encodings = {}
    for field in group.schema:
        if field.name in few:
            continue
        if types.is_floating(field.type):
            encodings[field.name] = "BYTE_STREAM_SPLIT"
        elif types.is_integer(field.type) or types.is_timestamp(field.type):
            encodings[field.name] = "DELTA_BINARY_PACKED"
    return {
        "use_dictionary": [name for name in group.column_names if name in few] or False,
        "column_encoding": encodings or None,
        "write_statistics": False,
    }


def _repeats(column: pa.ChunkedArray) -> bool:
    """Return whether a text column of a row group has few distinct values, judged by its first rows."""
    import pyarrow.compute as pc

    sample = column.slice(0, _SAMPLE_ROWS)
    return bool(pc.count_distinct(sample).as_py() <= len(sample) / _ROWS_PER_VALUE)


def _put_group(writer: Any, table: pa.Table) -> None:
    import pyarrow as pa

    # Checked in advance, because the writer of Arrow crashes if memory runs out.
    pa.allocate_buffer(2 * table.nbytes + _WRITER_BYTES)
    writer.write_table(table.combine_chunks())


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Return a table as a frame with a new index; whole numbers with gaps stay whole numbers."""
    import pandas as pd
    import pyarrow as pa

    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    result: pd.DataFrame = table.to_pandas(types_mapper=nullable.get)
    return result


def with_frame_types(table: pa.Table) -> pa.Table:
    """Return a table with the column types that it has after a conversion to a frame and back."""
    import pyarrow as pa

    # Converted once per type, because pandas takes a millisecond per column.
    distinct = list(dict.fromkeys(table.schema.types))
    examples = pa.table({str(number): pa.array([], kind) for number, kind in enumerate(distinct)})
    types = dict(zip(distinct, to_table(to_frame(examples)).schema.types, strict=True))
    return table.cast(pa.schema([(field.name, types[field.type]) for field in table.schema]))


def read(file: IO[bytes], columns: list[str] | None = None) -> pa.Table:
    """Return the table in an open file, or some of its columns."""
    return _reader(file).read(columns, use_threads=False)


def batches(file: IO[bytes], rows: int, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Yield the table in an open file in batches of at most `rows` rows, one in memory at a time."""
    import pyarrow as pa

    for batch in _reader(file).iter_batches(rows, columns=columns, use_threads=False):
        yield pa.Table.from_batches([batch])


def column_groups(file: IO[bytes], names: list[str], size: int) -> Iterator[pa.Table]:
    """Yield columns of an open file as tables of at most `size` columns, one in memory at a time."""
    reader = _reader(file)
    for start in range(0, len(names), size):
        yield reader.read(names[start : start + size], use_threads=False)


def _reader(file: IO[bytes]) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # A small file is read at once, because each column of each row group costs a call of Python.
    file.seek(0)
    data = file.read(_SMALL_BYTES + 1)
    if len(data) > _SMALL_BYTES:
        return pq.ParquetFile(file, pre_buffer=False)
    return pq.ParquetFile(pa.BufferReader(data))


@contextlib.contextmanager
def open_file(store: Store, path: str) -> Iterator[IO[bytes]]:
    """Open a file of the store to read it within the context.

    Raises:
        StoreError: the file is missing or is not Parquet.
        MemoryError: memory ran out within Arrow.
    """
    import pyarrow as pa

    with store.open(path) as file:
        try:
            yield file
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
                raise MemoryError(str(error)) from error
            raise StoreError(f"{store.url(path)} is damaged: {error}") from error
