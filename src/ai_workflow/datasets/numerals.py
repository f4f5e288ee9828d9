"""Numbers as text: the exact value of a numeral, and the text of a number in a table."""

from __future__ import annotations

import re

# Whole numbers from here on are compared and written as floats.
_LARGE = 2**63
_MAX_DIGITS = 400
_NUMERAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_LEADING_ZERO = re.compile(r"[+-]?0\d", re.ASCII)


def exact(value: str | float) -> int | float | None:
    """Return the value of a numeral or number, whole ones as int; None if the text is not a finite number.

    Spaces around a text are ignored. Digits other than 0 to 9, `_`, `0x` and words are not numerals.
    """
    if isinstance(value, str):
        numeral = value.strip()
        if len(numeral) > _MAX_DIGITS or not _NUMERAL.fullmatch(numeral):
            return None
        value = int(numeral) if numeral.lstrip("+-").isdigit() else float(numeral)
    if isinstance(value, int):
        return value if abs(value) < _LARGE else _as_float(value)
    if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN differs from itself
        return None
    return int(value) if value.is_integer() and abs(value) < _LARGE else value


def is_code(numeral: str) -> bool:
    """Return whether a text of digits is a code, not a number, such as `007`."""
    return _LEADING_ZERO.match(numeral.strip()) is not None


def text(value: float) -> str:
    """Return the text of a number as a category: whole numbers of less than 64 bits have no decimals."""
    if isinstance(value, int):
        return str(value) if -_LARGE <= value < _LARGE else repr(float(value))
    return str(int(value)) if value.is_integer() and abs(value) < _LARGE else repr(value)


def missing_numbers(texts: tuple[str, ...]) -> frozenset[float]:
    """Return the numbers among missing tokens."""
    values = [exact(text) for text in texts if not is_code(text)]
    return frozenset(float(value) for value in values if value is not None)


def _as_float(value: int) -> float | None:
    try:
        return float(value)
    except OverflowError:
        return None
