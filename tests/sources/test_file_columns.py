"""Sources of files with different columns, and of folders whose names are columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ai_workflow.storage.store import Store
from tests.sources.loading import csv, load, parquet, refused, rows, write


def columns(store: Store, source: Any) -> list[str]:
    return [column["name"] for column in load(store, source).info["columns"]]


def test_column_that_a_file_lacks_is_missing_there(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "1.csv", "a,b\n1,2\n")
    write(tmp_path / "2.csv", "c,a\n6,4\n")
    assert columns(store, csv(tmp_path)) == ["a", "b", "c"]
    assert rows(store, csv(tmp_path)) == [(2, "1", "2", None), (2, "4", None, "6")]
    assert load(store, csv(tmp_path)).info["absent"] == {
        "b": {"file": "2.csv", "files": 1},
        "c": {"file": "1.csv", "files": 1},
    }


def test_file_without_rows_lacks_no_column(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "1.csv", "a,b\n")
    write(tmp_path / "2.csv", "a\n1\n")
    write(tmp_path / "3.csv", "a\n1\n")
    assert load(store, csv(tmp_path)).info["absent"] == {"b": {"file": "2.csv", "files": 2}}


def test_typed_column_that_a_file_lacks_is_missing_there(store: Store, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "n": [2]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": [3]}), tmp_path / "2.parquet")
    pq.write_table(pa.table({"a": [4], "n": [0.5]}), tmp_path / "3.parquet")
    assert rows(store, parquet(tmp_path)) == [(1, 1, 2.0), (1, 3, None), (1, 4, 0.5)]


def test_files_without_common_column_are_rejected(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "1.csv", "a,b\n1,2\n")
    write(tmp_path / "2.csv", "x,y\n1,2\n")
    text = refused(store, csv(tmp_path))
    assert "2.csv and" in text
    assert "1.csv have no column in common: the former has x, y" in text


def test_headerless_files_of_different_widths_are_rejected(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "1.csv", "a,b\n1,2\n")
    write(tmp_path / "2.csv", "a,b,c\n1,2,3\n")
    assert "2.csv has 3 columns" in refused(store, csv(tmp_path, header=False))


def test_added_file_with_a_column_that_is_not_read_reloads_nothing(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "1.csv", "a,b\n1,2\n")
    first = load(store, csv(tmp_path))
    write(tmp_path / "2.csv", "a,b,c\n3,4,5\n")
    assert load(store, csv(tmp_path, drop=("c", "nowhere"))).partitions[0] == first.partitions[0]


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_folder_names_of_hive_are_columns(store: Store, tmp_path: Path, kind: str) -> None:
    table = pd.DataFrame({"x": [1, 2, 3, 4], "y": ["p", "q", "p", "q"], "c": ["a", "b c/d", None, "a"], "n": [1] * 4})
    table.to_parquet(tmp_path / "hive", partition_cols=["c", "n"])
    if kind == "csv":
        for file in sorted((tmp_path / "hive").rglob("*.parquet")):
            pd.read_parquet(file, partitioning=None).to_csv(file.with_suffix(".csv"), index=False)
    source = (csv if kind == "csv" else parquet)(tmp_path / "hive")
    assert columns(store, source) == ["x", "y", "c", "n"]
    found = sorted((str(row[3]), row[4], int(row[1]), row[2]) for row in rows(store, source))
    assert found == [("None", "1", 3, "p"), ("a", "1", 1, "p"), ("a", "1", 4, "q"), ("b c/d", "1", 2, "q")]


def test_missing_tokens_and_strip_apply_to_folder_names(store: Store, tmp_path: Path) -> None:
    for value in ("NA", "%20x", "", "y"):
        write(tmp_path / f"in/c={value}/a.csv", "a\n1\n")
    found = rows(store, csv(tmp_path / "in", missing=("NA",), strip=True))
    assert [row[2] for row in found] == ["x", None, None, "y"]


def test_folder_name_and_column_of_one_name_are_rejected(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "in/c=1/a.csv", "a,c\n1,2\n")
    assert "column 'c' is in the file and in the name of its folder" in refused(store, csv(tmp_path / "in"))
    assert rows(store, csv(tmp_path / "in", drop=("c",))) == [(2, "1")]


def test_equal_files_in_two_folders_keep_their_own_folder_values(store: Store, tmp_path: Path) -> None:
    for value in "ab":
        write(tmp_path / f"in/c={value}/1.csv", "x\n1\n")
    assert rows(store, csv(tmp_path / "in")) == [(2, "1", "a"), (2, "1", "b")]


def test_reserved_folder_name_is_rejected(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "in/__row=1/a.csv", "a\n1\n")
    write(tmp_path / "in/a.csv", "a\n1\n")
    # Folders that begin with an underscore are not read, as Hive does.
    assert rows(store, csv(tmp_path / "in")) == [(2, "1")]
    assert "'__row' begins with __" in refused(Store(tmp_path / "var"), csv(tmp_path / "in/*/a.csv"))


UNREADABLE = {
    "tags": pa.array([[1, 2]]),
    "s": pa.array([{"b": 1}]),
    "u": pa.array([2**63], pa.uint64()),
    "raw": pa.array([b"\xff"]),
    "__row": pa.array([1]),
    "__index_level_0__": pa.array([7]),
}


def test_dropped_parquet_columns_are_not_read(store: Store, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], **UNREADABLE}), tmp_path / "a.parquet")
    assert rows(store, parquet(tmp_path / "a.parquet", drop=tuple(UNREADABLE))) == [(1, 1)]


def test_index_of_pandas_is_left_out_with_a_note(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "ai_pipeline")
    pd.DataFrame({"x": [0.7, 0.9]}, index=[3, 17]).to_parquet(tmp_path / "a.parquet")
    assert rows(store, parquet(tmp_path / "a.parquet")) == [(1, 0.7), (2, 0.9)]
    assert "the index of pandas is left out (__index_level_0__)" in caplog.text


def test_dropped_csv_column_may_be_repeated_or_reserved(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a,x,x,__row\n1,2,3,4\n")
    assert rows(store, csv(path, drop=("x", "__row"))) == [(2, "1")]


def test_dropping_every_column_is_rejected(store: Store, tmp_path: Path) -> None:
    assert "every column is dropped" in refused(store, csv(write(tmp_path / "a.csv", "a\n1\n"), drop=("a",)))


@pytest.mark.integration
def test_grouped_small_files_may_have_different_columns_and_folders(store: Store, tmp_path: Path) -> None:
    for number in range(40):
        extra = (",b", f",{number}") if number % 2 else ("", "")
        write(tmp_path / f"in/c={number % 3}/{number:02}.csv", f"a{extra[0]}\n{number}{extra[1]}\n")
    found = sorted(row[-3:] for row in rows(store, csv(tmp_path / "in")))
    assert found == sorted((str(n), str(n % 3), str(n) if n % 2 else None) for n in range(40))
    assert load(store, csv(tmp_path / "in")).info["absent"] == {"b": {"file": "c=0/00.csv", "files": 20}}
