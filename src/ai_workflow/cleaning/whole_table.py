"""Stage of own code that gets all rows: parts of a table, which it may read more than once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ai_workflow.cleaning.stage_rows import StageRows, label_of
from ai_workflow.datasets import partitions, source_columns
from ai_workflow.datasets.partitions import ROW, SOURCE, Dataset
from ai_workflow.errors import StageError
from ai_workflow.storage.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from ai_workflow.cleaning.own_stage import OwnStage


class TableParts:
    """The loaded rows for a stage, a partition at a time; each iteration reads them again.

    The column `__row` has the positions in the whole table. A table without rows is one empty part.
    """

    def __init__(self, store: Store, dataset: Dataset) -> None:
        self._store, self._dataset = store, dataset

    def __iter__(self) -> Iterator[pd.DataFrame]:
        """Yield the parts in their order."""
        start = 0
        for part in self._dataset.partitions:
            frame = StageRows.given(partitions.table(self._store, part))
            frame[ROW] += start
            start += part.rows
            yield frame
        if not self._dataset.partitions:
            yield StageRows.given(empty(self._dataset))


def empty(dataset: Dataset) -> pa.Table:
    """Return the columns of a loaded dataset as a table without rows."""
    import pyarrow as pa

    kinds: dict[str, Any] = {column["name"]: column["type"] for column in dataset.info["columns"]}
    columns = {name: pa.array([], source_columns.arrow_type(kind)) for name, kind in kinds.items()}
    return pa.table({ROW: pa.array([], pa.int64()), **columns})


def results(stage: OwnStage, store: Store, dataset: Dataset) -> Iterator[pa.Table]:
    """Yield the tables that a stage returns for all rows.

    Rows with `__row` keep number and file of the loaded row; the files are in `__source`. Without it they are new rows,
    which are numbered from 1.

    Raises:
        StageError: the code fails, yields something else than frames, or yields a row twice.
    """
    import numpy as np
    import pyarrow as pa

    origin = _origin(store, dataset)
    seen = np.zeros(origin.num_rows, dtype=bool)
    count, keeps = 0, None
    for frame, where in stage.frames(TableParts(store, dataset)):
        keeps = ROW in frame.columns if keeps is None else keeps
        if keeps != (ROW in frame.columns):
            raise StageError(f"{where}: some of its tables have the column {ROW}, and others do not", "Keep it in all")
        if keeps:
            rows = StageRows.of(frame, origin, "", stage.missing, where)
            _check_new(seen, rows.positions, origin, where)
            files = rows.table[SOURCE].cast(pa.string())
            table = rows.table.set_column(rows.table.column_names.index(SOURCE), SOURCE, files)
        else:
            table = StageRows.new(frame, count + 1, stage.missing, where)
        count += table.num_rows
        yield table


def _check_new(seen: np.ndarray, positions: np.ndarray, origin: pa.Table, where: str) -> None:
    if seen[positions].any():
        first = int(positions[seen[positions]][0])
        raise StageError(f"{where}: it returned {label_of(origin, first, '')} in two tables", "Yield each row once")
    seen[positions] = True


def _origin(store: Store, dataset: Dataset) -> pa.Table:
    """Return number and file of each row."""
    import pyarrow as pa

    kind = pa.dictionary(pa.int32(), pa.string())
    tables = [pa.table({ROW: pa.array([], pa.int64()), SOURCE: pa.array([], kind)})]
    for part in dataset.partitions:
        rows = partitions.table(store, part, [ROW, SOURCE])
        has_files = SOURCE in rows.column_names
        files = rows[SOURCE].cast(pa.string()) if has_files else pa.repeat(pa.scalar(part.source), part.rows)
        tables.append(pa.table({ROW: rows[ROW], SOURCE: files.dictionary_encode().cast(kind)}))
    return pa.concat_tables(tables).unify_dictionaries()
