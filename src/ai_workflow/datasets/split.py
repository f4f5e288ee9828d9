"""Deterministic holdout split: by the hash of the row ID, or by time if a timestamp is declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from ai_workflow.datasets import hashing, partitions
from ai_workflow.datasets.partitions import ID, Dataset
from ai_workflow.errors import StageError
from ai_workflow.storage.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

# Hash keys (16 characters each), so that holdout and validation are independent.
_HOLDOUT, _VALIDATION = "aiw-holdout-0001", "aiw-validate-001"


class SplitRule(TypedDict):
    """Rows that are held out: a share by the hash of the id, or all from `cutoff` (ISO 8601, UTC) on."""

    holdout: float
    timestamp: str | None
    cutoff: str | None


def cutoff(store: Store, clean: Dataset, timestamp: str, holdout: float) -> str:
    """Return the time (ISO 8601, UTC) from which rows are held out, so that about the share `holdout` is.

    Raises:
        StageError: too many rows have the first timestamp, so no row is earlier.
    """
    import numpy as np
    import pandas as pd

    moments = np.concatenate(
        [frame[timestamp].to_numpy("datetime64[us]") for _, frame in partitions.frames(store, clean, [timestamp])]
    )
    # Rows without a timestamp belong to the training rows.
    moments = np.sort(moments[~np.isnat(moments)])
    at = moments[min(len(moments) - 1, int(np.ceil(len(moments) * (1 - holdout))))]
    if at == moments[0]:
        raise StageError(
            f"no holdout by time is possible: {timestamp} is {pd.Timestamp(at)} in too many rows, none is earlier",
            "Set timestamp: null to hold out by the hash of the id",
        )
    return pd.Timestamp(at).isoformat()


def is_holdout(frame: pd.DataFrame, split: SplitRule) -> np.ndarray:
    """Return (n,) bool: whether each row of a clean frame is held out.

    Args:
        frame: with column `__id`, and the timestamp column if the split is by time.
        split: `{"holdout": share}`, or `{"timestamp": column, "cutoff": ISO 8601 time}`.
    """
    import numpy as np
    import pandas as pd

    if start := split.get("cutoff"):
        return np.asarray(frame[split["timestamp"]] >= pd.Timestamp(start), dtype=bool)
    return is_below_share(frame[ID], split["holdout"], _HOLDOUT)


def is_validation(ids: pd.Series, share: float) -> np.ndarray:
    """Return (n,) bool: whether each training row is used to validate early stopping."""
    return is_below_share(ids, share, _VALIDATION)


def is_below_share(ids: pd.Series, share: float, key: str) -> np.ndarray:
    """Return (n,) bool: whether the hash of each ID, scaled to [0, 1), is below the share."""
    import numpy as np

    return np.asarray(hashing.of(ids, key) < np.uint64(share * 2.0**64)) if share < 1 else np.full(len(ids), True)
