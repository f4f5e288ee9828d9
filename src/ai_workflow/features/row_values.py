"""Fast readers of single JSON values, without pandas; they return what `cells.of_json` returns."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from ai_workflow.config.settings import Column
from ai_workflow.datasets import numerals
from ai_workflow.datasets.category_spelling import CellError, Spelling
from ai_workflow.datasets.cells import TEXT
from ai_workflow.features.cell_reader import CellReader

Read = Callable[[Any], Any]
_MOMENT = re.compile(r"(?!0000)\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{6})?)?)?", re.ASCII)
# The fast path reads whole numbers that float64 represents exactly.
_EXACT = 2**53


class UnsupportedValueError(Exception):
    """A value that the fast path does not read."""


def limits(column: Column) -> tuple[Any, Any]:
    """Return the bounds of a column, infinite if it has none."""
    return -math.inf if column.min is None else column.min, math.inf if column.max is None else column.max


def reader(name: str, of: CellReader) -> Read:
    """Return the reader of a column of any type but number; None stays None if the column is nullable.

    Args:
        name: the column.
        of: the reader of the version.
    """
    column = of.columns[name]
    nullable = column.nullable and column.fill is None
    if column.type == "category":
        read = _category(of, name)
    elif column.type == "integer":
        read = _integer(column, of.cells.numbers)
    elif column.type == "boolean":
        read = _boolean(column, of)
    else:
        read = _moment(column, of.cells.tokens)

    def read_or_none(value: Any) -> Any:
        if value is None:
            if nullable:
                return None
            raise UnsupportedValueError
        return read(value)

    return read_or_none


def _integer(column: Column, missing: frozenset[float]) -> Read:
    low, high = limits(column)

    def read(value: Any) -> int:
        if type(value) is int and abs(value) < _EXACT and low <= value <= high and value not in missing:
            return value
        raise UnsupportedValueError

    return read


def _boolean(column: Column, of: CellReader) -> Read:
    # A declared word may have another meaning than usual.
    is_plain = not {"true", "false"} & of.cells.tokens and not (column.true or column.false)

    def read(value: Any) -> float:
        if type(value) is bool and is_plain:
            return float(value)
        raise UnsupportedValueError

    return read


def _moment(column: Column, missing: frozenset[str]) -> Read:
    # Dates with a format or with bounds need pandas.
    is_plain = (column.format, column.min, column.max) == (None, None, None)

    def read(value: Any) -> datetime:
        if is_plain and type(value) is str and _MOMENT.fullmatch(value) and value not in missing:
            try:
                return datetime.fromisoformat(value)
            except ValueError:
                pass
        raise UnsupportedValueError

    return read


def _category(of: CellReader, name: str) -> Read:
    spelling, allowed = of.spellings[name], frozenset(of.columns[name].allowed)
    # A text source may have any text; a typed source reads an unknown text as its type first.
    is_open = spelling.kind == TEXT and not allowed
    missing, strip = of.cells.tokens, of.cells.strip
    texts = {text for text in allowed or spelling.known if _is_own(text, of, spelling)}
    numbers, booleans = _by_value(spelling, texts)

    def read(value: Any) -> str:
        if type(value) is str:
            if value in texts or (is_open and value not in missing and (not strip or value == value.strip())):
                return value
            raise UnsupportedValueError
        text = None
        if type(value) is bool:
            text = booleans.get(value)
        elif type(value) is int or type(value) is float:
            text = numbers.get(value)
        if text is None:
            raise UnsupportedValueError
        return text

    return read


def _is_own(text: str, of: CellReader, spelling: Spelling) -> bool:
    """Return whether a known text is read as itself."""
    if text in of.cells.tokens or (of.cells.strip and text != text.strip()):
        return False
    try:
        return spelling.text(text) == text
    except CellError:
        return False


def _by_value(spelling: Spelling, texts: set[str]) -> tuple[dict[int | float, str], dict[bool, str]]:
    """Return number -> known text and boolean -> known text."""
    numbers: dict[int | float, str] = {}
    booleans: dict[bool, str] = {}
    for value in map(numerals.exact, spelling.known):
        if value is not None and (text := _text(spelling, value)) in texts:
            numbers[value] = str(text)
    for word in (True, False):
        if (text := _text(spelling, word)) in texts:
            booleans[word] = str(text)
    return numbers, booleans


def _text(spelling: Spelling, value: Any) -> str | None:
    try:
        return spelling.text(value)
    except CellError:
        return None
