"""Notations that a column declares, and its cells in the notation of Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ai_workflow.datasets.notation import number_shapes
from ai_workflow.datasets.notation.number_shapes import NumberNotation

if TYPE_CHECKING:
    import pandas as pd

    from ai_workflow.config.settings import Column

NUMERIC = ("integer", "number")
# A text that no reader of numbers accepts.
_UNREADABLE = "not a number"
# Texts that have their own meaning in a column of numbers: missing, or not finite.
_WORDS = ("", "nan", "inf", "infinity")


def is_plain(column: Column) -> bool:
    """Return whether a column has no notation: its cells are read as ISO 8601, Python numbers and common booleans.

    The default missing words are no notation: `cells.clean` removes them from each column that is no category.
    """
    return number_notation(column) is None and not (column.format or column.true or column.false)


def number_notation(column: Column) -> NumberNotation | None:
    """Return the notation of the numbers of a column, None if it is that of Python."""
    if column.type not in NUMERIC or not (column.decimal or column.thousands or column.unit or column.accounting):
        return None
    return NumberNotation(column.decimal or ".", column.thousands, column.unit)


def with_defaults(column: Column, decimal: str | None, thousands: str | None) -> Column:
    """Return a column with the separators of its source, unless it declares its own."""
    is_declared = column.decimal or column.thousands
    if column.type not in NUMERIC or is_declared or not (decimal or thousands):
        return column
    return column.model_copy(update={"decimal": decimal, "thousands": thousands})


def plain_numbers(values: pd.Series, notation: NumberNotation) -> pd.Series:
    """Return the texts of a column in the notation of Python; other cells stay as they are."""
    plain = {cell: _plain(cell, notation) for cell in values.dropna().unique().tolist() if isinstance(cell, str)}
    return values.map(lambda cell: plain.get(cell, cell), na_action="ignore").astype(values.dtype)


def boolean_words(
    column: Column, true_words: tuple[str, ...], false_words: tuple[str, ...]
) -> list[tuple[tuple[str, ...], bool]]:
    """Return the words of both values in lower case, later ones first in rank: declared words replace common ones."""
    declared = [(tuple(word.strip().lower() for word in words), value) for words, value in _declared_words(column)]
    return [(true_words, True), (false_words, False), *declared]


def _declared_words(column: Column) -> tuple[tuple[tuple[str, ...], bool], ...]:
    return (column.true, True), (column.false, False)


def number_text(value: Any, text: str | None, column: Column) -> str | None:
    """Return the JSON text of a number as the source of a column would write it."""
    notation = number_notation(column)
    if notation is None or text is None or isinstance(value, bool):
        return text
    return number_shapes.written(text, notation)


def _plain(cell: str, notation: NumberNotation) -> str:
    if cell.strip().lower().lstrip("+-") in _WORDS:
        return cell
    return number_shapes.plain(cell, notation) or _UNREADABLE
