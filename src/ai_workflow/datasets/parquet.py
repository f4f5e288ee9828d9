"""Parquet files as this project writes and reads them: the same rows give the same bytes, whatever the memory."""

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

# Nothing is read ahead: a buffer for each column at once would hold the whole file. Nor by threads: one that still has
# a file of Python in its hands when Python ends aborts the process (apache/arrow issue 50482).
# Rows of a row group: what is written, and read in batches, is in memory one group at a time.
_GROUP = 32_768
_WRITER_TAKES = 8 << 20
_FORM: dict[str, Any] = {"compression": "zstd", "compression_level": 1}


def to_table(frame: pd.DataFrame) -> pa.Table:
    """Return a frame as the table that is written."""
    import pyarrow as pa

    # More threads gain nothing here, and each takes memory of its own.
    return pa.Table.from_pandas(frame, preserve_index=False, nthreads=1)


def to_bytes(table: pa.Table) -> bytes:
    """Return a table as a Parquet file; the same rows give the same bytes, however they are chunked."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    write([table], sink)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def write(tables: Iterable[pa.Table], sink: Any) -> int:
    """Write tables as one Parquet file, each row group as soon as it is full, and return how many rows there are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = count = 0
    held: list[pa.Table] = []
    writer = None
    for table in tables:
        writer = writer or pq.ParquetWriter(sink, table.schema, **_FORM)
        held, count, rows = [*held, table], count + table.num_rows, rows + table.num_rows
        while count >= _GROUP:
            whole = pa.concat_tables(held)
            _put_group(writer, whole.slice(0, _GROUP))
            held, count = [whole.slice(_GROUP)], count - _GROUP
    if writer:
        if count or not rows:
            _put_group(writer, pa.concat_tables(held))
        writer.close()
    return rows


def _put_group(writer: Any, table: pa.Table) -> None:
    import pyarrow as pa

    # Arrow's writer crashes where memory runs out within it; here that is an error.
    pa.allocate_buffer(2 * table.nbytes + _WRITER_TAKES)
    writer.write_table(table.combine_chunks())


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Return a table as a frame with a fresh index; whole numbers with gaps stay whole numbers."""
    import pandas as pd
    import pyarrow as pa

    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    made: pd.DataFrame = table.to_pandas(types_mapper=nullable.get)
    return made


def read(file: IO[bytes], columns: list[str] | None = None) -> pa.Table:
    """Return what an open file holds, or some of its columns."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(file, pre_buffer=False).read(columns, use_threads=False)


def batches(file: IO[bytes], rows: int, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Yield what an open file holds as tables of at most `rows` rows, one in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    reader = pq.ParquetFile(file, pre_buffer=False)
    for batch in reader.iter_batches(rows, columns=columns, use_threads=False):
        yield pa.Table.from_batches([batch])


@contextlib.contextmanager
def open_file(store: Store, path: str) -> Iterator[IO[bytes]]:
    """Open a file of the store to read it within the context.

    Raises:
        StoreError: the file is missing or is not Parquet.
        MemoryError: memory ran out within Arrow, whatever it calls that.
    """
    import pyarrow as pa

    with store.open(path) as file:
        try:
            yield file
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
                raise MemoryError(str(error)) from error
            raise StoreError(f"{store.url(path)} is damaged: {error}") from error
