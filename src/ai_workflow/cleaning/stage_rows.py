"""Rows that a stage of own code returned, each with the number and the file of the loaded row that it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ai_workflow.datasets import parquet, source_columns
from ai_workflow.datasets.partitions import ROW, SOURCE
from ai_workflow.datasets.source_columns import DetectedKind, MissingRules
from ai_workflow.errors import StageError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

Kinds = list[tuple[str, DetectedKind]]
_ORIGIN = (ROW, SOURCE)


@dataclass(frozen=True, slots=True)
class StageRows:
    """Rows that a stage returned, in the order of the loaded ones.

    Args:
        table: row numbers, files if the loaded rows have them, and the columns.
        positions: the position of each row among the loaded ones.
    """

    table: pa.Table
    positions: np.ndarray

    @staticmethod
    def given(loaded: pa.Table) -> pd.DataFrame:
        """Return loaded rows for a stage: the column `__row` has their positions."""
        frame = parquet.to_frame(loaded.drop_columns([name for name in _ORIGIN if name in loaded.column_names]))
        frame.insert(0, ROW, range(len(frame)))
        return frame

    @classmethod
    def of(cls, frame: pd.DataFrame, loaded: pa.Table, source: str, missing: MissingRules, where: str) -> StageRows:
        """Return the rows in a frame that a stage returned.

        Args:
            frame: the frame.
            loaded: the rows that it was called with.
            source: the name of their file, if they have no column `__source`.
            missing: the texts that mean a missing value.
            where: the code, for messages.

        Raises:
            StageError: a row is not one of the loaded rows or is there twice, or a column cannot be read.
        """
        import numpy as np
        import pyarrow as pa

        names = [name for name in frame.columns if not (isinstance(name, str) and name == ROW)]
        if len(names) != len(frame.columns) - 1:
            raise StageError(
                f"{where}: it returned rows without the column {ROW}", "Keep this column, which identifies the rows"
            )
        source_columns.frame_names(frame[names], where)
        if not names:
            raise StageError(f"{where}: it returned no columns", "Return the columns of the rows")
        positions = _positions(frame[ROW], loaded, source, where)
        order = np.argsort(positions)
        positions, frame = positions[order], frame.iloc[order]
        origin = loaded.select([name for name in _ORIGIN if name in loaded.column_names]).take(pa.array(positions))
        columns = {name: source_columns.of_series(frame[name], name, missing, where) for name in names}
        return cls(pa.table({**{name: origin[name] for name in origin.column_names}, **columns}), positions)

    @staticmethod
    def new(frame: pd.DataFrame, start: int, missing: MissingRules, where: str) -> pa.Table:
        """Return rows that are made of several loaded ones, numbered from `start` on."""
        import pyarrow as pa

        if not (names := source_columns.frame_names(frame, where)):
            raise StageError(f"{where}: it returned no columns", "Return the columns of the rows")
        columns = {name: source_columns.of_series(frame[name], name, missing, where) for name in names}
        return source_columns.with_row_numbers(columns, pa.array(range(start, start + len(frame)), pa.int64()))


def kinds_of(table: pa.Table) -> Kinds:
    """Return names and kinds of the columns of a table, without those of the origin."""
    return [(name, kind) for name, kind in source_columns.kinds_of(table) if name != SOURCE]


def common_kinds(tables: Sequence[Kinds], where: str) -> Kinds:
    """Return the columns of the first table with the kinds that fit the values of all tables.

    Raises:
        StageError: the tables have other columns, or a column has no common kind.
    """
    first = [name for name, _ in tables[0]]
    by_name = [dict(kinds) for kinds in tables]
    if differing := sorted({name for kinds in by_name for name in kinds.keys() ^ set(first)}):
        raise StageError(
            f"{where}: it returned other columns if it gets fewer rows at once: {', '.join(differing)}",
            "Return the same columns for all rows",
        )
    common = []
    for name in first:
        found = dict.fromkeys(kinds[name] for kinds in by_name)
        kind = source_columns.common_kind(found)
        if kind is None:
            raise StageError(
                f"{where}: the values of column '{name}' are of type {' and '.join(found)} in different rows",
                "Give its values one type",
            )
        common.append((name, kind))
    return common


def typed(table: pa.Table, kinds: Kinds) -> pa.Table:
    """Return a table with its columns in this order and of these kinds."""
    import pyarrow as pa

    origin = {name: table[name] for name in table.column_names if name in _ORIGIN}
    columns = {name: table[name].cast(source_columns.arrow_type(kind), safe=kind != "number") for name, kind in kinds}
    return pa.table({**origin, **columns})


def label_of(loaded: pa.Table, position: int, source: str) -> str:
    """Return the number and the file of a loaded row, for messages."""
    file = loaded[SOURCE][position].as_py() if SOURCE in loaded.column_names else source
    return f"row {loaded[ROW][position].as_py()} of {file}"


def _positions(column: pd.Series, loaded: pa.Table, source: str, where: str) -> np.ndarray:
    import numpy as np

    try:
        values: Any = column.to_numpy(dtype="float64", na_value=np.nan)
    except (TypeError, ValueError):
        values = np.full(len(column), np.nan)
    is_known = (values >= 0) & (values < loaded.num_rows) & (values == np.floor(values))
    if not is_known.all():
        raise StageError(
            f"{where}: it returned rows that it did not get: {ROW} is {column.iloc[int(np.argmin(is_known))]}",
            f"Keep the values of {ROW}; join other tables with how='left'",
        )
    positions: np.ndarray = values.astype(np.int64)
    counts = np.bincount(positions, minlength=1)
    if counts.max() > 1:
        first = int(np.argmax(counts > 1))
        raise StageError(
            f"{where}: it returned {label_of(loaded, first, source)} {counts[first]} times",
            "A join finds several matches: leave one row for each key in the other table",
        )
    return positions
