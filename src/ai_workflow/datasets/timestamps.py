"""Moments in text, each read alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_NANOSECONDS = re.compile(r"(\.[0-9]{6})[0-9]+")
# Only a cell with seven or more digits in a row can have nanoseconds.
_MANY_DIGITS = re.compile(r"[0-9]{7}")


def read(text: pd.Series, form: str | None) -> pd.Series:
    """Return text as moments in UTC, NaT where it is none; a cell does not depend on those beside it.

    pandas takes nanoseconds for all cells where one cell has them, and then loses those before 1677 and after 2262.

    Args:
        text: n cells; missing ones stay missing.
        form: the format, as strptime has it; None is ISO 8601.
    """
    if form is None:
        return _parsed(text.str.replace(_NANOSECONDS, r"\1", regex=True), "ISO8601")
    found = _parsed(text, form)
    lost = text.notna() & found.isna()
    if found.dt.unit != "ns" or not lost.any():
        return found
    return _read_alone(found.astype("datetime64[us, UTC]"), text[lost], form)


def _read_alone(found: pd.Series, lost: pd.Series, form: str) -> pd.Series:
    """Return the moments with those that were lost to the nanoseconds of other cells."""
    import pandas as pd

    fine = lost.str.contains(_MANY_DIGITS).astype(bool)
    coarse = lost[~fine]
    found[coarse.index] = _parsed(coarse, form)
    alone = [_parsed(lost[[row]], form).iloc[0] for row in lost.index[fine]]
    found[lost.index[fine]] = pd.Series(alone, index=lost.index[fine], dtype="datetime64[us, UTC]")
    return found


def _parsed(text: pd.Series, form: str) -> pd.Series:
    import pandas as pd

    return pd.to_datetime(text, format=form, errors="coerce", utc=True)
