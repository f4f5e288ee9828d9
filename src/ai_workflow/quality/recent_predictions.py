"""Bounded sample of the most recent predictions of a version."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

# Rows are dropped once there are this many times the limit.
_SLACK = 4


class RecentPredictions:
    """References to the most recent predictions, at most `limit`; ties in time are broken by the hash of the key."""

    def __init__(self, limit: int) -> None:
        self._limit, self._row_count = limit, 0
        self._tables: list[pa.Table] = []

    def add(self, table: pa.Table, hashed: np.ndarray, path: str, start: int) -> None:
        """Add rows of a file.

        Args:
            table: n rows with `prediction` and `made`.
            hashed: (n,) uint64 hashes of their keys.
            path: the file.
            start: index of the first row in the file.
        """
        import numpy as np
        import pyarrow as pa

        predicted_at = table["made"].cast(pa.int64()).fill_null(0).to_numpy()
        chosen = np.lexsort((hashed, -predicted_at))[: self._limit]
        self._tables.append(
            pa.table(
                {
                    "path": pa.repeat(pa.scalar(path), len(chosen)),
                    "row": pa.array(start + chosen),
                    "prediction": table["prediction"].take(chosen),
                    "made": predicted_at[chosen],
                    "hash": hashed[chosen],
                }
            )
        )
        self._row_count += len(chosen)
        if self._row_count > _SLACK * self._limit:
            self._cut()

    def _cut(self) -> None:
        import numpy as np
        import pyarrow as pa

        if not self._tables:
            return
        table = pa.concat_tables(self._tables).combine_chunks()
        predicted_at, hashed = table["made"].to_numpy(), table["hash"].to_numpy()
        table = table.take(np.lexsort((hashed, -predicted_at))[: self._limit])
        self._tables, self._row_count = [table], table.num_rows

    def table(self) -> pa.Table:
        """Return path, row and prediction of the most recent predictions, ordered by path and row."""
        import pyarrow as pa

        self._cut()
        schema = pa.schema([("path", pa.string()), ("row", pa.int64()), ("prediction", pa.string())])
        tables = [table.select(schema.names) for table in self._tables]
        return pa.concat_tables([schema.empty_table(), *tables]).sort_by([("path", "ascending"), ("row", "ascending")])
