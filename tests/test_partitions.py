"""What partitions promise: the same rows are the same bytes, computed once, and computed again if damaged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ai_workflow.datasets import partition_cache, partitions
from ai_workflow.datasets.partitions import Dataset, Partition
from ai_workflow.errors import StoreError
from ai_workflow.storage.store import Store
from tests.tables import DAMAGES, damage, dataset, part


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


class Computing:
    """Computes one file and counts how often."""

    def __init__(self, store: Store) -> None:
        self.times = 0
        self._store = store

    def __call__(self, stem: str) -> dict[str, Any]:
        self.times += 1
        written = part(self._store, "x", {"a": [1, 2]})
        ref = self._store.write(f"{stem}-00000.parquet", self._store.read(written.path))
        return {"rows": 2, "file": ref.to_json()}


def test_equal_rows_give_identical_partition_bytes(store: Store) -> None:
    columns = {"a": [1, None], "b": ["ü", None], "c": pd.to_datetime(["2024-01-01", "NaT"])}
    assert part(store, "one", columns).sha256 == part(store, "two", columns, ids=["one.csv:1", "one.csv:2"]).sha256


def test_column_types_survive_missing_values(store: Store) -> None:
    frame = pd.DataFrame(
        {
            "whole": pd.array([2**53 + 1, None], dtype="Int64"),
            "yes": pd.array([True, None], dtype="boolean"),
            "number": [0.1, None],
            "text": pd.Series(["ü", None], dtype="str"),
            "moment": pd.to_datetime(["2024-01-01T10:00:00.000001", "NaT"]).astype("datetime64[us]"),
        }
    )
    read = partitions.read(store, partitions.write(store, "x.parquet", frame, "x"))
    pd.testing.assert_frame_equal(read, frame)
    assert read["whole"][0] == 2**53 + 1


def test_only_requested_columns_are_read(store: Store) -> None:
    assert list(partitions.read(store, part(store, "x", {"a": [1], "b": [2]}), ["b"])) == ["b"]


def test_dataset_round_trips_through_store(store: Store) -> None:
    saved = Dataset("clean", (part(store, "x", {"a": [1, 2]}), part(store, "y", {"a": [3]})), {"columns": ["a"]})
    result = saved.save(store)
    assert Dataset.load(store, result) == saved
    assert (result["rows"], result["fingerprint"]) == (3, saved.fingerprint)


def test_dataset_fingerprint_depends_on_rows_order_source_and_info(store: Store) -> None:
    one, two = part(store, "x", {"a": [1]}), part(store, "y", {"a": [2]})
    other_source = Partition(one.path, one.sha256, one.bytes, one.rows, "z.csv")
    several = [dataset(one, two), dataset(two, one), dataset(one), dataset(other_source, two)]
    several += [Dataset("test", (one, two), {"missing": ["?"]})]
    assert len({each.fingerprint for each in several}) == len(several)


def test_frames_are_read_in_partition_order(store: Store) -> None:
    parts = part(store, "x", {"a": [1, 2]}), part(store, "y", {"a": [3]})
    found = list(partitions.frames(store, dataset(*parts), ["a"]))
    assert [(each.source, frame["a"].tolist()) for each, frame in found] == [("x.csv", [1, 2]), ("y.csv", [3])]


@pytest.mark.parametrize("kind", ["deleted", "empty", "cut short"])
def test_invalid_parquet_file_error_names_path(store: Store, kind: str) -> None:
    written = part(store, "x", {"a": list(range(1000))})
    damage(store, written.path, kind)
    with pytest.raises(StoreError, match=r"data/test/x\.parquet"):
        partitions.read(store, written)


def test_debug_log_shows_reads_writes_and_cache_hits(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="ai_pipeline")
    written = partitions.write(store, "data/test/x.parquet", pd.DataFrame({"a": range(5), "b": 1.5}), "s")
    partitions.read(store, written, ["a"])
    list(partitions.slices(store, written, 2))
    for _ in range(2):
        partition_cache.cached(store, "stage", "key", Computing(store))
    shown = f"data/test/x.parquet, 5 rows, {written.bytes} bytes"
    assert caplog.messages[:3] == [
        f"written: {shown}",
        f"read: {shown}, 1 columns, 5 rows at once",
        f"read: {shown}, all columns, 2 rows at once",
    ]
    assert caplog.messages[3] == "cache miss: data/stage/key"
    assert caplog.messages[-1] == "cache hit: data/stage/key"


def test_cached_result_is_computed_once(store: Store) -> None:
    compute = Computing(store)
    first = partition_cache.cached(store, "stage", "key", compute)
    assert partition_cache.cached(store, "stage", "key", compute) == first
    assert compute.times == 1
    partition_cache.cached(store, "stage", "another", compute)
    assert compute.times == 2


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("path", ["data/stage/key.json", "data/stage/key-00000.parquet"])
def test_damaged_cached_result_is_recomputed(
    store: Store, path: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    compute = Computing(store)
    first = partition_cache.cached(store, "stage", "key", compute)
    damage(store, path, kind)
    assert partition_cache.cached(store, "stage", "key", compute) == first
    assert partition_cache.cached(store, "stage", "key", compute) == first
    assert compute.times == 2
    gone = path.endswith(".json") and kind == "deleted"
    assert ("is computed again" in caplog.text) == (not gone)


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_partition_is_found_through_dataset(store: Store, kind: str) -> None:
    one, two = part(store, "x", {"a": [1]}), part(store, "y", {"a": [2]})
    result: dict[str, Any] = {
        "clean": dataset(one, two).save(store),
        "rejected": [{"path": one.path, "sha256": one.sha256}],
    }
    assert partition_cache.find_corrupt(store, result) == []
    damage(store, two.path, kind)
    assert partition_cache.find_corrupt(store, result) == [two.path]
    damage(store, result["clean"]["record"]["path"], kind)
    assert partition_cache.find_corrupt(store, result) == [result["clean"]["record"]["path"]]
    with pytest.raises(StoreError):
        Dataset.load(store, result["clean"])


@pytest.mark.slow
def test_process_exits_cleanly_after_parquet_read(store: Store) -> None:
    # A thread of Arrow that still held the file of Python aborted every second one.
    path = part(store, "x", {f"column_{number}": list(range(5000)) for number in range(40)}).path
    program = (
        "import sys; from ai_workflow.datasets import parquet; from ai_workflow.storage.store import Store\n"
        "with parquet.open_file(Store(sys.argv[1]), sys.argv[2]) as file: table = parquet.read(file)"
    )
    command = [sys.executable, "-c", program, store.root, path]
    ended = [subprocess.run(command, capture_output=True, text=True, check=False) for _ in range(6)]
    assert [(done.returncode, done.stderr) for done in ended] == [(0, "")] * 6
