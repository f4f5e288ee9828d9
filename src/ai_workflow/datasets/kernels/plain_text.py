"""Plain numbers and ISO timestamps in text: the cells that Arrow and `coercion` read as the same values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_MAX_LENGTH = 100
# Cells that are cast at once: Arrow writes an error message for each cell that is no number.
_CAST_CELLS = 4096
_NUMBER = r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$"
# Years from 1000; the 29th of February is left to the exact code.
_DAY = (
    r"[1-9][0-9]{3}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    r"|02-(0[1-9]|1[0-9]|2[0-8]))"
)
_TIMESTAMP = rf"^{_DAY}([ T]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{{1,6}})?)?)?$"


class Numbers(NamedTuple):
    """Plain finite numbers: (n,) float64 values, NaN for other cells, and an (n,) mask. Zero has no sign."""

    values: np.ndarray
    plain: np.ndarray


class Timestamps(NamedTuple):
    """Plain ISO 8601 timestamps: (n,) datetime64[us] values, NaT for other cells, and an (n,) mask."""

    values: np.ndarray
    plain: np.ndarray


Plain = Numbers | Timestamps


def numbers(text: pa.Array) -> Numbers:
    """Return the plain numbers in n cells of text."""
    import pyarrow as pa

    return _plain(pa.concat_arrays(_cast(text)), text)


def numbers_of_all(columns: Sequence[pa.ChunkedArray]) -> list[Numbers | None]:
    """Return the plain numbers of columns of n cells each, together, which is faster for many short columns.

    A column with a cell that is no number has None.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string()).combine_chunks()
    try:
        values = pc.cast(text, pa.float64())
    except pa.ArrowInvalid:
        half = len(columns) // 2
        return [*numbers_of_all(columns[:half]), *numbers_of_all(columns[half:])] if half else [None]
    read, plain = _plain(values, text)
    shape = (len(columns), -1)
    return [Numbers(*each) for each in zip(read.reshape(shape), plain.reshape(shape), strict=True)]


def _plain(values: pa.Array, text: pa.Array) -> Numbers:
    import numpy as np
    import pyarrow.compute as pc

    read = values.to_numpy(zero_copy_only=False) + 0.0
    plain = np.isfinite(read)
    lengths = pc.fill_null(pc.binary_length(text), 0).to_numpy(zero_copy_only=False)
    if len(lengths) and lengths.max() > _MAX_LENGTH:
        plain &= lengths <= _MAX_LENGTH
    return Numbers(read if plain.all() else np.where(plain, read, np.nan), plain)


def timestamps(text: pa.Array) -> Timestamps:
    """Return the plain timestamps in n cells of text.

    A plain timestamp has no time zone, no more than six decimals and no spaces around it.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    plain = pc.match_substring_regex(text, _TIMESTAMP)
    read = pc.cast(_only(text, plain), pa.timestamp("us"))
    mask = pc.fill_null(plain, False).to_numpy(zero_copy_only=False)
    return Timestamps(read.to_numpy(zero_copy_only=False), mask)


def can_be_value(text: pa.Array) -> np.ndarray:
    """Return an (n,) mask of the cells that can be a number or timestamp in some notation; others are words."""
    import pyarrow.compute as pc

    # `nan` and `inf` are the only numbers without a digit.
    found = pc.match_substring_regex(text, r"(?i)\pN|nan|inf")
    return pc.fill_null(found, False).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _cast(text: pa.Array) -> list[pa.Array]:
    """Return consecutive arrays of the numbers; from the first slice on with another cell, plain numbers only."""
    import pyarrow as pa
    import pyarrow.compute as pc

    read: list[pa.Array] = []
    for start in range(0, max(1, len(text)), _CAST_CELLS):
        try:
            read.append(pc.cast(text.slice(start, _CAST_CELLS), pa.float64()))
        except pa.ArrowInvalid:
            rest = text.slice(start)
            return [*read, pc.cast(_only(rest, pc.match_substring_regex(rest, _NUMBER)), pa.float64())]
    return read


def _only(text: pa.Array, plain: pa.BooleanArray) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pc.all(plain, skip_nulls=True).as_py():
        return text
    return pc.if_else(plain, text, pa.scalar(None, text.type))
