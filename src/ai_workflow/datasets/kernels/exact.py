"""Cells that a kernel cannot read: the code of `coercion`, called with Arrow arrays and boolean masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ai_workflow.config.settings import Column
from ai_workflow.datasets import coercion, parquet

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

# A reason for rejection, and a (n,) boolean mask of the rejected rows.
Finding = tuple[str, "np.ndarray"]


def coerce(
    text: pa.Array, column: Column, missing_numbers: frozenset[float] = frozenset()
) -> tuple[pa.Array, list[Finding]]:
    """Return the result of `coercion.coerce` for an Arrow array."""
    return to_arrow(*coercion.coerce(to_series(text), column, missing_numbers))


def coerce_distinct(
    text: pa.Array, column: Column, missing_numbers: frozenset[float] = frozenset()
) -> tuple[pa.Array, list[Finding]]:
    """Return the result of `coerce`, computed once per distinct text."""
    encoded = text.dictionary_encode(null_encoding="encode")
    values, findings = coerce(encoded.dictionary, column, missing_numbers)
    rows = encoded.indices.to_numpy()
    return values.take(encoded.indices), [(reason, rejected[rows]) for reason, rejected in findings]


def to_arrow(values: pd.Series, findings: list[coercion.Finding]) -> tuple[pa.Array, list[Finding]]:
    """Return values as an Arrow array, and the findings with at least one row as boolean masks."""
    array = parquet.to_table(values.to_frame("values"))["values"].combine_chunks()
    masks = [(reason, rejected.to_numpy(dtype=bool)) for reason, rejected in findings]
    return array, [(reason, mask) for reason, mask in masks if mask.any()]


def to_series(values: pa.Array | pa.ChunkedArray) -> pd.Series:
    """Return an Arrow column as a series, as `parquet.to_frame` does."""
    import pyarrow as pa

    return parquet.to_frame(pa.table({"values": values}))["values"]
