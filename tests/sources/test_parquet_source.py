"""What a Parquet source promises: plain typed columns, and one clear error for what it cannot take."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ai_workflow.storage.store import Store
from tests.sources.loading import load, parquet, refused, rows, write

NOON = datetime.datetime.fromisoformat("2024-06-01T12:00")
MIDNIGHT = NOON.replace(hour=0)


def table(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("values", "kind", "read"),
    [
        (pa.array([1, None], pa.int8()), "integer", [1, None]),
        (pa.array([1, 2**63 - 1], pa.uint64()), "integer", [1, 2**63 - 1]),
        (pa.array([1, 2**63], pa.uint64()), "number", [1.0, 2.0**63]),
        (pa.array([1.5, None], pa.float32()), "number", [1.5, None]),
        (pa.array([1.5, float("nan")]), "number", [1.5, None]),
        (pa.array([decimal.Decimal("1.25"), None]), "number", [1.25, None]),
        (pa.array([datetime.timedelta(seconds=90), None]), "number", [90.0, None]),
        (pa.array([True, None]), "boolean", [True, None]),
        (pa.array(["x", ""]), "string", ["x", None]),
        (pa.array(["x", None], pa.large_string()), "string", ["x", None]),
        (pa.array([b"x", None]), "string", ["x", None]),
        (pa.array(["x", None]).dictionary_encode(), "string", ["x", None]),
        (pa.array([None, None]), "string", [None, None]),
        (pa.array([datetime.time(10, 30), None]), "string", ["10:30:00.000000", None]),
        (pa.array([datetime.date(2024, 6, 1), None]), "datetime", [MIDNIGHT, None]),
        (pa.array([NOON, None], pa.timestamp("ns")), "datetime", [NOON, None]),
        (pa.array([NOON, None], pa.timestamp("ms", tz="Europe/Berlin")), "datetime", [NOON, None]),
    ],
)
def test_parquet_column_types_are_kept(store: Store, tmp_path: Path, values: Any, kind: str, read: list[Any]) -> None:
    path = table(tmp_path / "a.parquet", x=values, y=[1, 2])
    assert load(store, parquet(path)).info["columns"][0] == {"name": "x", "type": kind}
    assert rows(store, parquet(path)) == [(1, read[0], 1), (2, read[1], 2)]


def test_timezone_is_converted_to_utc(store: Store, tmp_path: Path) -> None:
    frame = pd.DataFrame({"at": pd.to_datetime(["2024-06-01 12:00"]).tz_localize("Europe/Berlin")})
    frame.to_parquet(tmp_path / "a.parquet")
    assert rows(store, parquet(tmp_path / "a.parquet")) == [(1, NOON.replace(hour=10))]


def test_missing_tokens_apply_to_text_and_numbers(store: Store, tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", n=[-999, 1], f=[-999.0, 0.5], t=[" ? ", " x"], b=[True, False])
    source = parquet(path, missing=("-999", "?"), strip=True)
    assert rows(store, source) == [(1, None, None, None, True), (2, 1, 0.5, "x", False)]


def test_row_numbers_continue_across_row_groups_and_partitions(store: Store, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": list(range(1, 1001))}), tmp_path / "a.parquet", row_group_size=70)
    found = rows(store, parquet(tmp_path / "a.parquet", partition_rows=300))
    assert found == [(number, number) for number in range(1, 1001)]


def test_integer_and_float_columns_of_two_files_become_float(store: Store, tmp_path: Path) -> None:
    table(tmp_path / "1.parquet", a=[1], b=pa.array([None], pa.null()))
    table(tmp_path / "2.parquet", b=["x"], a=[0.5])
    assert rows(store, parquet(tmp_path)) == [(1, 1.0, None), (1, 0.5, "x")]
    assert load(store, parquet(tmp_path)).info["columns"] == [
        {"name": "a", "type": "number"}, {"name": "b", "type": "string"},
    ]  # fmt: skip


def test_text_and_number_columns_of_two_files_are_rejected(store: Store, tmp_path: Path) -> None:
    table(tmp_path / "1.parquet", a=[1])
    table(tmp_path / "2.parquet", a=["x"])
    text = refused(store, parquet(tmp_path))
    assert "column 'a' is string in" in text
    assert "2.parquet" in text


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"a": [[1]]}, "column 'a' holds list"),
        ({"a": [{"b": 1}]}, "column 'a' holds struct"),
        ({"a": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64()))}, "column 'a' holds map"),
        ({"a": [b"\xff"]}, "column 'a' of type binary does not fit string"),
        ({"a": [[1]]}, "or leave the column out: schema: {a: {type: text, drop: true}}"),
        ({"a": [b"\xff"]}, "or leave the column out: schema: {a: {type: text, drop: true}}"),
        ({"": [1]}, "column 1 has no name"),
        ({"a": pa.array([], pa.int64())}, "no rows"),
    ],
)
def test_unsupported_column_type_error_names_column(
    store: Store, tmp_path: Path, columns: dict[str, Any], said: str
) -> None:
    assert said in refused(store, parquet(table(tmp_path / "a.parquet", **columns)))


def test_unsigned_column_of_several_files_has_one_kind(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, values in enumerate(([1, None], [2**64 - 1, 2], [3, 4])):
        table(tmp_path / f"{number}.parquet", x=pa.array(values, pa.uint64()))
    source = parquet(tmp_path)
    assert [row[1] for row in rows(store, source)] == [1.0, None, 2.0**64, 2.0, 3.0, 4.0]
    assert "1.parquet: column 'x' has whole numbers from 2**63 on: it is read as numbers" in caplog.text


def test_duplicate_column_name_is_rejected(store: Store, tmp_path: Path) -> None:
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), tmp_path / "a.parquet")
    assert "more than one column is named 'a'" in refused(store, parquet(tmp_path / "a.parquet"))


def test_damaged_parquet_file_is_rejected(store: Store, tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", a=list(range(10_000)))
    whole = path.read_bytes()
    half = len(whole) // 2
    for number, content in enumerate(
        [whole[:half], whole[:half] + b"\0" * 500 + whole[half + 500 :], whole[:8], b"PAR1"]
    ):
        text = refused(store, parquet(write(tmp_path / f"bad-{number}.parquet", content)))
        assert f"bad-{number}.parquet is damaged" in text
    assert "is not a Parquet file" in refused(store, parquet(write(tmp_path / "b.parquet", "a,b\n1,2\n")))
