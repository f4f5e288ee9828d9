"""Hash-partitioned spill files, so that a join needs one partition in memory at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from ai_workflow.errors import StageError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

# Target size of a partition.
MAX_ROWS_IN_MEMORY = 250_000
# Limit of open files.
MAX_PARTITIONS = 128
_FILTER_SLOTS = 1 << 25


def hash_keys(keys: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return (n,) uint64 hashes, equal in every process."""
    import pandas as pd

    hashed: np.ndarray = pd.util.hash_array(keys.to_numpy(zero_copy_only=False), categorize=False)
    return hashed


def partition_count(rows: int) -> int:
    """Return the number of partitions for a number of rows."""
    return min(MAX_PARTITIONS, max(1, -(-rows // MAX_ROWS_IN_MEMORY)))


class SpillPartitions:
    """Tables of one schema in unnamed temporary files, which the system removes when the process ends.

    Args:
        schema: the schema of the tables; its first column is the key.
        count: the number of partitions.
    """

    def __init__(self, schema: pa.Schema, count: int) -> None:
        self.schema, self.count, self.rows = schema, count, 0
        self._open = ExitStack()
        self._files: list[IO[bytes] | None] = [None] * count
        self._writers: list[Any] = [None] * count

    def __enter__(self) -> SpillPartitions:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._open.close()

    def add(self, table: pa.Table, hashed: np.ndarray | None = None) -> None:
        """Append each row of a table to the partition of its key.

        Args:
            table: n rows; columns that are not in the schema are ignored.
            hashed: the hashes of the keys, if already computed.

        Raises:
            StageError: the disk with the temporary files is full.
        """
        import numpy as np

        table = table.select(self.schema.names).cast(self.schema)
        self.rows += table.num_rows
        if self.count == 1:
            self._write(0, table)
            return
        numbers = (hash_keys(table.column(0)) if hashed is None else hashed) % np.uint64(self.count)
        order = np.argsort(numbers, kind="stable")
        table, starts = table.take(order), np.searchsorted(numbers[order], np.arange(self.count + 1))
        for number in range(self.count):
            start, end = int(starts[number]), int(starts[number + 1])
            if end > start:
                self._write(number, table.slice(start, end - start))

    def _write(self, number: int, table: pa.Table) -> None:
        import pyarrow as pa

        try:
            if self._writers[number] is None:
                self._files[number] = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - with the others
                self._writers[number] = pa.ipc.new_stream(self._files[number], self.schema)
            self._writers[number].write_table(table)
        except OSError as error:
            raise StageError(
                f"{tempfile.gettempdir()} cannot hold the rows to be joined: {error.strerror or error}",
                "Free some space there, or set TMPDIR",
            ) from error

    def read(self, number: int) -> pa.Table:
        """Return all rows of a partition; no rows may be added to it afterwards."""
        import pyarrow as pa

        return pa.concat_tables([self.schema.empty_table(), *self.tables(number)])

    def tables(self, number: int) -> Iterator[pa.Table]:
        """Yield the rows of a partition as the tables that were added."""
        import pyarrow as pa

        file = self._files[number]
        if file is None:
            return
        self._writers[number].close()
        file.seek(0)
        for batch in pa.ipc.open_stream(file):
            yield pa.Table.from_batches([batch])


class BloomFilter:
    """Bloom filter of hashes in 32 MiB: no false negatives, few false positives."""

    def __init__(self) -> None:
        import numpy as np

        self._slots = np.zeros(_FILTER_SLOTS, dtype=bool)

    def add(self, hashed: np.ndarray) -> None:
        """Add (n,) hashes."""
        self._slots[self._positions(hashed)] = True

    def may_contain(self, hashed: np.ndarray) -> np.ndarray:
        """Return (n,) bool: False where a hash was certainly never added."""
        hits: np.ndarray = self._slots[self._positions(hashed)]
        return hits

    @staticmethod
    def _positions(hashed: np.ndarray) -> np.ndarray:
        import numpy as np

        # The lowest bits select the partition.
        positions: np.ndarray = (hashed >> np.uint64(20)) & np.uint64(_FILTER_SLOTS - 1)
        return positions
