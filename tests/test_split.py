"""What the split promises: the same rows are held out always and everywhere, about as many as asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ai_workflow.datasets import split
from ai_workflow.datasets.partitions import ID, Dataset
from ai_workflow.errors import StageError
from ai_workflow.storage.store import Store
from tests import processes
from tests.tables import dataset, part

IDS = pd.Series([f"rows.csv:{number}" for number in range(20_000)], dtype="str")
HELD = """
    import pandas as pd
    from ai_workflow.datasets import split
    from ai_workflow.datasets.partitions import ID
    ids = pd.Series([f"rows.csv:{number}" for number in range(300)], dtype="str")
    print("".join(map(str, split.is_holdout(pd.DataFrame({ID: ids}), {"holdout": 0.2}).astype(int))))
"""


def _held(ids: pd.Series, share: float) -> np.ndarray:
    return split.is_holdout(pd.DataFrame({ID: ids}), {"holdout": share})


@pytest.mark.integration
def test_holdout_is_equal_across_processes() -> None:
    own = "".join(map(str, _held(IDS[:300], 0.2).astype(int)))
    assert {processes.python(HELD, PYTHONHASHSEED=seed) for seed in ("0", "1")} == {own}
    assert 0 < own.count("1") < 300


@pytest.mark.integration
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_holdout_does_not_depend_on_partition_size(size: int) -> None:
    ids = IDS[:2000]
    parts = [_held(ids[start : start + size], 0.3) for start in range(0, 2000, size)]
    assert (np.concatenate(parts) == _held(ids, 0.3)).all()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 0.99, 1.0])
def test_holdout_share_is_close_to_requested(share: float) -> None:
    assert _held(IDS, share).mean() == pytest.approx(share, abs=0.01)
    assert split.is_validation(IDS, share).mean() == pytest.approx(share, abs=0.01)


def test_larger_holdout_contains_smaller_holdout() -> None:
    assert not (_held(IDS, 0.1) & ~_held(IDS, 0.2)).any()


def test_holdout_and_validation_splits_are_independent() -> None:
    both = _held(IDS, 0.5) & split.is_validation(IDS, 0.5)
    assert both.mean() == pytest.approx(0.25, abs=0.01)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def _dated(store: Store, *parts: list[int]) -> Dataset:
    """A dataset with rows on these days of January."""
    frames = [{"day": pd.to_datetime([f"2024-01-{day:02d}" for day in days])} for days in parts]
    return dataset(*(part(store, f"p{at}", columns) for at, columns in enumerate(frames)))


@pytest.mark.parametrize(
    ("parts", "share", "day"),
    [
        ([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]], 0.2, 9),
        ([[10, 3, 8, 1, 6], [5, 7, 2, 9, 4]], 0.2, 9),
        ([[1, 2, 2, 2, 2, 2, 2, 2, 2, 3]], 0.2, 2),
        ([[1, 2]], 0.01, 2),
    ],
)
def test_time_holdout_takes_latest_rows_and_keeps_ties_together(
    store: Store, parts: list[list[int]], share: float, day: int
) -> None:
    cut = split.cutoff(store, _dated(store, *parts), "day", share)
    assert cut == f"2024-01-{day:02d}T00:00:00"
    moments = pd.DataFrame({"day": pd.to_datetime([f"2024-01-{day:02d}" for days in parts for day in days])})
    held = split.is_holdout(moments, {"timestamp": "day", "cutoff": cut})
    assert held.tolist() == [each >= day for days in parts for each in days]


@pytest.mark.parametrize("days", [[5], [5, 5, 5], [5, 5, 5, 5, 6]])
def test_time_holdout_without_earlier_rows_is_rejected(store: Store, days: list[int]) -> None:
    with pytest.raises(StageError, match=r"no holdout by time is possible: day is 2024-01-05 .* timestamp: null"):
        split.cutoff(store, _dated(store, days), "day", 0.5)
