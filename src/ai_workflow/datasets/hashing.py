"""Hashes of column values, equal in every process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

# Hashing converts values to Python objects, which take ten times their memory.
_BATCH_ROWS = 65_536
# The default key of pandas.
KEY = "0123456789123456"


def of(values: pd.Series, key: str = KEY) -> np.ndarray:
    """Return a uint64 for each value; `key` has 16 characters, and different keys give independent hashes."""
    import numpy as np
    import pandas as pd

    pieces = [values.iloc[start : start + _BATCH_ROWS] for start in range(0, len(values), _BATCH_ROWS)]
    hashed = [pd.util.hash_array(piece.to_numpy(dtype=object), hash_key=key, categorize=False) for piece in pieces]
    return np.concatenate(hashed) if hashed else np.empty(0, np.uint64)
