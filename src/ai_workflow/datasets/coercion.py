"""Conversion of columns to their declared or inferred types, with a reason for each rejected value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ai_workflow.config.settings import Column
from ai_workflow.datasets import timestamps
from ai_workflow.datasets.category_spelling import FALSE_WORDS, TRUE_WORDS, moment_text
from ai_workflow.datasets.notation import ascii_forms, notations
from ai_workflow.datasets.notation.date_shapes import EPOCHS

if TYPE_CHECKING:
    import pandas as pd

# A reason for rejection, and a mask of the rejected rows.
Finding = tuple[str, "pd.Series"]
IS_MISSING = "is missing"
_WITH_DIGITS = ("integer", "number", "datetime")
# float64 represents all whole numbers below this exactly.
EXACT = 2.0**53
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


def coerce(
    values: pd.Series, column: Column, missing_numbers: frozenset[float] = frozenset()
) -> tuple[pd.Series, list[Finding]]:
    """Return the values as the type of the column, and the rejected rows with the reasons.

    A rejected value is missing in the result; `fill` replaces only values that were missing
    from the start. Types: integer -> Int64, number -> float64, boolean -> boolean, datetime -> datetime64[us] in UTC
    without zone, category and text -> str.

    Args:
        values: the cells of one column.
        column: the declaration of the column.
        missing_numbers: numbers that mean a missing value in a numeric column.
    """
    if column.type in _WITH_DIGITS and _is_text(values):
        values = ascii_forms.of_series(values)
    notation = notations.number_notation(column)
    if notation is not None and _is_text(values):
        values = notations.plain_numbers(values, notation)
    missing = _missing(values, column, missing_numbers)
    read, findings = _READERS[column.type](values.mask(missing), column)
    unread = findings[0][1] if findings else missing & False
    if column.fill is not None and missing.any():
        filler, _ = _READERS[column.type](_series([column.fill]), column)
        read = read.mask(missing, filler.iloc[0])
    elif not column.nullable:
        findings.append((IS_MISSING, missing))
    return read, findings + out_of_bounds(read, column, read.notna() & ~unread)


def _missing(values: pd.Series, column: Column, missing_numbers: frozenset[float]) -> pd.Series:
    missing = values.isna()
    if column.type not in ("integer", "number"):
        return missing
    if _is_text(values):
        missing |= values.astype("str").str.strip().str.lower().isin(["nan", ""]).fillna(False).astype(bool)
    return missing | _floats(values).isin(missing_numbers) if missing_numbers else missing


def _floats(values: pd.Series) -> pd.Series:
    """Return the values as float64, NaN if not a number; dates are not numbers, and zero has no sign."""
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(values):
        return pd.Series(float("nan"), index=values.index)
    return pd.to_numeric(values, errors="coerce").astype("Float64").astype("float64") + 0.0


def _numbers(values: pd.Series, column: Column) -> tuple[pd.Series, list[Finding]]:
    import numpy as np

    numbers = _floats(values)
    present = values.notna()
    findings = [("is not a number", present & numbers.isna())]
    infinite = numbers.isin([np.inf, -np.inf])
    findings.append(("is not finite", infinite))
    numbers = numbers.mask(infinite)
    if column.type != "integer":
        return numbers, findings
    broken = numbers.notna() & (numbers % 1 != 0)
    findings.append(("is not a whole number", broken))
    whole, huge = _whole(values, numbers.mask(broken))
    findings.append(("is too large for a whole number of 64 bits", huge))
    return whole, findings


def _whole(values: pd.Series, numbers: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Return whole numbers as exact Int64, and a mask of those that need more than 64 bits.

    Args:
        values: the cells.
        numbers: the same values as whole floats or NaN, which are inexact from 2**53 on.
    """
    import numpy as np
    import pandas as pd

    large = numbers.abs() >= EXACT
    if pd.api.types.is_integer_dtype(values):
        return values.astype("Int64"), large & False
    whole = numbers.mask(large).astype("Int64")
    exact = [_exact(*pair) for pair in zip(values[large].tolist(), numbers[large].tolist(), strict=True)]
    fits = [_SMALLEST <= value <= _LARGEST for value in exact]
    whole[large] = pd.array([value if fit else None for value, fit in zip(exact, fits, strict=True)], dtype="Int64")
    huge = large.copy()
    huge[large] = ~np.array(fits, dtype=bool)
    return whole, huge


def _exact(cell: object, number: float) -> int:
    """Return the whole number of a cell, exact unless it is written with exponent or decimals."""
    try:
        return int(str(cell))
    except ValueError:
        return int(number)


def _booleans(values: pd.Series, column: Column) -> tuple[pd.Series, list[Finding]]:
    import pandas as pd

    text = values.astype("str").str.strip().str.lower()
    read = pd.Series(pd.NA, index=values.index, dtype="boolean")
    for words, value in notations.boolean_words(column, TRUE_WORDS, FALSE_WORDS):
        read[text.isin(words) & values.notna()] = value
    return read, [("is not true or false", values.notna() & read.isna())]


def _datetimes(values: pd.Series, column: Column) -> tuple[pd.Series, list[Finding]]:
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(values):
        moments = pd.to_datetime(values, utc=True)
    elif column.format in EPOCHS:
        moments = timestamps.of_epoch(_floats(values), EPOCHS[column.format])
    else:
        text = values.astype("str")
        # pandas reads these as the current time.
        absent = values.isna() | text.str.strip().str.lower().isin(["now", "today"])
        moments = timestamps.read(text.mask(absent), column.format)
    read = moments.dt.tz_localize(None).astype("datetime64[us]")
    # A time zone may move a timestamp out of the years 1 to 9999, outside of which its text cannot be read again.
    read = read.where(read.dt.year.between(1, 9999))
    form = f"in the format {column.format}" if column.format else "(ISO 8601)"
    return read, [(f"is not a date {form}", values.notna() & read.isna())]


def _texts(values: pd.Series, column: Column) -> tuple[pd.Series, list[Finding]]:
    import pandas as pd

    if pd.api.types.is_float_dtype(values):
        # 1.0 read from a column of whole numbers with gaps is the category "1".
        whole = values.notna() & (values % 1 == 0) & (values.abs() < 2.0**63)
        text = values.astype("str")
        text[whole] = values[whole].astype("int64").astype("str")
    elif pd.api.types.is_datetime64_any_dtype(values):
        # Per value, because pandas omits the time if all rows are at midnight.
        text = values.map({moment: moment_text(moment) for moment in values.dropna().unique()}).astype("str")
    else:
        text = values.astype("str")
    return text.mask(values.isna()), []


def out_of_bounds(read: pd.Series, column: Column, present: pd.Series) -> list[Finding]:
    """Return the present values that are outside `min`, `max` and `allowed` of the column."""
    import pandas as pd

    findings: list[Finding] = []
    for bound, word, outside in ((column.min, "minimum", pd.Series.lt), (column.max, "maximum", pd.Series.gt)):
        if bound is not None:
            limit = pd.to_datetime(bound, utc=True).tz_localize(None) if isinstance(bound, str) else bound
            side = "below" if word == "minimum" else "above"
            shown = bound if isinstance(bound, str) else f"{bound:.15g}"
            hit = present & outside(read, limit).fillna(False).astype(bool)
            findings.append((f"is {side} the {word} {shown}", hit))
    if column.allowed:
        findings.append(("is not an allowed value", present & ~read.isin(list(column.allowed))))
    return findings


def _is_text(values: pd.Series) -> bool:
    import pandas as pd

    return bool(pd.api.types.is_string_dtype(values) or values.dtype == object)


def _series(values: list[object]) -> pd.Series:
    import pandas as pd

    return pd.Series(values)


_READERS = {
    "integer": _numbers,
    "number": _numbers,
    "boolean": _booleans,
    "datetime": _datetimes,
    "category": _texts,
    "text": _texts,
}
