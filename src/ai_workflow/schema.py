"""What the columns of a table are, declared or told by their values: a cell goes in, a value or a reason comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ai_workflow.settings import Column

if TYPE_CHECKING:
    import pandas as pd

# A reason for a rejection and the rows that it hits.
Finding = tuple[str, "pd.Series"]
_TRUE, _FALSE = ("true", "t", "yes", "y", "1", "1.0"), ("false", "f", "no", "n", "0", "0.0")


def coerce(values: pd.Series, column: Column) -> tuple[pd.Series, list[Finding]]:
    """Return the values as the column's type, and what is wrong with which of them.

    A value that cannot be read is missing in the result and named in the findings; `fill` stands in for values that
    were missing from the start. Types: integer -> Int64, number -> float64, boolean -> boolean,
    datetime -> datetime64[us] in UTC without zone, category and text -> str.
    """
    missing = _missing(values, column)
    read, findings = _READERS[column.type](values.mask(missing), column)
    unread = findings[0][1] if findings else missing & False
    if column.fill is not None and missing.any():
        filler, _ = _READERS[column.type](_series([column.fill]), column)
        read = read.mask(missing, filler.iloc[0])
    elif not column.nullable:
        findings.append(("is missing", missing))
    return read, findings + _out_of_bounds(read, column, read.notna() & ~unread)


def _missing(values: pd.Series, column: Column) -> pd.Series:
    missing = values.isna()
    if column.type in ("integer", "number") and _is_text(values):
        missing |= values.astype("str").str.strip().str.lower().isin(["nan", ""]).fillna(False).astype(bool)
    return missing


def _numbers(values: pd.Series, column: Column) -> tuple[pd.Series, list[Finding]]:
    import numpy as np
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce").astype("Float64").astype("float64")
    present = values.notna()
    findings = [("is not a number", present & numbers.isna())]
    infinite = numbers.isin([np.inf, -np.inf])
    findings.append(("is not finite", infinite))
    numbers = numbers.mask(infinite)
    if column.type == "integer":
        broken = numbers.notna() & (numbers % 1 != 0)
        findings.append(("is not a whole number", broken))
        huge = numbers.abs() >= 2.0**63
        findings.append(("is too large for a whole number of 64 bits", huge))
        whole = numbers.mask(broken | huge)
        # A float64 skips whole numbers beyond 2**53; read as what they are, they stay what they were.
        exact = pd.to_numeric(values.where(whole.notna()), errors="coerce", dtype_backend="numpy_nullable")
        return (exact if pd.api.types.is_integer_dtype(exact) else whole).astype("Int64"), findings
    return numbers, findings


def _booleans(values: pd.Series, column: Column) -> tuple[pd.Series, list[Finding]]:
    import pandas as pd

    text = values.astype("str").str.strip().str.lower()
    read = pd.Series(pd.NA, index=values.index, dtype="boolean")
    read[text.isin(_TRUE) & values.notna()] = True
    read[text.isin(_FALSE) & values.notna()] = False
    return read, [("is not true or false", values.notna() & read.isna())]


def _datetimes(values: pd.Series, column: Column) -> tuple[pd.Series, list[Finding]]:
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(values):
        moments = pd.to_datetime(values, utc=True)
    else:
        text = values.astype("str")
        # pandas takes these for the moment at which it reads them.
        absent = values.isna() | text.str.strip().str.lower().isin(["now", "today"])
        moments = pd.to_datetime(text.mask(absent), format=column.format or "ISO8601", errors="coerce", utc=True)
    read = moments.dt.tz_localize(None).astype("datetime64[us]")
    form = f"in the format {column.format}" if column.format else "(ISO 8601)"
    return read, [(f"is not a date {form}", values.notna() & read.isna())]


def _texts(values: pd.Series, column: Column) -> tuple[pd.Series, list[Finding]]:
    import pandas as pd

    if pd.api.types.is_float_dtype(values):
        # 1.0 that was read from a column of whole numbers with gaps is the category "1".
        whole = values.notna() & (values % 1 == 0) & (values.abs() < 2.0**63)
        text = values.astype("str")
        text[whole] = values[whole].astype("int64").astype("str")
    else:
        text = values.astype("str")
    return text.mask(values.isna()), []


def _out_of_bounds(read: pd.Series, column: Column, present: pd.Series) -> list[Finding]:
    import pandas as pd

    found: list[Finding] = []
    for bound, word, outside in ((column.min, "minimum", pd.Series.lt), (column.max, "maximum", pd.Series.gt)):
        if bound is not None:
            limit = pd.to_datetime(bound, utc=True).tz_localize(None) if isinstance(bound, str) else bound
            side = "below" if word == "minimum" else "above"
            shown = bound if isinstance(bound, str) else f"{bound:.15g}"
            hit = present & outside(read, limit).fillna(False).astype(bool)
            found.append((f"is {side} the {word} {shown}", hit))
    if column.allowed:
        found.append(("is not an allowed value", present & ~read.isin(list(column.allowed))))
    return found


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


def signs(values: pd.Series) -> dict[str, int]:
    """Return what the values of one undeclared text column look like: counts of present, number, date and distinct."""
    present = values.dropna()
    as_number, findings = _numbers(present, Column(type="number", nullable=True))
    numbers = int(as_number.notna().sum() + findings[1][1].sum())
    # Among numbers `nan` is a missing one; among words it is a word.
    absent = int((present.str.strip().str.lower() == "nan").sum()) if numbers else 0
    counts = {
        "present": len(present),
        "number": numbers + absent,
        "whole": int((as_number % 1 == 0).sum()) + absent,
        "distinct": int(present.nunique()),
        "date": 0,
    }
    if counts["number"] < counts["present"]:
        dated = present.str.match(r"^\s*\d{4}-\d{2}-\d{2}").fillna(False).astype(bool)
        if dated.any():
            moments, _ = _datetimes(present[dated], Column(type="datetime", nullable=True))
            counts["date"] = int(moments.notna().sum())
    return counts


def told_by(parts: list[dict[str, int]], limit: float) -> Column:
    """Return the column that the signs of all partitions speak for.

    Args:
        parts: what `signs` gave for each partition.
        limit: share of values that may contradict; their rows are then rejected, not the column retyped.
    """
    total = {key: sum(part[key] for part in parts) for key in ("present", "number", "whole", "date")}
    enough = total["present"] * (1 - limit)
    if total["number"] >= enough:
        return Column(type="integer" if total["whole"] == total["number"] else "number", nullable=True)
    if total["date"] >= enough:
        return Column(type="datetime", nullable=True)
    # Nearly every value its own: names, free text, numbers of things. A model learns nothing general from it.
    if all(part["distinct"] > max(50, part["present"] / 2) for part in parts if part["present"]):
        return Column(type="text", nullable=True)
    return Column(type="category", nullable=True)
