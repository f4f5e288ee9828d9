"""The usual words for a missing value."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

# In lower case. `nan` is missing in every numeric column, whatever the options are.
WORDS = (
    "na", "n/a", "#n/a", "#na", "<na>", "n.a.", "null", "nil", "none", "nat", "-nan", "\\n", "-", "--", "–", "—", "?",
    ".", "#div/0!", "#value!", "#ref!", "#name?", "#num!", "#null!",
)  # fmt: skip
# Columns in which such a word cannot be a value; a category may have `None` or `-` as one.
TYPES = ("integer", "number", "boolean", "datetime")


def is_word(values: pd.Series) -> pd.Series:
    """Return the mask of the texts that usually mean a missing value; spaces around them and case are ignored."""
    text = values.astype("str").str.strip().str.lower()
    return text.isin([*WORDS, "nan"]).fillna(False).astype(bool)
