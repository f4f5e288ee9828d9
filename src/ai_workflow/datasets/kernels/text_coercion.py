"""Coercion of whole text columns; cells that are not plain go to the exact code, column by column.

The results equal those of `coercion.coerce`: values, missing values, and rejected rows with their reasons.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ai_workflow.config.settings import Column
from ai_workflow.datasets import coercion
from ai_workflow.datasets.kernels import exact, plain_text
from ai_workflow.datasets.kernels.exact import Finding
from ai_workflow.datasets.kernels.plain_text import Numbers, Plain, Timestamps

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

# The kernels read columns with no other options than these.
_OPTIONS = frozenset({"type", "nullable", "min", "max", "allowed", "drop"})
# float64 represents all whole numbers below this exactly.
_EXACT = 2.0**53
_READERS: dict[str, Callable[[pa.Array], Plain]] = {
    "integer": plain_text.numbers, "number": plain_text.numbers, "datetime": plain_text.timestamps
}  # fmt: skip


def coerce(
    text: pa.Array, column: Column, missing_numbers: frozenset[float], plain: Plain | None = None
) -> tuple[pa.Array, list[Finding]]:
    """Return the values as the type of the column, and the rejected rows with the reasons.

    Args:
        text: n cells of type large_string.
        column: the declaration of the column.
        missing_numbers: numbers that mean a missing value in a numeric column.
        plain: the plain numbers or timestamps in the text, if they were read before.
    """
    if _has_other_options(column):
        return exact.coerce(text, column, missing_numbers)
    if column.type in ("integer", "number"):
        numbers = plain if isinstance(plain, Numbers) else plain_text.numbers(text)
        return _coerce_numbers(text, column, missing_numbers, numbers)
    if column.type == "datetime":
        return _coerce_timestamps(text, column, plain if isinstance(plain, Timestamps) else plain_text.timestamps(text))
    if column.type == "boolean" or column.allowed:
        return exact.coerce_distinct(text, column)
    return text, _missing(text.is_null().to_numpy(zero_copy_only=False), column)


def read(text: pa.Array, column: Column) -> Plain | None:
    """Return the plain values in n cells of a column of numbers or timestamps; None if it is another column."""
    if _has_other_options(column) or column.type not in _READERS:
        return None
    return _READERS[column.type](text)


def is_settled(plain: Plain, column: Column) -> bool:
    """Return whether all cells of a column of numbers or timestamps are plain values that the kernels read."""
    import numpy as np

    if column.type not in _READERS or _has_other_options(column) or not plain.plain.all():
        return False
    if isinstance(plain, Timestamps) or column.type == "datetime":
        return isinstance(plain, Timestamps) and column.type == "datetime"
    return column.type == "number" or bool((np.abs(plain.values) < _EXACT).all())


def of_settled(plain: Plain, column: Column) -> tuple[pa.Array, list[Finding]]:
    """Return the result of `coerce` for a column of which `is_settled` is true."""
    import pyarrow as pa

    if isinstance(plain, Timestamps):
        return _coerce_timestamps(pa.nulls(0), column, plain)
    return _coerce_numbers(pa.nulls(0), column, frozenset(), plain)


def _has_other_options(column: Column) -> bool:
    return bool(column.model_fields_set - _OPTIONS and column.model_dump(exclude_defaults=True).keys() - _OPTIONS)


def _coerce_numbers(
    text: pa.Array, column: Column, missing_numbers: frozenset[float], numbers: Numbers
) -> tuple[pa.Array, list[Finding]]:
    import numpy as np

    values, plain = numbers
    empty = _empty(text, len(values))
    whole = column.type == "integer"
    plain = plain & (np.abs(values) < _EXACT) if whole else plain
    missing = plain & np.isin(values, list(missing_numbers)) if missing_numbers else empty & False
    present = plain & ~missing
    findings = []
    if whole:
        broken = present & (np.floor(values) != values)
        findings.append(("is not a whole number", broken))
        present &= ~broken
        values = np.where(present, values, 0).astype("int64")
    findings += _missing(empty | missing, column)
    return _complete(text, column, missing_numbers, (values, present, ~plain & ~empty), findings)


def _coerce_timestamps(text: pa.Array, column: Column, timestamps: Timestamps) -> tuple[pa.Array, list[Finding]]:
    values, plain = timestamps
    empty = _empty(text, len(values))
    return _complete(text, column, frozenset(), (values, plain, ~plain & ~empty), _missing(empty, column))


def _empty(text: pa.Array, rows: int) -> np.ndarray:
    """Return a mask of the missing cells; there are none in a settled column, which has no text."""
    import numpy as np

    mask: np.ndarray = text.is_null().to_numpy(zero_copy_only=False) if len(text) else np.zeros(rows, dtype=bool)
    return mask


def _complete(
    text: pa.Array,
    column: Column,
    missing_numbers: frozenset[float],
    read: tuple[np.ndarray, np.ndarray, np.ndarray],
    findings: list[Finding],
) -> tuple[pa.Array, list[Finding]]:
    """Return the values with those of the odd cells, which the exact code reads, and all findings.

    Args:
        text: the cells.
        column: the declaration of the column.
        missing_numbers: numbers that mean a missing value.
        read: the values of the plain cells, a mask of the present ones, and a mask of the odd cells.
        findings: findings of the plain cells, without those of the bounds.
    """
    import pandas as pd
    import pyarrow as pa

    values, present, odd = read
    outside: list[coercion.Finding] = []
    if column.min is not None or column.max is not None or column.allowed:
        outside = coercion.out_of_bounds(pd.Series(values), column, pd.Series(present))
    findings = [*findings, *((reason, rejected.to_numpy(dtype=bool)) for reason, rejected in outside)]
    if odd.any():
        cells = pa.array(odd)
        odd_values, odd_findings = exact.coerce(text.filter(cells), column, missing_numbers)
        values, present = values.copy(), present.copy()
        present[odd] = odd_values.is_valid().to_numpy(zero_copy_only=False)
        values[odd & present] = odd_values.drop_null().to_numpy(zero_copy_only=False)
        findings += [(reason, _spread(rejected, odd)) for reason, rejected in odd_findings]
    return pa.array(values, mask=~present), _merged(findings)


def _missing(missing: np.ndarray, column: Column) -> list[Finding]:
    return [(coercion.IS_MISSING, missing)] if not column.nullable and missing.any() else []


def _spread(rejected: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return a mask over all rows from a mask over some of them."""
    import numpy as np

    mask = np.zeros(len(rows), dtype=bool)
    mask[rows] = rejected
    return mask


def _merged(findings: list[Finding]) -> list[Finding]:
    """Return the findings that reject rows, one for each reason."""
    merged: dict[str, np.ndarray] = {}
    for reason, rejected in findings:
        merged[reason] = merged[reason] | rejected if reason in merged else rejected
    return [(reason, rejected) for reason, rejected in merged.items() if rejected.any()]
