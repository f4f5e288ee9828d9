"""Cleaning of files with different columns: optional columns may be absent, required ones may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ai_workflow.config.settings import Settings
from ai_workflow.datasets import partitions
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.errors import StageError
from ai_workflow.stages import data_loader, preprocessor
from ai_workflow.stages.preprocessor import RowRules
from ai_workflow.storage.store import Store


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """An empty store, in a folder of its own."""
    return Store(tmp_path_factory.mktemp("var"))


def settings(folder: Path, **changes: Any) -> Settings:
    source = {"kind": "csv", "path": str(folder / "day-*.csv")}
    base = {"pipeline": "orders", "task": "classification", "source": source, "target": "y", "id": "id"}
    return Settings.model_validate({**base, **changes})


def write_days(folder: Path, *headers: str) -> None:
    """Write files of three rows whose values are `<number>` in the id and `v<number % 2>` elsewhere."""
    for day, header in enumerate(headers):
        names = header.split(",")
        lines = [
            ",".join(str(number) if name == "id" else f"v{number % 2}" for name in names)
            for number in range(3 * day, 3 * day + 3)
        ]
        (folder / f"day-{day}.csv").write_text("\n".join([header, *lines]) + "\n")


def clean(store: Store, s: Settings) -> pd.DataFrame:
    source = s.reading(s.source)
    loaded = data_loader.load(store, source, data_loader.inspect(source))
    dataset = Dataset.load(store, preprocessor.preprocess(store, loaded, RowRules.of(s)))
    return pd.concat([frame for _, frame in partitions.frames(store, dataset)], ignore_index=True)


@pytest.mark.integration
def test_nullable_column_may_be_absent_from_files(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_days(tmp_path, "id,kind,y", "id,kind,y", "id,kind,channel,y")
    found = clean(store, settings(tmp_path, schema={"channel": {"type": "category", "nullable": True}}))
    assert [value if isinstance(value, str) else None for value in found["channel"]] == [None] * 6 + ["v0", "v1", "v0"]
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_fill_replaces_absent_column(store: Store, tmp_path: Path) -> None:
    write_days(tmp_path, "id,kind,y", "id,kind,channel,y")
    found = clean(store, settings(tmp_path, schema={"channel": {"type": "category", "fill": "shop"}}))
    assert found["channel"].astype(str).tolist() == ["shop"] * 3 + ["v1", "v0", "v1"]


@pytest.mark.integration
def test_undeclared_column_absent_from_files_is_warned_about(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_days(tmp_path, "id,kind,y", "id,kind,y", "id,kind,channel,y")
    assert clean(store, settings(tmp_path))["channel"].notna().sum() == 3
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "day-0.csv (and 1 more file) has no column 'channel'" in warnings[0]
    assert "schema: {channel: {type: <type>, nullable: true}}" in warnings[0]


@pytest.mark.parametrize(
    ("changes", "headers", "said"),
    [
        (
            {"schema": {"channel": {"type": "category"}}},
            ("id,kind,y", "id,channel,kind,y"),
            "day-0.csv has no column 'channel', which is required. Add it to the file, or declare it: schema: {channel",
        ),
        ({}, ("id,kind,y", "id,kind", "id,kind"), "day-1.csv (and 1 more file) has no column 'y', which is required"),
        ({}, ("kind,y", "id,kind,y"), "day-0.csv has no column 'id', which is required. Add 'id' to the file"),
    ],
)
def test_absent_required_column_is_error_with_file(
    store: Store, tmp_path: Path, changes: dict[str, Any], headers: tuple[str, ...], said: str
) -> None:
    write_days(tmp_path, *headers)
    with pytest.raises(StageError) as caught:
        clean(store, settings(tmp_path, **changes))
    assert said in str(caught.value)


def test_dropped_column_may_be_absent_from_every_file(store: Store, tmp_path: Path) -> None:
    write_days(tmp_path, "id,kind,y", "id,kind,note,y")
    s = settings(tmp_path, schema={"note": {"drop": True}, "gone": {"drop": True}})
    assert list(clean(store, s).columns) == ["__row", "id", "kind", "y", "__id"]
    source = s.reading(s.source)
    loaded = data_loader.load(store, source, data_loader.inspect(source))
    assert "absent" not in Dataset.load(store, loaded).info
