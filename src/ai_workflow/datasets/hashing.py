"""Hashes of the values of a column, the same in every process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

# Values become Python objects on the way, which take ten times their memory.
_AT_ONCE = 65_536
# What pandas itself hashes with.
KEY = "0123456789123456"


def of(values: pd.Series, key: str = KEY) -> np.ndarray:
    """Return a uint64 for each value; `key` has 16 characters, and another key gives hashes that do not depend."""
    import numpy as np
    import pandas as pd

    pieces = [values.iloc[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE)]
    hashed = [pd.util.hash_array(piece.to_numpy(dtype=object), hash_key=key, categorize=False) for piece in pieces]
    return np.concatenate(hashed) if hashed else np.empty(0, np.uint64)
