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
        dictionary: the columns with few distinct values; others are written without an attempt at a dictionary, floats
            byte by byte. None: an attempt for each column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = count = 0
    pending: list[pa.Table] = []
    writer = None
    for table in tables:
        writer = writer or pq.ParquetWriter(sink, table.schema, **_OPTIONS, **_encodings(table.schema, dictionary))
        pending, count, rows = [*pending, table], count + table.num_rows, rows + table.num_rows
        while count >= _GROUP_ROWS:
            whole = pa.concat_tables(pending)
            _put_group(writer, whole.slice(0, _GROUP_ROWS))
            pending, count = [whole.slice(_GROUP_ROWS)], count - _GROUP_ROWS
    if writer:
        if count or not rows:
            _put_group(writer, pa.concat_tables(pending))
        writer.close()
    return rows


def _encodings(schema: pa.Schema, dictionary: list[str] | None) -> dict[str, Any]:
    import pyarrow as pa

    if dictionary is None:
        return {}
    names = set(schema.names)
    few = [name for name in dictionary if name in names]
    other = names - set(few)
    floats = [field.name for field in schema if pa.types.is_floating(field.type) and field.name in other]
    return {
        "use_dictionary": few or False,
        "column_encoding": dict.fromkeys(floats, "BYTE_STREAM_SPLIT") or None,
        "write_statistics": False,
    }


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
    """Return a table with the schema and metadata that it has after a conversion to a frame and back."""
    return table.cast(to_table(to_frame(table.slice(0, 0))).schema)


def read(file: IO[bytes], columns: list[str] | None = None) -> pa.Table:
    """Return the table in an open file, or some of its columns."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(file, pre_buffer=False).read(columns, use_threads=False)


def batches(file: IO[bytes], rows: int, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Yield the table in an open file in batches of at most `rows` rows, one in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    reader = pq.ParquetFile(file, pre_buffer=False)
    for batch in reader.iter_batches(rows, columns=columns, use_threads=False):
        yield pa.Table.from_batches([batch])


def column_groups(file: IO[bytes], names: list[str], size: int) -> Iterator[pa.Table]:
    """Yield columns of an open file as tables of at most `size` columns, one in memory at a time."""
    import pyarrow.parquet as pq

    reader = pq.ParquetFile(file, pre_buffer=False)
    for start in range(0, len(names), size):
        yield reader.read(names[start : start + size], use_threads=False)


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
