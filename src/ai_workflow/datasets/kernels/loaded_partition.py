"""A loaded partition that stays in memory from its type evidence to its cleaning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ai_workflow.datasets import partitions
from ai_workflow.datasets.kernels.plain_text import Plain
from ai_workflow.datasets.partitions import Partition
from ai_workflow.storage.store import Store

if TYPE_CHECKING:
    import pyarrow as pa


class LoadedPartition:
    """A partition of the store, read at most once while memory suffices.

    `plain` has the plain numbers or timestamps of text columns that were read for their type evidence.
    """

    def __init__(self, store: Store, part: Partition) -> None:
        self.store, self.part = store, part
        self.plain: dict[str, Plain] = {}
        self._table: pa.Table | None = None

    @property
    def is_in_memory(self) -> bool:
        """Whether the rows are in memory."""
        return self._table is not None

    def table(self) -> pa.Table:
        """Return all rows and keep them in memory."""
        if self._table is None:
            self._table = partitions.table(self.store, self.part)
        return self._table

    def slices(self, rows: int) -> Iterator[pa.Table]:
        """Yield the rows as tables of at most `rows` rows, from memory if there is one table."""
        if self._table is not None and rows >= self.part.rows:
            yield self._table
        else:
            self.release()
            yield from partitions.table_slices(self.store, self.part, rows)

    def release(self) -> None:
        """Drop the rows and values in memory."""
        self._table = None
        self.plain.clear()
