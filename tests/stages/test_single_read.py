"""Cleaning reads each partition once, and again only where the table decides on other types than its own values."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ai_workflow.cleaning import row_checks
from ai_workflow.datasets import parquet, partition_cache
from ai_workflow.datasets.kernels.loaded_partition import LoadedPartition
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.stages import preprocessor
from ai_workflow.stages.preprocessor import RowRules
from ai_workflow.storage.store import Store
from tests.stages.tables import Result, load, parted, settings

CELLS = ["7", "8.5", "", "1e3", "bad", "2024-02-03"]


def clean(store: Store, frames: list[pd.DataFrame], **changes: Any) -> Result:
    options: dict[str, Any] = {"id": "id", "target": "y", "reject_limit": 0.04, "deduplicate": "none", **changes}
    return preprocessor.preprocess(store, load(store, *frames), RowRules.of(settings(**options)))


def numbers(count: int) -> pd.DataFrame:
    """Return a table of numbers, of dates and of few words."""
    return pd.DataFrame(
        {
            "id": [f"r{number}" for number in range(count)],
            "x": [str(number % 90) for number in range(count)],
            "half": [f"{number / 2}" for number in range(count)],
            "day": [f"2024-01-{1 + number % 28:02d}" for number in range(count)],
            "kind": [f"kind {number % 5}" for number in range(count)],
            "y": [f"class {number % 2}" for number in range(count)],
        }
    )


def with_words_at_end(count: int) -> pd.DataFrame:
    frame = numbers(count)
    frame.loc[3 * count // 4 :, "x"] = [f"word {number % 7}" for number in range(count - 3 * count // 4)]
    return frame


def clean_files(store: Store, result: Result) -> list[bytes]:
    return [store.local(part.path).read_bytes() for part in Dataset.load(store, result).partitions]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The number of reads of each loaded partition, by the number of the partition."""
    counts: Counter[str] = Counter()
    opened = parquet.open_file

    def counted(store: Store, path: str) -> Any:
        if path.startswith("data/loaded/"):
            counts[Path(path).stem] += 1
        return opened(store, path)

    monkeypatch.setattr(parquet, "open_file", counted)
    return counts


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each table that is cleaned."""
    rows: list[int] = []
    check = row_checks.check

    def counted(table: Any, *args: Any) -> Any:
        rows.append(table.num_rows)
        return check(table, *args)

    monkeypatch.setattr(row_checks, "check", counted)
    return rows


def with_types_decided_first(tmp_path: Path, frames: list[pd.DataFrame], **changes: Any) -> list[bytes]:
    """Return the clean files of partitions that are cleaned after the types of the table are decided."""
    store = Store(tmp_path / "decided")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LoadedPartition, "is_in_memory", False)
        result = clean(store, frames, **changes)
    return clean_files(store, result)


def test_partition_is_read_and_cleaned_once(
    store: Store, tmp_path: Path, reads: Counter[str], checks: list[int]
) -> None:
    frames = parted(numbers(240), 4)
    result = clean(store, frames)
    assert reads == {f"{number:05d}": 1 for number in range(4)}
    assert checks == [60] * 4
    assert clean_files(store, result) == with_types_decided_first(tmp_path, frames)


def test_only_partitions_with_other_types_are_cleaned_again(
    store: Store, tmp_path: Path, reads: Counter[str], checks: list[int]
) -> None:
    frames = parted(with_words_at_end(240), 4)
    result = clean(store, frames)
    assert reads == {"00000": 2, "00001": 2, "00002": 2, "00003": 1}
    assert len(checks) == 7
    assert Dataset.load(store, result).info["schema"]["x"]["type"] == "category"
    assert clean_files(store, result) == with_types_decided_first(tmp_path, frames)


def test_text_in_last_partition_makes_distinct_values_of_others_count(store: Store, tmp_path: Path) -> None:
    frame = numbers(800)
    frame["note"] = [str(number) if number < 600 else f"note {number}" for number in range(800)]
    frame["few"] = [str(number % 9) if number < 600 else f"note {number}" for number in range(800)]
    result = clean(store, parted(frame, 4))
    schema = Dataset.load(store, result).info["schema"]
    assert {name: schema[name]["type"] for name in ("note", "few")} == {"note": "text", "few": "category"}
    assert clean_files(store, result) == with_types_decided_first(tmp_path, parted(frame, 4))


def test_partition_whose_column_is_empty_is_cleaned_with_types_of_table(
    store: Store, tmp_path: Path, reads: Counter[str], checks: list[int]
) -> None:
    frames = parted(numbers(240), 4)
    frames[1]["half"] = ""
    result = clean(store, frames)
    assert reads == {"00000": 1, "00001": 2, "00002": 1, "00003": 1}
    assert len(checks) == 4
    assert clean_files(store, result) == with_types_decided_first(tmp_path, frames)


def test_second_run_reads_and_cleans_nothing(store: Store, reads: Counter[str], checks: list[int]) -> None:
    frames = parted(with_words_at_end(240), 4)
    loaded = load(store, *frames)
    rules = RowRules.of(settings(id="id", target="y", deduplicate="none"))
    before = preprocessor.preprocess(store, loaded, rules)
    reads.clear()
    checks.clear()
    assert preprocessor.preprocess(store, loaded, rules) == before
    assert (reads, checks) == ({}, [])


def test_interrupted_run_resumes_without_reading_finished_partitions(
    store: Store, monkeypatch: pytest.MonkeyPatch, reads: Counter[str], tmp_path: Path
) -> None:
    frames = parted(numbers(240), 4)
    loaded = load(store, *frames)
    rules = RowRules.of(settings(id="id", target="y", deduplicate="none"))
    cached = partition_cache.cached

    def interrupted(store: Store, stage: str, key: str, compute: Any) -> Any:
        if reads["00002"]:
            raise KeyboardInterrupt
        return cached(store, stage, key, compute)

    with monkeypatch.context() as patch:
        patch.setattr(partition_cache, "cached", interrupted)
        with pytest.raises(KeyboardInterrupt):
            preprocessor.preprocess(store, loaded, rules)
    reads.clear()
    result = preprocessor.preprocess(store, loaded, rules)
    assert reads == {"00002": 1, "00003": 1}
    assert clean_files(store, result) == with_types_decided_first(tmp_path, frames)


@pytest.mark.parametrize("short", ["table", "rows"])
def test_memory_shortage_changes_no_result(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: str, checks: list[int]
) -> None:
    frames = parted(with_words_at_end(6000), 2)
    check = row_checks.check

    def fails(*_: Any) -> Any:
        raise MemoryError

    def fails_if_large(table: Any, *args: Any) -> Any:
        return fails() if table.num_rows > 2000 else check(table, *args)

    with monkeypatch.context() as patch:
        if short == "table":
            patch.setattr(LoadedPartition, "table", fails)
        else:
            patch.setattr(row_checks, "check", fails_if_large)
        result = clean(store, frames)
    assert max(checks) == (3000 if short == "table" else 1500)
    assert clean_files(store, result) == with_types_decided_first(tmp_path, frames)


def test_cells_of_partitions_with_different_kinds_are_cleaned_by_types_of_table(store: Store, tmp_path: Path) -> None:
    frame = numbers(600)
    frame["mixed"] = [CELLS[number // 100] for number in range(600)]
    frame["money"] = [f"{number},50 €" if number < 400 else f"{number} €" for number in range(600)]
    frames = parted(frame, 6)
    result = clean(store, frames)
    assert clean_files(store, result) == with_types_decided_first(tmp_path, frames)
