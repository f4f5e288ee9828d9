"""ASCII forms of the digits, signs and separators of other scripts, for numbers and dates."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_DASHES = ("MINUS SIGN", "EN DASH", "EM DASH", "HYPHEN", "NON-BREAKING HYPHEN", "SMALL HYPHEN-MINUS")
_FULL_WIDTH = {chr(ord(sign) + 0xFEE0): sign for sign in "+-.,%()$/:"}
_ARABIC = {"\N{ARABIC DECIMAL SEPARATOR}": ".", "\N{ARABIC THOUSANDS SEPARATOR}": ",", "\N{ARABIC PERCENT SIGN}": "%"}
_INVISIBLE = (
    "ZERO WIDTH SPACE", "ZERO WIDTH NO-BREAK SPACE", "WORD JOINER", "LEFT-TO-RIGHT MARK", "RIGHT-TO-LEFT MARK",
)  # fmt: skip
_SIGNS = str.maketrans(
    dict.fromkeys(map(unicodedata.lookup, _DASHES), "-")
    | dict.fromkeys(map(unicodedata.lookup, _INVISIBLE), "")
    | _FULL_WIDTH
    | _ARABIC
    | {"\N{FULLWIDTH YEN SIGN}": "\N{YEN SIGN}"}
)
_DIGIT = re.compile(r"[^\D0-9]")


def of_text(cell: str) -> str:
    """Return a text with ASCII digits, signs and separators, and without spaces around it; ASCII text is unchanged."""
    if cell.isascii():
        return cell
    return _DIGIT.sub(lambda match: str(unicodedata.decimal(match[0])), cell.translate(_SIGNS)).strip()


def of_series(values: pd.Series) -> pd.Series:
    """Return the texts of a column with ASCII digits, signs and separators; other cells stay as they are."""
    if values.dtype == object:
        odd = values.map(lambda cell: isinstance(cell, str) and not cell.isascii()).astype(bool)
    else:
        odd = values.str.contains(r"[^\x00-\x7f]", na=False).astype(bool)
    if not odd.any():
        return values
    forms = {cell: of_text(cell) for cell in values[odd].unique().tolist()}
    return values.mask(odd, values.map(lambda cell: forms.get(cell, cell), na_action="ignore").astype(values.dtype))
