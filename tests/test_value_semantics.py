"""One semantics per value: the same raw cell gives the same bytes in a batch and over HTTP, or both refuse it."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ai_workflow.config.settings import CsvSource, ParquetSource, Settings
from ai_workflow.datasets import partitions
from ai_workflow.datasets.partitions import ROW, Dataset
from ai_workflow.errors import StageError
from ai_workflow.features import transform
from ai_workflow.features.cell_reader import CellReader
from ai_workflow.features.row_encoder import Encoder, InvalidRowsError
from ai_workflow.serving.protocol import oip
from ai_workflow.serving.protocol.tensors import NUMBER_FORMATS
from ai_workflow.stages import data_loader, feature_engineering, preprocessor
from ai_workflow.storage.store import Store


class World:
    """A pipeline that was trained on a table of its own, and the ways to ask its version."""

    def __init__(self, folder: Path, source: dict[str, Any], schema: dict[str, Any]) -> None:
        self.store, self.folder = Store(folder / "store"), folder
        base = {"pipeline": "shop", "task": "classification", "target": "good", "source": source, "schema": schema}
        self.settings = Settings.model_validate({**base, "reject_limit": 1.0, "deduplicate": "none"})
        loaded = self.load(self.settings.source)
        clean = preprocessor.preprocess(self.store, loaded, preprocessor.RowRules.of(self.settings))
        roles = feature_engineering.ColumnRoles.of(self.settings)
        featured = feature_engineering.fit(self.store, clean, roles, self.settings.features)
        self.warnings = [*clean["warnings"], *featured["warnings"]]
        self.spec = feature_engineering.read_spec(self.store, featured)
        self.encoder = Encoder(self.spec, "shop")

    def load(self, source: Any) -> dict[str, Any]:
        return data_loader.load(self.store, source, data_loader.inspect(source, self.folder))

    def batch(self, source: Any) -> tuple[dict[int, bytes], set[tuple[int, str]]]:
        """Return the numbers of each row that the scoring flow accepts, and (row, column) of what it rejects."""
        # A header counts as a row.
        first = 2 if isinstance(source, CsvSource) else 1
        rules = preprocessor.RowRules.of_spec(self.spec, self.settings)
        clean = preprocessor.preprocess(self.store, self.load(source), rules)
        featured = feature_engineering.apply(self.store, clean, self.spec)
        made: dict[int, bytes] = {}
        for _, frame in partitions.frames(self.store, Dataset.load(self.store, featured)):
            matrix = frame[transform.names(self.spec)].to_numpy("float32")
            made |= {int(row) - first: matrix[at].tobytes() for at, row in enumerate(frame[ROW])}
        rejected: set[tuple[int, str]] = set()
        if clean["quarantine"]:
            with self.store.open(clean["quarantine"]["path"]) as file:
                lines = csv.DictReader(io.StringIO(file.read().decode(), newline=""))
                rejected = {(int(line["row"]) - first, line["column"]) for line in lines}
        return made, rejected

    def asked(self, rows: list[dict[str, Any]]) -> tuple[dict[int, bytes], set[tuple[int, str]]]:
        """Return the same for rows as a caller sends them, by both paths of the encoder."""
        _, problems = self.encoder.reader.read(rows)
        refused = {(int(found[1]), found[2]) for text in problems if (found := re.match(r"rows\[(\d+)\]\.(\w+)", text))}
        assert len(refused) == len({text.partition(" ")[0] for text in problems})
        good = [number for number in range(len(rows)) if number not in {row for row, _ in refused}]
        data = self.encoder.encode_checked([rows[number] for number in good]) if good else b""
        width = 4 * self.encoder.width
        made = {number: data[at * width : (at + 1) * width] for at, number in enumerate(good)}
        for number, row in enumerate(rows):
            quick = self.encoder.encode_fast([row])
            assert quick is None or quick == made.get(number), row
        return made, refused


def write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.integration
def test_typed_categories_match_text_and_json_over_http(tmp_path: Path) -> None:
    count = 40
    frame = pd.DataFrame(
        {
            "size": pd.array([number % 4 for number in range(count)], dtype="Int64"),
            "rate": [None if number % 5 == 0 else number % 3 + (0.5 if number % 2 else 0) for number in range(count)],
            "is_new": [number % 3 == 0 for number in range(count)],
            "at": pd.to_datetime(["2026-01-01", "2026-01-02T10:00:00"] * (count // 2), format="ISO8601"),
            "good": [str(number % 2) for number in range(count)],
        }
    )
    frame.to_parquet(tmp_path / "train.parquet")
    schema = {name: {"type": "category", "nullable": True} for name in ("size", "rate", "is_new", "at")}
    world = World(tmp_path, {"kind": "parquet", "path": "train.parquet"}, schema)
    made, rejected = world.batch(ParquetSource(kind="parquet", path=str(tmp_path / "train.parquet")))
    assert not rejected
    plain = [
        {"size": int(size), "rate": None if pd.isna(rate) else float(rate), "is_new": bool(new), "at": at.isoformat()}
        for size, rate, new, at in zip(frame["size"], frame["rate"], frame["is_new"], frame["at"], strict=True)
    ]
    floats = [{**row, "size": float(row["size"]), "at": row["at"] + "Z"} for row in plain]
    text = [{name: None if value is None else str(value) for name, value in row.items()} for row in plain]
    for rows in (plain, floats, text):
        assert world.asked(rows) == (made, set())
    with pytest.raises(InvalidRowsError, match=r"rows\[0\]\.size is not a number, as the source has there: \"big\""):
        world.encoder.encode_checked([{**plain[0], "size": "big"}])


@pytest.mark.integration
def test_version_missing_values_apply_with_scoring_source_values(tmp_path: Path) -> None:
    rows = [{"colour": ("red", "blue")[number % 2], "good": str(number % 2)} for number in range(40)]
    write(tmp_path / "train.csv", [*rows, {"colour": "?", "good": "1"}])
    schema = {"colour": {"type": "category", "nullable": True}}
    world = World(tmp_path, {"kind": "csv", "path": "train.csv", "missing": ["?"], "strip": True}, schema)
    write(tmp_path / "score.csv", [{"colour": cell} for cell in (" red ", "?", "none", "blue")])
    made, _ = world.batch(CsvSource(kind="csv", path=str(tmp_path / "score.csv"), missing=("none",)))
    asked, _ = world.asked([{"colour": cell} for cell in ("red", None, None, "blue")])
    assert made == asked


def test_version_without_cell_rules_keeps_values_unchanged() -> None:
    spec = {
        "schema": {"x": {"type": "category", "nullable": True}},
        "features": [{"name": "x", "column": "x", "kind": "category", "vocabulary": ["?", "1"]}],
    }
    encoder = Encoder(spec, "old")
    quick = encoder.encode_fast([{"x": "?"}, {"x": 1}, {"x": " ?"}])
    assert quick == encoder.encode_checked([{"x": "?"}, {"x": 1}, {"x": " ?"}])
    assert list(memoryview(quick).cast("f")) == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("kind", "sent", "stored"),
    [
        ("string", " p7 ", "p7"), ("string", "?", None), ("string", "", None), ("string", 7, "7"),
        ("string", None, None),
        ("integer", 7.0, "7"), ("integer", "7", "7"), ("number", 7, "7"), ("string", {"a": 1}, None),
    ],
)  # fmt: skip
def test_logged_row_id_is_parsed_like_in_scoring_flow(kind: str, sent: Any, stored: str | None) -> None:
    spec = {"schema": {}, "features": [], "cells": {"strip": True, "missing": ["?"], "kinds": {"person": kind}}}
    assert CellReader(spec).row_id("person", sent) == stored


def typed_world(folder: Path, values: pa.Array, kind: str, missing: list[str], **declared: Any) -> World:
    """Return a pipeline that was trained on one typed column `x`."""
    repeated = pa.concat_arrays([values] * 20)
    good = [("poor", "rich")[number % 2] for number in range(len(repeated))]
    pq.write_table(pa.table({"x": repeated, "good": good}), folder / "train.parquet")
    source = {"kind": "parquet", "path": "train.parquet", "missing": missing}
    return World(folder, source, {"x": {"type": kind, "nullable": True, **declared}})


def of_values(world: World, values: pa.Array) -> dict[int, bytes]:
    """Return what a batch makes of a typed column `x`."""
    pq.write_table(pa.table({"x": values}), world.folder / "score.parquet")
    made, _ = world.batch(ParquetSource(kind="parquet", path=str(world.folder / "score.parquet")))
    return made


BELOW_1970 = pa.array([-1, -86_400_000_000_001, 1_700_000_000_123_456_789]).cast(pa.timestamp("ns", "Asia/Tokyo"))
MOMENTS = ["1969-12-31T23:59:59.999999999Z", "1969-12-30T23:59:59.999999999+00:00", "2023-11-14T22:13:20.123456789"]
DECIMALS = pa.array([Decimal("-3118988.4"), Decimal("407454817.9"), Decimal("-999.9")], pa.decimal128(18, 1))


@pytest.mark.integration
@pytest.mark.parametrize(
    ("values", "kind", "missing", "sent"),
    [
        (BELOW_1970, "datetime", [], MOMENTS),
        (BELOW_1970, "category", [], MOMENTS),
        (pa.array([date(1900, 1, 1), date(2026, 1, 31)]), "datetime", ["1900-01-01"], ["1900-01-01", "2026-01-31"]),
        (DECIMALS, "category", ["-999.9"], [-3118988.4, 407454817.9, None]),
        (DECIMALS, "number", ["-999.9"], ["-3118988.4", 407454817.90, -999.9]),
        (pa.array([0.1, -999.9, 7.5], pa.float32()), "category", ["-999.9"], [0.1, -999.9, "7.50"]),
        (pa.array([0.1, -999.9, 7.5], pa.float32()), "number", ["-999.9"], [0.1, None, 7.5]),
        (pa.array([True, False, None]), "boolean", ["0", "false"], [True, 0, None]),
        (pa.array([1.0, 0.0, None]), "boolean", ["0"], [1, 0.0, None]),
        (pa.array([1, 2**62, None], pa.uint64()), "category", [], [1.0, 2**62, None]),
        (pa.array(["b", "a", None]).dictionary_encode(), "category", ["a"], ["b", "a", ""]),
        (pa.array([-0.0, 0.0, 1.5]), "number", [], [-0.0, 0, 1.5]),
    ],
)  # fmt: skip
def test_typed_value_equals_request_value(
    tmp_path: Path, values: pa.Array, kind: str, missing: list[str], sent: list[Any]
) -> None:
    world = typed_world(tmp_path, values, kind, missing)
    made = of_values(world, values)
    assert world.asked([{"x": value} for value in sent]) == (made, set())
    assert {number: world.asked([{"x": value}])[0][0] for number, value in enumerate(sent)} == made


@pytest.mark.integration
@pytest.mark.parametrize("far", ["9999-12-31", "1500-02-28", "9999-12-31T23:59:59+05:00"])
@pytest.mark.parametrize("kind", ["datetime", "category"])
def test_date_score_does_not_depend_on_other_rows(tmp_path: Path, kind: str, far: str) -> None:
    world = typed_world(tmp_path, pa.array([1, 10**15]).cast(pa.timestamp("us")), kind, [])
    rows = [{"x": text} for text in ("2026-01-31T00:00:00.123456789", far, "now")]
    write(tmp_path / "score.csv", rows)
    made, rejected = world.batch(CsvSource(kind="csv", path=str(tmp_path / "score.csv")))
    assert set(made) == {0, 1}
    assert rejected == {(2, "x")}
    for number in (0, 1):
        assert world.asked([rows[number]]) == ({0: made[number]}, set())
    assert world.asked(rows) == (made, rejected)


@pytest.mark.integration
def test_text_trained_version_reads_typed_values_as_json_text(tmp_path: Path) -> None:
    rows = [{"n": str(number), "b": ("true", "no")[number % 2], "good": str(number // 2 % 2)} for number in range(40)]
    write(tmp_path / "train.csv", [*rows, {"n": "7", "b": "no", "good": "0"}, {"n": "8", "b": "no", "good": "1"}])
    schema = {"n": {"type": "number", "nullable": True}, "b": {"type": "boolean", "nullable": True}}
    world = World(tmp_path, {"kind": "csv", "path": "train.csv", "missing": ["1.0"]}, schema)
    pq.write_table(pa.table({"n": [True, False, None], "b": [1.0, 0.0, 1.0]}), tmp_path / "score.parquet")
    made, rejected = world.batch(ParquetSource(kind="parquet", path=str(tmp_path / "score.parquet")))
    assert world.asked([{"n": True, "b": 1.0}, {"n": False, "b": 0.0}, {"n": None, "b": 1.0}]) == (made, rejected)
    assert rejected == {(0, "n"), (1, "n")}
    pq.write_table(pa.table({"n": [5.0, 1.0], "b": [1.0, 0.0]}), tmp_path / "score.parquet")
    made, rejected = world.batch(ParquetSource(kind="parquet", path=str(tmp_path / "score.parquet")))
    assert world.asked([{"n": 5.0, "b": None}, {"n": None, "b": 0.0}]) == (made, set())
    assert not rejected


def test_missing_token_equal_to_category_is_rejected_in_batch_and_http(tmp_path: Path) -> None:
    rows = [{"x": ("1.0", "2.0")[number % 2], "good": ("poor", "rich")[number // 2 % 2]} for number in range(40)]
    write(tmp_path / "train.csv", rows)
    schema = {"x": {"type": "category", "nullable": True}}
    world = World(tmp_path, {"kind": "csv", "path": "train.csv", "missing": ["1"]}, schema)
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "score.parquet")
    made, rejected = world.batch(ParquetSource(kind="parquet", path=str(tmp_path / "score.parquet")))
    assert rejected == {(0, "x")}
    assert world.asked([{"x": 1}, {"x": 2}]) == (made, rejected)


def test_batch_only_rejections_are_documented(tmp_path: Path) -> None:
    how = (Path(__file__).parents[1] / "docs" / "serving.md").read_text()
    assert "A CSV file with a NUL is rejected as a whole" in how
    assert "The scoring flow also checks columns of the schema that no feature uses" in how
    rows = [{"x": str(number % 3), "note": "n", "good": str(number // 2 % 2)} for number in range(40)]
    write(tmp_path / "train.csv", rows)
    schema = {"x": {"type": "category"}, "note": {"type": "text"}}
    world = World(tmp_path, {"kind": "csv", "path": "train.csv"}, schema)
    write(tmp_path / "score.csv", [{"x": "1", "note": ""}, {"x": "1", "note": "n"}])
    made, rejected = world.batch(CsvSource(kind="csv", path=str(tmp_path / "score.csv")))
    assert rejected == {(0, "note")}
    assert world.asked([{"x": "1"}])[0][0] == made[1]
    write(tmp_path / "score.csv", [{"x": "1\0", "note": "n"}])
    with pytest.raises(StageError, match="is a NUL"):
        world.batch(CsvSource(kind="csv", path=str(tmp_path / "score.csv")))
    assert world.asked([{"x": "1\0"}]) == world.asked([{"x": "never seen"}])


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_binary_float_tensor_keeps_decimal_values(datatype: str) -> None:
    data = np.array([0.5, -999.9 if datatype != "FP16" else -999.5, 0.0], NUMBER_FORMATS[datatype]).tobytes()
    tensor = {"name": "x", "datatype": datatype, "shape": [3], "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    rows = oip.parse(head + data, len(head), 3).input.raw_rows()
    assert rows == [{"x": 0.5}, {"x": -999.9 if datatype != "FP16" else -999.5}, {"x": 0.0}]
