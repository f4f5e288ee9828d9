"""Parquet files of partitions: encodings by type and first rows, and readers of small, large and older files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ai_workflow.datasets import parquet

ROWS = 2000


def _table(rows: int = ROWS) -> pa.Table:
    numbers = range(rows)
    return pa.table({
        "__row": pa.array(numbers, pa.int64()),
        "a.b": pa.array([number / 7 for number in numbers], pa.float64()),
        "when": pa.array(numbers, pa.timestamp("us")),
        "flag": pa.array([number % 2 == 0 for number in numbers]),
        "plan": pa.array(["plus" if number % 3 else None for number in numbers], pa.large_string()),
        "id": pa.array([f"c{number}" for number in numbers]),
    })  # fmt: skip


def _columns(data: bytes) -> dict[str, Any]:
    group = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0)
    return {group.column(number).path_in_schema: group.column(number) for number in range(group.num_columns)}


def test_columns_are_encoded_by_type_and_first_rows() -> None:
    columns = _columns(parquet.to_bytes(_table()))
    expected = {"__row": "DELTA_BINARY_PACKED", "a.b": "BYTE_STREAM_SPLIT", "when": "DELTA_BINARY_PACKED"}
    assert all(encoding in columns[name].encodings for name, encoding in expected.items())
    assert [name for name in columns if columns[name].has_dictionary_page] == ["plan"]
    assert not any(column.is_stats_set for column in columns.values())


def test_named_columns_have_dictionary() -> None:
    sink = io.BytesIO()
    parquet.write([_table()], sink, ["a.b", "absent"])
    columns = _columns(sink.getvalue())
    assert [name for name in columns if columns[name].has_dictionary_page] == ["a.b"]


@pytest.mark.parametrize("batch", [1, 999, ROWS])
def test_bytes_are_independent_of_batches(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_GROUP_ROWS", 700)
    sink = io.BytesIO()
    table = _table()
    assert parquet.write((table.slice(start, batch) for start in range(0, ROWS, batch)), sink) == ROWS
    assert sink.getvalue() == parquet.to_bytes(table)
    assert pq.ParquetFile(sink).num_row_groups == 3


@pytest.mark.parametrize("rows", [0, ROWS])
@pytest.mark.parametrize("small_bytes", [0, 1 << 20])
def test_table_is_read_back(rows: int, small_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_SMALL_BYTES", small_bytes)
    table = _table(rows)
    (tmp_path / "part").write_bytes(parquet.to_bytes(table))
    for read in (
        parquet.read,
        lambda file: pa.concat_tables([table.slice(0, 0), *parquet.batches(file, 300)]),
        lambda file: pa.table({name: part[name] for part in _groups(file, table) for name in part.column_names}),
    ):
        with (tmp_path / "part").open("rb") as file:
            assert read(file).equals(table)
            assert read(file).equals(table)


def test_file_of_earlier_release_is_read(tmp_path: Path) -> None:
    table = parquet.to_table(parquet.to_frame(_table()))
    pq.write_table(table, tmp_path / "part", compression="zstd", compression_level=1, row_group_size=300)
    with (tmp_path / "part").open("rb") as file:
        assert parquet.to_frame(parquet.read(file)).equals(parquet.to_frame(_table()))


def test_frame_types_are_those_of_conversion_to_frame_and_back() -> None:
    table = _table()
    expected = parquet.to_table(parquet.to_frame(table.slice(0, 0))).schema
    typed = parquet.with_frame_types(table)
    assert (typed.schema.names, typed.schema.types) == (expected.names, expected.types)
    assert parquet.to_frame(typed).equals(parquet.to_frame(table))


def _groups(file: Any, table: pa.Table) -> list[pa.Table]:
    return list(parquet.column_groups(file, table.column_names, 4))
