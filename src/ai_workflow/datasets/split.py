"""Deterministic holdout split: by the hash of the row ID or a group, by time, by class, by a column or by file."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, NotRequired, TypedDict

from ai_workflow.datasets import hashing, partitions
from ai_workflow.datasets.partitions import ID, SOURCE, Dataset
from ai_workflow.errors import StageError
from ai_workflow.storage.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

# Hash keys (16 characters each), so that holdout, validation and calibration are independent.
_HOLDOUT, _VALIDATION, _CALIBRATION = "aiw-holdout-0001", "aiw-validate-001", "aiw-calibrate-01"


class SplitRule(TypedDict):
    """Rows that are held out: a share by the hash of the id, or all from `cutoff` (ISO 8601, UTC) on.

    Other splits have `group` (a column whose hash replaces that of the id), `class_limits` (largest hash of the rows
    held out, by value of `class_column`), `column` and its `values` that are held out, or patterns of `files`.
    """

    holdout: float
    timestamp: str | None
    cutoff: str | None
    group: NotRequired[str]
    class_column: NotRequired[str]
    class_limits: NotRequired[dict[str, int]]
    column: NotRequired[str]
    values: NotRequired[list[str]]
    files: NotRequired[list[str]]


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
            "Set evaluate.split: {kind: id} to hold out by the hash of the id",
        )
    return pd.Timestamp(at).isoformat()


def input_columns(rule: SplitRule) -> list[str]:
    """Return the columns of clean rows that `is_holdout` reads, apart from `__source`."""
    if rule["cutoff"] and rule["timestamp"]:
        return [rule["timestamp"]]
    columns = (ID, rule.get("group"), rule.get("class_column"), rule.get("column"))
    return list(dict.fromkeys(name for name in columns if name))


def is_holdout(frame: pd.DataFrame, split: SplitRule, source: str = "") -> np.ndarray:
    """Return (n,) bool: whether each row of a clean frame is held out.

    Rows without a timestamp, class or value of the column are training rows; a row without a group is a group.

    Args:
        frame: with `input_columns`, and `__source` if it has rows of several files.
        split: the rule of the split.
        source: the file of a frame without `__source`.
    """
    import numpy as np
    import pandas as pd

    if start := split.get("cutoff"):
        return np.asarray(frame[split["timestamp"]] >= pd.Timestamp(start), dtype=bool)
    if column := split.get("column"):
        return np.asarray(_as_text(frame[column]).isin([value.lower() for value in split["values"]]), dtype=bool)
    if patterns := split.get("files"):
        files = frame[SOURCE] if SOURCE in frame else pd.Series(source, index=frame.index)
        matching = {name for name in files.unique() if _matches(str(name), patterns)}
        return np.asarray(files.isin(matching), dtype=bool)
    if "class_limits" in split:
        return _is_within_class_limit(frame, split)
    return is_below_share(group_keys(frame, split), split["holdout"], _HOLDOUT)


def group_keys(frame: pd.DataFrame, split: SplitRule) -> pd.Series:
    """Return the text whose hash decides on each row: its group, or its ID if it has none."""
    group = split.get("group")
    return frame[ID] if group is None else frame[group].astype("string").fillna(frame[ID].astype("string"))


def id_hashes(frame: pd.DataFrame) -> np.ndarray:
    """Return the (n,) uint64 hashes of the IDs for the holdout."""
    return hashing.of(frame[ID], _HOLDOUT)


def _is_within_class_limit(frame: pd.DataFrame, split: SplitRule) -> np.ndarray:
    import numpy as np
    import pandas as pd

    limits = split["class_limits"]
    codes = pd.Index(list(limits)).get_indexer(pd.Index(frame[split["class_column"]].astype("str")))
    # The code of a class without a limit is -1, which is the last entry.
    limit = np.array([*limits.values(), 0], dtype=np.uint64)[codes]
    return np.asarray((id_hashes(frame) <= limit) & (codes >= 0))


def _as_text(values: pd.Series) -> pd.Series:
    """Return values as lower-case text, whole numbers without decimals."""
    return values.astype("string").str.removesuffix(".0").str.lower()


def _matches(name: str, patterns: list[str]) -> bool:
    """Return whether a file has the name of a pattern, or is at its path."""
    names = (name, name.rsplit("/", 1)[-1])
    return any(fnmatch.fnmatchcase(each, pattern) for pattern in patterns for each in names)


def describe(rule: SplitRule) -> str:
    """Return the rows held out in words."""
    share = f"{rule['holdout']:.0%}"
    if rule["cutoff"]:
        return f"the rows from {rule['cutoff']} on"
    if "column" in rule:
        return f"the rows with {rule['column']} {', '.join(rule['values'])}"
    if "files" in rule:
        return f"the rows of {', '.join(rule['files'])}"
    if "group" in rule:
        return f"{share} of the groups by the hash of {rule['group']}"
    return (
        f"{share} of each class by the hash of the id" if "class_limits" in rule else f"{share} by the hash of the id"
    )


def is_validation(ids: pd.Series, share: float) -> np.ndarray:
    """Return (n,) bool: whether each training row is used to validate early stopping."""
    return is_below_share(ids, share, _VALIDATION)


def is_calibration(ids: pd.Series, share: float) -> np.ndarray:
    """Return (n,) bool: whether each training row is used to calibrate the probabilities."""
    return is_below_share(ids, share, _CALIBRATION)


def is_below_share(ids: pd.Series, share: float, key: str) -> np.ndarray:
    """Return (n,) bool: whether the hash of each ID, scaled to [0, 1), is below the share."""
    import numpy as np

    return np.asarray(hashing.of(ids, key) < np.uint64(share * 2.0**64)) if share < 1 else np.full(len(ids), True)
