"""Text form of category values in a source, to match values of other types with it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from ai_workflow.datasets import numerals

TRUE_WORDS = ("true", "t", "yes", "y", "1", "1.0")
FALSE_WORDS = ("false", "f", "no", "n", "0", "0.0")
_SHOWN = 3
_MIDNIGHT = " 00:00:00"


class CellError(ValueError):
    """A value that the source cannot have in a column; the text is the reason, to follow the column name."""


class Spelling:
    """Converter of values of a category column to the text that the source has for them.

    A text source distinguishes `1` and `1.0`, so a number matches the known text of equal value. A typed source has one
    text per value (`1`, `2.5`, `True`, `2024-01-31`), so text is read as that type first.

    Args:
        kind: kind of the source's column: string, integer, number, boolean or datetime.
        known: the values in the training data and those that the schema allows.
        missing: the texts that stand for a missing value.
    """

    def __init__(self, kind: str, known: Iterable[str] = (), missing: Sequence[str] = ()) -> None:
        self.kind, self.known = kind, frozenset(known)
        self._missing_numbers = numerals.missing_numbers(tuple(missing))
        self._numbers: dict[int | float, set[str | None]] = {}
        self._booleans: dict[bool, set[str | None]] = {}
        for text in self.known:
            self._add(text, text)
        # Whether the column has numbers or booleans; missing tokens do not count.
        self._has_numbers, self._has_booleans = bool(self._numbers), bool(self._booleans)
        for token in missing:
            self._add(token, None)

    def _add(self, text: str, meaning: str | None) -> None:
        value = None if numerals.is_code(text) else numerals.exact(text)
        if value is not None:
            self._numbers.setdefault(value, set()).add(meaning)
        elif (word := text.strip().lower()) in ("true", "false"):
            self._booleans.setdefault(word == "true", set()).add(meaning)

    def text(self, value: Any) -> str | None:
        """Return the text of a value in the source; None if the value is missing.

        Raises:
            CellError: the column has no such values, or has several texts for the value.
        """
        if hasattr(value, "item"):
            value = value.item()
        if value is None or value != value:  # noqa: PLR0124 - NaN and NaT differ from themselves
            return None
        if self.kind in ("integer", "number"):
            return self._as_number(value)
        if self.kind == "boolean":
            return _as_boolean(value)
        if self.kind == "datetime":
            return _as_datetime(value)
        if isinstance(value, str):
            return value
        if isinstance(value, bool):
            return self._matched(value, self._booleans, "true or false", has_any=self._has_booleans)
        if isinstance(value, datetime):
            return self._of_datetime(value)
        return self._matched(value, self._numbers, "a number", has_any=self._has_numbers)

    def _matched(self, value: Any, by_value: dict[Any, set[str | None]], kind: str, *, has_any: bool) -> str | None:
        candidates = by_value.get(value if isinstance(value, bool) else numerals.exact(value), set())
        if len(candidates) > 1:
            texts = ", ".join(sorted("missing" if text is None else f"'{text}'" for text in candidates))
            raise CellError(f"is {kind} that the source writes in several ways ({texts}); send text")
        if candidates:
            return next(iter(candidates))
        if self.known and not has_any:
            raise CellError(f"is {kind}, and the source has other values there ({self._example_values()}); send text")
        return json_text(value) if isinstance(value, bool) else numerals.text(value)

    def _of_datetime(self, value: datetime) -> str | None:
        texts = sorted(text for text in self.known if _parse(text) == value)
        if len(texts) > 1:
            raise CellError(f"is a date that the source writes in several ways ({', '.join(texts)})")
        return texts[0] if texts else moment_text(value)

    def _as_number(self, value: Any) -> str | None:
        if isinstance(value, bool | datetime):
            raise CellError("is not a number, as the source has there")
        if not isinstance(value, str):
            is_missing = float(value) in self._missing_numbers
            return None if is_missing else numerals.text(value)
        if (word := value.strip().lower()) in ("", "nan"):
            return None
        if word.lstrip("+-") in ("inf", "infinity"):
            return repr(float(word))
        number = numerals.exact(value)
        if number is None:
            raise CellError("is not a number, as the source has there")
        return None if float(number) in self._missing_numbers else numerals.text(number)

    def _example_values(self) -> str:
        shown = ", ".join(f"'{text}'" for text in sorted(self.known)[:_SHOWN])
        return shown + (", ..." if len(self.known) > _SHOWN else "")


def moment_text(value: datetime) -> str:
    """Return the text of a timestamp as a category: only the date at midnight, independent of other rows."""
    return value.isoformat(sep=" ").removesuffix(_MIDNIGHT)


def json_text(value: Any) -> str | None:
    """Return the JSON text of a single value; None for NaN and None."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return None if math.isnan(value) else repr(value)
    return str(value)


def _as_boolean(value: Any) -> str | None:
    word = str(json_text(value)).strip().lower()
    if not word:
        return None
    if isinstance(value, datetime) or word not in (*TRUE_WORDS, *FALSE_WORDS):
        raise CellError("is not true or false")
    return str(word in TRUE_WORDS)


def _as_datetime(value: Any) -> str | None:
    moment = value if isinstance(value, datetime) else _parse(value) if isinstance(value, str) else None
    if isinstance(value, str) and not value.strip():
        return None
    if moment is None:
        raise CellError("is not a date (ISO 8601)")
    return moment_text(moment)


def _parse(text: str) -> datetime | None:
    """Return the timestamp of a text as `coercion` reads dates: in UTC, without a time zone."""
    import pandas as pd

    from ai_workflow.config.settings import Column
    from ai_workflow.datasets import coercion

    read, _ = coercion.coerce(pd.Series([text], dtype="str"), Column(type="datetime", nullable=True))
    # A pandas timestamp: in UTC it may be after the year 9999, where the type of Python ends.
    return None if pd.isna(read.iloc[0]) else read.iloc[0]
