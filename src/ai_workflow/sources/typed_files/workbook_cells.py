"""Cells of a workbook: plain values, the kind of a column, and its conversion."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ai_workflow.datasets import source_columns
from ai_workflow.datasets.category_spelling import json_text
from ai_workflow.datasets.source_columns import DetectedKind

if TYPE_CHECKING:
    import pyarrow as pa

Cell = None | bool | int | float | str | datetime.datetime
# float64 holds all whole numbers up to here, and so does Excel.
_EXACT = 2.0**53


def plain(cell: Any) -> Cell:
    """Return the value of a cell: whole numbers are int, durations seconds, and an empty cell is None."""
    if cell == "":
        return None
    if type(cell) is float:
        return int(cell) if cell.is_integer() and abs(cell) <= _EXACT else cell
    if isinstance(cell, datetime.timedelta):
        return cell.total_seconds()
    if isinstance(cell, datetime.datetime):
        return cell
    if isinstance(cell, datetime.date):
        return datetime.datetime.combine(cell, datetime.time())
    return cell.isoformat() if isinstance(cell, datetime.time) else cell


def text(cell: Cell) -> str:
    """Return the text of a cell, as a column of text has it; a date without a time has none."""
    if isinstance(cell, datetime.datetime):
        shown = cell.isoformat(sep=" ")
        return shown.removesuffix(" 00:00:00")
    return json_text(cell) or ""


def kind_of(cells: Iterable[Cell]) -> DetectedKind:
    """Return the kind of a column: text if its cells have several kinds that no number can hold."""
    kinds: dict[type, DetectedKind] = {
        bool: "boolean", int: "integer", float: "number", str: "string", datetime.datetime: "datetime",
        type(None): "unknown",
    }  # fmt: skip
    return source_columns.common_kind(kinds[each] for each in set(map(type, cells))) or "string"


def array(cells: Sequence[Cell], kind: DetectedKind) -> pa.Array:
    """Return cells as an Arrow array."""
    import pyarrow as pa

    convert: Any = {"string": text, "number": float}.get(kind, lambda cell: cell)
    values = [None if cell is None else convert(cell) for cell in cells]
    return pa.array(values, source_columns.arrow_type(kind))
