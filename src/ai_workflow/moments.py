"""Moments in text, each read alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def read(text: pd.Series, form: str) -> pd.Series:
    """Return text as moments in UTC, NaT where it is none; a cell does not depend on those beside it.

    pandas takes nanoseconds for all cells where one cell has them, and then loses those before 1677 and after 2262.
    """
    import pandas as pd

    def parsed(cells: pd.Series) -> pd.Series:
        return pd.to_datetime(cells, format=form, errors="coerce", utc=True)

    found = parsed(text)
    lost = text.notna() & found.isna()
    if found.dt.unit != "ns" or not lost.any():
        return found
    found = found.astype("datetime64[us, UTC]")
    # Only a cell with seven digits in a row can have nanoseconds; in ISO 8601, after a point.
    fine = text.str.contains(r"\.\d{7}" if form == "ISO8601" else r"\d{7}").fillna(False).astype(bool)
    found[lost & ~fine] = parsed(text[lost & ~fine])
    if form != "ISO8601":
        alone = [parsed(text[[row]]).iloc[0] for row in text.index[lost & fine]]
        found[lost & fine] = pd.Series(alone, index=text.index[lost & fine], dtype="datetime64[us, UTC]")
    return found
