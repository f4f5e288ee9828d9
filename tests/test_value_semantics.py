"""One semantics per value: the same raw cell gives the same bytes in a batch and over HTTP, or both refuse it."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ai_workflow import features, partitions
from ai_workflow.partitions import ROW, Dataset
from ai_workflow.reading import Reader
from ai_workflow.serving.encoder import BadRows, Encoder
from ai_workflow.settings import CsvSource, ParquetSource, Settings
from ai_workflow.stages import data_loader, feature_engineering, preprocessor
from ai_workflow.store import Store


class World:
    """A pipeline that was trained on a table of its own, and the ways to ask its version."""

    def __init__(self, folder: Path, source: dict[str, Any], schema: dict[str, Any]) -> None:
        self.store, self.folder = Store(folder / "store"), folder
        base = {"pipeline": "shop", "task": "classification", "target": "good", "source": source, "schema": schema}
        self.settings = Settings.model_validate({**base, "reject_limit": 1.0, "deduplicate": "none"})
        loaded = self.load(self.settings.source)
        clean = preprocessor.preprocess(self.store, loaded, preprocessor.Rules.of(self.settings))
        roles = feature_engineering.Roles.of(self.settings)
        featured = feature_engineering.fit(self.store, clean, roles, self.settings.features)
        self.spec = feature_engineering.read_spec(self.store, featured)
        self.encoder = Encoder(self.spec, "shop")

    def load(self, source: Any) -> dict[str, Any]:
        return data_loader.load(self.store, source, data_loader.inspect(source, self.folder))

    def batch(self, source: Any) -> tuple[dict[int, bytes], set[tuple[int, str]]]:
        """Return the numbers of each row that the scoring flow accepts, and (row, column) of what it rejects."""
        # A header counts as a row.
        first = 2 if isinstance(source, CsvSource) else 1
        rules = preprocessor.Rules.of_spec(self.spec, self.settings)
        clean = preprocessor.preprocess(self.store, self.load(source), rules)
        featured = feature_engineering.apply(self.store, clean, self.spec)
        made: dict[int, bytes] = {}
        for _, frame in partitions.frames(self.store, Dataset.load(self.store, featured)):
            matrix = frame[features.names(self.spec)].to_numpy("float32")
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
        data = self.encoder.careful([rows[number] for number in good]) if good else b""
        width = 4 * self.encoder.width
        made = {number: data[at * width : (at + 1) * width] for at, number in enumerate(good)}
        for number, row in enumerate(rows):
            quick = self.encoder.quick([row])
            assert quick is None or quick == made.get(number), row
        return made, refused


def write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)


def test_the_categories_of_a_typed_source_match_over_http_as_text_and_as_json(tmp_path: Path) -> None:
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
    with pytest.raises(BadRows, match=r"rows\[0\]\.size is not a number, as the source has there: \"big\""):
        world.encoder.careful([{**plain[0], "size": "big"}])


def test_the_rule_of_the_version_holds_beside_that_of_a_scoring_source(tmp_path: Path) -> None:
    rows = [{"colour": ("red", "blue")[number % 2], "good": str(number % 2)} for number in range(40)]
    write(tmp_path / "train.csv", [*rows, {"colour": "?", "good": "1"}])
    schema = {"colour": {"type": "category", "nullable": True}}
    world = World(tmp_path, {"kind": "csv", "path": "train.csv", "missing": ["?"], "strip": True}, schema)
    write(tmp_path / "score.csv", [{"colour": cell} for cell in (" red ", "?", "none", "blue")])
    made, _ = world.batch(CsvSource(kind="csv", path=str(tmp_path / "score.csv"), missing=("none",)))
    asked, _ = world.asked([{"colour": cell} for cell in ("red", None, None, "blue")])
    assert made == asked


def test_a_version_without_a_rule_has_no_tokens_and_no_strip() -> None:
    spec = {
        "schema": {"x": {"type": "category", "nullable": True}},
        "features": [{"name": "x", "column": "x", "kind": "category", "vocabulary": ["?", "1"]}],
    }
    encoder = Encoder(spec, "old")
    quick = encoder.quick([{"x": "?"}, {"x": 1}, {"x": " ?"}])
    assert quick == encoder.careful([{"x": "?"}, {"x": 1}, {"x": " ?"}])
    assert list(memoryview(quick).cast("f")) == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("kind", "sent", "stored"),
    [
        ("string", " p7 ", "p7"), ("string", "?", None), ("string", "", None), ("string", 7, "7"),
        ("string", None, None),
        ("integer", 7.0, "7"), ("integer", "7", "7"), ("number", 7, "7"), ("string", {"a": 1}, None),
    ],
)  # fmt: skip
def test_the_id_of_a_logged_row_is_read_as_the_scoring_flow_reads_it(kind: str, sent: Any, stored: str | None) -> None:
    spec = {"schema": {}, "features": [], "cells": {"strip": True, "missing": ["?"], "kinds": {"person": kind}}}
    assert Reader(spec).row_id("person", sent) == stored
