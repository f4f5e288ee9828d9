"""What the split promises: the same rows are held out always and everywhere, about as many as asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ai_workflow.config.settings.training import StratifiedSplit
from ai_workflow.datasets import split
from ai_workflow.datasets.partitions import ID, SOURCE, Dataset
from ai_workflow.errors import StageError
from ai_workflow.features import split_rule
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
    with pytest.raises(
        StageError, match=r"no holdout by time is possible: day is 2024-01-05 .* evaluate\.split: {kind: id}"
    ):
        split.cutoff(store, _dated(store, days), "day", 0.5)


def _rule(**other: object) -> dict[str, object]:
    return {"holdout": 0.3, "timestamp": None, "cutoff": None, **other}


def test_rows_of_a_group_are_on_one_side_and_rows_without_group_are_not_joined() -> None:
    groups = pd.Series(np.arange(4000) % 500, dtype="Int64")
    groups[:1000] = pd.NA
    frame = pd.DataFrame({ID: IDS[:4000], "customer": groups})
    held = pd.Series(split.is_holdout(frame, _rule(group="customer")))
    assert held.groupby(groups).nunique().max() == 1
    assert held[1000:].mean() == pytest.approx(0.3, abs=0.06)
    assert held[:1000].mean() == pytest.approx(0.3, abs=0.06)


@pytest.mark.parametrize(
    ("values", "listed", "held"),
    [
        (pd.Series(["test", "train", None], dtype="str"), ["test"], [True, False, False]),
        (pd.Series([1, 2, pd.NA], dtype="Int64"), ["1"], [True, False, False]),
        (pd.Series([1.0, 2.5, np.nan]), ["1", "2.5"], [True, True, False]),
        (pd.Series([True, False, pd.NA], dtype="boolean"), ["true"], [True, False, False]),
    ],
)
def test_column_with_values_names_the_holdout(values: pd.Series, listed: list[str], held: list[bool]) -> None:
    frame = pd.DataFrame({ID: IDS[:3], "part": values})
    assert split.is_holdout(frame, _rule(column="part", values=listed)).tolist() == held


@pytest.mark.parametrize(
    ("patterns", "held"),
    [
        (["test.csv"], [False, True, False]),
        (["test*"], [False, True, True]),
        (["b/*.csv"], [False, True, False]),
        (["a/x.csv", "test.parquet"], [True, False, True]),
    ],
)
def test_file_patterns_name_the_holdout(patterns: list[str], held: list[bool]) -> None:
    files = ["a/x.csv", "b/test.csv", "test.parquet"]
    frame = pd.DataFrame({ID: IDS[:3], SOURCE: files})
    assert split.is_holdout(frame, _rule(files=patterns)).tolist() == held
    alone = [bool(split.is_holdout(frame[[ID]][:1], _rule(files=patterns), name)[0]) for name in files]
    assert alone == held


@pytest.mark.integration
@pytest.mark.parametrize("size", [100, 1000])
def test_stratified_split_holds_out_the_share_of_each_class(store: Store, size: int) -> None:
    frame = pd.DataFrame({ID: IDS[:1000], "y": ["a"] * 900 + ["b"] * 90 + ["c"] * 9 + ["d"]})
    frame = frame.sample(frac=1, random_state=0).reset_index(drop=True)
    pieces = [frame[start : start + size] for start in range(0, 1000, size)]
    clean = dataset(*(part(store, f"p{at}", {"y": piece["y"]}, ids=list(piece[ID])) for at, piece in enumerate(pieces)))
    options = StratifiedSplit(kind="stratified")
    rule = split_rule.fit(store, clean, options, 0.1, "y", None)
    held = split.is_holdout(frame, rule)
    assert frame["y"][held].value_counts().to_dict() == {"a": 90, "b": 9, "c": 1}
    assert rule == split_rule.fit(store, clean, options, 0.1, "y", None)
