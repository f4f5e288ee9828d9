"""What deduplication promises: the first of equal rows stays, wherever the others are, and none is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from ai_workflow.datasets import deduplication, partitions, quarantine
from ai_workflow.datasets.deduplication import CleanPartition
from ai_workflow.datasets.partitions import ID, ROW
from ai_workflow.storage.store import Store
from tests.tables import part


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def _by_id(store: Store, *parts: list[str]) -> list[CleanPartition]:
    return [
        CleanPartition(part(store, f"p{at}", {"key": ids, "a": [at] * len(ids)}, ids=ids), None, {"a": len(ids)})
        for at, ids in enumerate(parts)
    ]


def _ids(store: Store, cleaned: list[CleanPartition]) -> list[list[str]]:
    return [partitions.read(store, body.part)[ID].tolist() for body in cleaned]


def test_first_occurrence_is_kept_within_and_across_partitions(store: Store) -> None:
    found = deduplication.drop_duplicates(store, _by_id(store, ["a", "b", "a"], ["c"], ["b", "d", "d"]), "key")
    assert _ids(store, found) == [["a", "b"], ["c"], ["d"]]
    assert [body.part.rows for body in found] == [2, 1, 1]
    assert partitions.read(store, found[0].part)["a"].tolist() == [0, 0]


def test_only_partitions_with_duplicates_are_rewritten(store: Store) -> None:
    before = _by_id(store, ["a", "b"], ["c"], ["a", "d"])
    after = deduplication.drop_duplicates(store, before, "key")
    assert [one is other for one, other in zip(before, after, strict=True)] == [True, True, False]
    assert deduplication.drop_duplicates(store, before[:2], "key") == before[:2]
    assert len([name for name in store.names("data/clean") if name.endswith("-00000.parquet")]) == 1


def test_duplicates_are_listed_apart_from_rejected_rows(store: Store) -> None:
    (body,) = _by_id(store, ["a", "b", "a"])
    frame = partitions.read(store, body.part)
    lines = quarantine.table(frame, [("a", "is odd", frame[ROW] == 2)], "p0.csv")
    rejected = partitions.write(store, "earlier.parquet", [lines], "p0.csv")
    before = CleanPartition(body.part, rejected, body.present, without_target=4)
    (after,) = deduplication.drop_duplicates(store, [before], "key")
    assert (after.rejected, after.without_target) == (rejected, 4)
    assert after.duplicates
    lines = partitions.read(store, after.duplicates)[["source", "row", "column", "value", "reason"]]
    assert lines.to_numpy().tolist() == [["p0.csv", 3, "key", "a", "repeats an earlier row"]]


def test_row_deduplication_ignores_row_number(store: Store) -> None:
    columns = {"a": [1, 1, None, None, 1], "b": ["x", "y", None, None, "x"]}
    (after,) = deduplication.drop_duplicates(store, [CleanPartition(part(store, "p", columns), None, {})], None)
    assert partitions.read(store, after.part)[ROW].tolist() == [1, 2, 3]
    assert after.duplicates
    assert partitions.read(store, after.duplicates)["column"].tolist() == ["(whole row)"] * 2


def test_repeated_deduplication_uses_cache(store: Store) -> None:
    before = _by_id(store, ["a", "a"])
    first = deduplication.drop_duplicates(store, before, "key")
    written = {path: path.stat().st_mtime_ns for path in Path(store.root).rglob("*.parquet")}
    assert deduplication.drop_duplicates(store, before, "key") == first
    assert {path: path.stat().st_mtime_ns for path in Path(store.root).rglob("*.parquet")} == written


def test_cleaned_partition_round_trips_through_json(store: Store) -> None:
    for body in (_by_id(store, ["a"])[0], *deduplication.drop_duplicates(store, _by_id(store, ["a", "a"]), "key")):
        assert CleanPartition.from_json(body.to_json()) == body
