"""Folds of a cross-validation, as deterministic as the holdout: by hash, within each class, or by time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ai_workflow.datasets import hashing

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

# Another hash key than those of holdout, validation and calibration.
_KEY = "aiw-crossvalid-1"


def hashes(keys: pd.Series) -> np.ndarray:
    """Return the (n,) uint64 hashes that decide on the folds of rows."""
    return hashing.of(keys, _KEY)


def by_hash(hashed: np.ndarray, folds: int) -> np.ndarray:
    """Return the (n,) fold of each row; rows with equal hashes are in one fold."""
    import numpy as np

    return (hashed % np.uint64(folds)).astype("int64")


def by_class(hashed: np.ndarray, y: np.ndarray, folds: int) -> np.ndarray:
    """Return the (n,) fold of each row; the rows of a class are in equal parts in all folds.

    Args:
        hashed: (n,) hashes of the rows.
        y: (n,) class index.
        folds: number of folds.
    """
    import numpy as np

    order = np.lexsort((hashed, y))
    ordered = y[order]
    result = np.empty(len(y), dtype="int64")
    result[order] = (np.arange(len(y)) - np.searchsorted(ordered, ordered)) % folds
    return result


def by_time(times: np.ndarray, folds: int) -> np.ndarray:
    """Return the (n,) block of time of each row, 0 to `folds`; equal times are in one block.

    The first block is only learned from: fold i learns from the blocks before it (scikit-learn, `TimeSeriesSplit`).

    Args:
        times: (n,) datetime64; NaT is in the first block.
        folds: number of folds.
    """
    import numpy as np

    known = np.sort(times[~np.isnat(times)])
    if not len(known):
        return np.zeros(len(times), dtype="int64")
    starts = known[[len(known) * number // (folds + 1) for number in range(1, folds + 1)]]
    blocks = np.searchsorted(starts, times, side="right")
    return np.where(np.isnat(times), 0, blocks)
