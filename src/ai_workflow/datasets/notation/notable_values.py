"""Values of an undeclared column that need a warning: lost digits, codes, infinite numbers and words that are alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from ai_workflow.config.settings import Column
from ai_workflow.datasets import coercion
from ai_workflow.datasets.notation.number_shapes import NumberNotation

if TYPE_CHECKING:
    import pandas as pd

# Longest part of a value that is stored and shown.
SHOWN_LENGTH = 40
_DIGITS = re.compile(r"[+-]?[0-9]+")
# With two digits it may be an hour or a month, which is a number.
_CODE = re.compile(r"0[0-9]{2,}")


def notable_numbers(
    large: pd.Series, infinite: pd.Series, zeros: pd.Series, notation: NumberNotation | None = None
) -> tuple[int, dict[str, str]]:
    """Return how many large numbers an integer column rejects, and the first notable numbers by kind.

    Kinds: `wide` is written with more digits than 64 bits have, `infinite` is not finite, `code` has leading zeros.

    Args:
        large: numbers from 2**53 on.
        infinite: numbers that are not finite.
        zeros: whole numbers that begin with a zero.
        notation: the declared notation of all numbers.
    """
    wide = large
    if len(large):
        integers, _ = coercion.coerce(large, declared(notation, "integer"))
        wide = large[integers.isna()]
    first = {
        "wide": next((cell for cell in wide if _DIGITS.fullmatch(cell.strip())), ""),
        "infinite": next(iter(infinite), ""),
        "code": next((cell for cell in zeros if _CODE.fullmatch(cell)), ""),
    }
    return len(wide), {kind: cell.strip()[:SHOWN_LENGTH] for kind, cell in first.items() if cell}


def alike_words(distinct: Sequence[str]) -> dict[str, str]:
    """Return the first pairs of values that differ by `spaces` or `case` only, and the first `padded` value."""
    first: dict[str, str] = {}
    pairs: dict[str, str] = {}
    for cell in distinct:
        other = first.setdefault(cell.strip().casefold(), cell)
        if other != cell and len(cell) <= SHOWN_LENGTH:
            pairs.setdefault("spaces" if other.strip() == cell.strip() else "case", f"'{other}' and '{cell}'")
    padded = next((cell for cell in distinct if cell != cell.strip() and len(cell) <= SHOWN_LENGTH), None)
    return pairs if padded is None else pairs | {"padded": padded}


def with_leading_zero(present: pd.Series, as_number: pd.Series) -> pd.Series:
    """Return the values that begin with a zero if all numbers are whole."""
    if (as_number % 1 > 0).any():
        return present.iloc[:0]
    return present[present.str.startswith("0") & as_number.notna()]


def declared(notation: NumberNotation | None, kind: Literal["integer", "number"] = "number") -> Column:
    """Return a nullable column of numbers in a notation."""
    if notation is None:
        return Column(type=kind, nullable=True)
    return Column(type=kind, nullable=True, decimal=notation.decimal, thousands=notation.thousands)
