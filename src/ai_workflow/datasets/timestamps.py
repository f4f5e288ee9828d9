"""Timestamps in text, each parsed independently of the other rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_NANOSECONDS = re.compile(r"(\.[0-9]{6})[0-9]+")
# Only a cell with seven or more consecutive digits can have nanoseconds.
_MANY_DIGITS = re.compile(r"[0-9]{7}")
# The years 1 to 9999 in microseconds since 1970.
_EPOCH_BOUNDS = (-62_135_596_800_000_000, 253_402_300_799_999_999)


def read(text: pd.Series, form: str | None) -> pd.Series:
    """Return text as timestamps in UTC, NaT if it cannot be parsed, independent of other cells.

    If one cell has nanoseconds, pandas uses them for all cells and loses those before 1677 and after 2262.

    Args:
        text: n cells; missing ones stay missing.
        form: the strptime format; None is ISO 8601.
    """
    if form is None:
        return _parsed(text.str.replace(_NANOSECONDS, r"\1", regex=True), "ISO8601")
    # Formats that begin and end without a space ignore those around a cell, as ISO 8601 does.
    text = text.str.strip() if form == form.strip() else text
    parsed = _parsed(text, form)
    lost = text.notna() & parsed.isna()
    if parsed.dt.unit != "ns" or not lost.any():
        return parsed
    return _parse_lost(parsed.astype("datetime64[us, UTC]"), text[lost], form)


def of_epoch(numbers: pd.Series, microseconds: int) -> pd.Series:
    """Return the time since 1970 as timestamps in UTC, NaT outside of the years 1 to 9999.

    Args:
        numbers: n numbers as float64; NaN is missing.
        microseconds: the unit of the numbers.
    """
    import pandas as pd

    scaled = (numbers * microseconds).round()
    whole = scaled.where(scaled.between(*_EPOCH_BOUNDS)).astype("Int64")
    return pd.to_datetime(whole.astype("datetime64[us]"), utc=True)


def _parse_lost(parsed: pd.Series, lost: pd.Series, form: str) -> pd.Series:
    """Return the timestamps with those added that were lost because other cells have nanoseconds."""
    import pandas as pd

    fine = lost.str.contains(_MANY_DIGITS).astype(bool)
    coarse = lost[~fine]
    parsed[coarse.index] = _parsed(coarse, form)
    alone = [_parsed(lost[[row]], form).iloc[0] for row in lost.index[fine]]
    parsed[lost.index[fine]] = pd.Series(alone, index=lost.index[fine], dtype="datetime64[us, UTC]")
    return parsed


def _parsed(text: pd.Series, form: str) -> pd.Series:
    import pandas as pd

    return pd.to_datetime(text, format=form, errors="coerce", utc=True)
