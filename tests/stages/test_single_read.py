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
from ai_workflow.errors import StageError
from ai_workflow.runtime import partition_threads
from ai_workflow.stages import feature_engineering, preprocessor
from ai_workflow.stages.preprocessor import RowRules
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import trace_context
from tests.stages.tables import Result, load, parted, settings

pytestmark = pytest.mark.integration

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


@pytest.mark.integration
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
            partition_threads.call(1, preprocessor.preprocess, store, loaded, rules)
    reads.clear()
    result = preprocessor.preprocess(store, loaded, rules)
    assert reads == {"00002": 1, "00003": 1}
    assert clean_files(store, result) == with_types_decided_first(tmp_path, frames)


@pytest.mark.integration
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


@pytest.mark.integration
def test_cells_of_partitions_with_different_kinds_are_cleaned_by_types_of_table(store: Store, tmp_path: Path) -> None:
    frame = numbers(600)
    frame["mixed"] = [CELLS[number // 100] for number in range(600)]
    frame["money"] = [f"{number},50 €" if number < 400 else f"{number} €" for number in range(600)]
    frames = parted(frame, 6)
    result = clean(store, frames)
    assert clean_files(store, result) == with_types_decided_first(tmp_path, frames)


def tables() -> dict[str, list[pd.DataFrame]]:
    """Return loaded partitions with other types at the end, rejected rows, gaps and repeated content."""
    gaps = numbers(420)
    gaps.loc[::29, "half"] = "bad"
    gaps.loc[60:119, "day"] = ""
    gaps["note"] = [f"note {number} on something" for number in range(420)]
    same = numbers(60)
    return {
        "words": parted(with_words_at_end(420), 7),
        "gaps": parted(gaps, 7),
        "same": [same, with_words_at_end(60), same, same],
    }


@pytest.mark.integration
@pytest.mark.parametrize("name", ["words", "gaps", "same"])
@pytest.mark.parametrize("duplicates", ["id", "none"])
@pytest.mark.slow
def test_number_of_threads_changes_no_file(tmp_path: Path, name: str, duplicates: str) -> None:
    trees = []
    for threads in (1, 2, 4):
        store = Store(tmp_path / str(threads))
        loaded = load(store, *tables()[name])
        roles = settings(id="id", target="y", reject_limit=0.05, deduplicate=duplicates)

        def run(store: Store = store, loaded: Result = loaded, roles: Any = roles) -> None:
            cleaned = preprocessor.preprocess(store, loaded, RowRules.of(roles))
            feature_engineering.fit(store, cleaned, feature_engineering.ColumnRoles.of(roles), roles.features)

        with trace_context.bound(trace_id="a3f7b2c1" * 4):
            partition_threads.call(threads, run)
        folder = tmp_path / str(threads)
        trees.append({str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()})
    assert trees[0] == trees[1] == trees[2]
    assert [path for path in trees[0] if path.startswith("data/features/")]


def test_error_in_partition_is_that_of_first_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(table: Any, *_: Any) -> Any:
        raise StageError(f"row {table['__row'][0]} is wrong", "Fix it")

    monkeypatch.setattr(row_checks, "check", fails)
    for threads in (1, 2, 4):
        with pytest.raises(StageError, match="row 1 is wrong"):
            partition_threads.call(threads, clean, Store(tmp_path / str(threads)), parted(numbers(240), 4))
