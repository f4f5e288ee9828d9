"""What the quarantine promises: every rejected row is there, with its place, its value and the reason."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from ai_workflow.datasets import partitions, quarantine
from ai_workflow.datasets.partitions import ROW, Partition
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import trace_context


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def _write(store: Store, name: str, rows: dict[int, str | None], reason: str = "is not a number") -> Partition:
    frame = pd.DataFrame(
        {ROW: list(rows), "age": pd.Series(list(rows.values()), dtype="str"), "big": [1.5] * len(rows)}
    )
    findings = [("age", reason, pd.Series(True, index=frame.index))]
    source = f"{name}.csv"
    return partitions.write(store, f"{name}.parquet", [quarantine.table(frame, findings, source)], source)


def test_rejected_row_has_location_value_reason_and_record(store: Store) -> None:
    lines = partitions.read(store, _write(store, "a", {17: "vier", 4: "ü\n\"'"})).to_dict(orient="records")
    assert [(line["source"], line["row"], line["column"], line["value"], line["reason"]) for line in lines] == [
        ("a.csv", 4, "age", "ü\n\"'", "is not a number"),
        ("a.csv", 17, "age", "vier", "is not a number"),
    ]
    assert [json.loads(line["record"]) for line in lines] == [
        {"age": "ü\n\"'", "big": 1.5}, {"age": "vier", "big": 1.5},
    ]  # fmt: skip


def test_row_with_two_errors_has_two_lines_and_counts_once(store: Store) -> None:
    frame = pd.DataFrame({ROW: [1, 2], "a": ["x", "1"], "b": [None, "2"]})
    bad = pd.Series([True, False])
    lines = quarantine.table(frame, [("b", "is missing", bad), ("a", "is not a number", bad)], "p.csv")
    part = partitions.write(store, "p", [lines], "p.csv")
    assert partitions.read(store, part)["column"].tolist() == ["a", "b"]
    assert json.loads(partitions.read(store, part)["record"][0])["b"] is None
    assert quarantine.write_report(store, [part]).rows == 1


def test_rejected_rows_of_all_partitions_are_in_single_csv_per_trace(store: Store) -> None:
    parts = [_write(store, "a", {3: "x", 5: "y"}), _write(store, "b", {3: "z"}, "is missing")]
    with trace_context.bound(trace_id="f" * 32):
        found = quarantine.write_report(store, parts)
    assert found.rows == 3
    assert found.ref
    assert found.ref.path == f"quarantine/{'f' * 32}/rejected.csv"
    with store.open(found.ref.path) as file:
        read = pd.read_csv(file)
    assert tuple(read) == quarantine.COLUMNS
    assert read[["source", "row", "value"]].to_numpy().tolist() == [
        ["a.csv", 3, "x"], ["a.csv", 5, "y"], ["b.csv", 3, "z"],
    ]  # fmt: skip


def test_summary_lists_most_frequent_errors_with_first_row(store: Store) -> None:
    parts = [_write(store, "a", {3: "x" * 100, 5: "y"}), _write(store, "b", {4: "z"}, "is missing")]
    summary = quarantine.write_report(store, parts).summary
    assert summary.startswith(
        f"2x age is not a number (first: a.csv row 3: '{'x' * 40}…'); 1x age is missing (first: b.csv row 4: 'z'); "
    )
    assert summary.endswith(f"all of them in {store.root}/quarantine/untraced/rejected.csv")


def test_no_rejected_rows_write_no_file(store: Store) -> None:
    assert quarantine.write_report(store, []) == quarantine.RejectedRows(0, "", None)
    assert store.names("quarantine") == []


def test_missing_cell_is_described_not_quoted(store: Store) -> None:
    part = _write(store, "a", {6: None}, "is missing")
    assert partitions.read(store, part)["value"].tolist() == [""]
    assert (
        "(first: a.csv row 6: an empty cell or a value of source.missing)"
        in quarantine.write_report(store, [part]).summary
    )
    part = _write(store, "b", {6: "None"}, "is not a number")
    assert "(first: b.csv row 6: 'None')" in quarantine.write_report(store, [part]).summary
