"""Relative paths in the configuration: relative to the file that names them, from wherever a command runs."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from ai_workflow.config.paths import absolute
from ai_workflow.config.settings import CsvSource, SqlSource
from ai_workflow.errors import StageError
from ai_workflow.sources import sql_connection
from ai_workflow.stages import data_loader
from ai_workflow.storage.store import Store
from tests.config_project import Project

MINE = "pipeline: mine\ntask: regression\ntarget: y\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("rows.csv", "/etc/x/rows.csv"),
        ("./rows.csv", "/etc/x/rows.csv"),
        ("../data/", "/etc/x/../data"),
        ("day-*/[ab].csv", "/etc/x/day-*/[ab].csv"),
        ("/srv/rows.csv", "/srv/rows.csv"),
        ("~/rows.csv", "~/rows.csv"),
        ("s3://bucket/rows.csv", "s3://bucket/rows.csv"),
        ("https://example.com/a.csv", "https://example.com/a.csv"),
        ("file://rows.csv", "file:///etc/x/rows.csv"),
        ("file:///srv/rows.csv", "file:///srv/rows.csv"),
        ("zip://*.csv::rows.zip", "zip://*.csv::/etc/x/rows.zip"),
        ("zip://a.csv::s3://bucket/rows.zip", "zip://a.csv::s3://bucket/rows.zip"),
        ("sqlite:///rows.db", "sqlite:////etc/x/rows.db"),
        ("sqlite+pysqlite:///a/rows.db?mode=ro", "sqlite+pysqlite:////etc/x/a/rows.db?mode=ro"),
        ("sqlite:////srv/rows.db", "sqlite:////srv/rows.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("postgresql+psycopg://u:p@host/name", "postgresql+psycopg://u:p@host/name"),
    ],
)
def test_relative_path_resolves_against_folder(value: str, expected: str) -> None:
    assert absolute(value, Path("/etc/x")) == expected


@pytest.mark.parametrize(
    "layer", ["config/base.yaml", "config/development.yaml", "etc/ubuntu/1.yaml", "else/site.yaml", "own/mine.yaml"]
)
def test_layer_paths_resolve_against_layer_folder(
    layer: str, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = (project.root / layer).parent
    text = (
        "source: {kind: csv, path: a.csv}\ninference: {source: {kind: parquet, path: b}}\n"
        "evaluation: {source: {kind: csv, path: ../c.csv}}\nservice: {prediction_log: {folder: log}}\n"
    )
    head = "" if layer == "config/base.yaml" else "pipeline: mine\ntask: regression\ntarget: y\n"
    base = "pipeline: base\ntask: classification\ntarget: y\n"
    project.write(layer, base + text if not head else head + text)
    monkeypatch.chdir(tmp_path)
    env = {"AIW_CONFIG": str(project.root / layer)} if layer.startswith("else") else {}
    settings: Any = project.load(project.root / layer if layer.startswith("own") else None, env=env).settings
    assert settings.source.path == str(folder / "a.csv")
    assert settings.inference.source.path == str(folder / "b")
    assert settings.evaluation.source.path == str(folder / "../c.csv")
    assert settings.service.prediction_log.folder == str(folder / "log")


def test_override_paths_resolve_against_project_root(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    settings = project.load(overrides={"source": {"kind": "csv", "path": "data/x.csv"}}).settings
    assert settings.source == CsvSource(kind="csv", path=str(project.root / "data/x.csv"))


def test_path_variable_is_expanded_before_resolution(project: Project) -> None:
    mine = project.write("own/mine.yaml", MINE + "source: {kind: csv, path: '${FOLDER:-near}/x.csv'}")
    assert getattr(project.load(mine).settings.source, "path", "") == str(project.root / "own/near/x.csv")
    far = project.load(mine, env={"FOLDER": "/srv"}).settings.source
    assert getattr(far, "path", "") == "/srv/x.csv"


def test_store_root_is_not_resolved(project: Project) -> None:
    mine = project.write("own/mine.yaml", MINE + "source: {kind: sample}\nstore: {root: ./var}")
    assert project.load(mine).settings.store.root == "./var"


def test_config_file_loads_same_data_from_any_folder(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A decoy at the same relative path below the current folder, and a folder whose name is a pattern.
    (tmp_path / "data").mkdir()
    (tmp_path / "data/rows-1.csv").write_text("y\n9\n")
    mine = project.write("own [a]*?/mine.yaml", MINE + "source: {kind: csv, path: data/rows-*.csv}")
    project.write("own [a]*?/data/rows-1.csv", "y\n1\n")
    project.write("own [a]*?/data/rows-2.csv", "y\n2\n3\n")
    seen = []
    for folder in (tmp_path, mine.parent, Path("/")):
        monkeypatch.chdir(folder)
        source = project.load(os.path.relpath(mine)).settings.source
        inputs = data_loader.inspect(source)
        seen.append((json.dumps(inputs), data_loader.load(Store(tmp_path / "store"), source, inputs)["rows"]))
    assert [rows for _, rows in seen] == [3, 3, 3]
    # The cache key of the stage is made of these.
    assert len(set(seen)) == 1
    assert [each["name"] for each in json.loads(seen[0][0])] == ["rows-1.csv", "rows-2.csv"]


@pytest.mark.parametrize("path", ["gone.csv", "gone-*.csv", "data/gone/"])
def test_missing_data_error_names_searched_folder(path: str, project: Project) -> None:
    mine = project.write("own/mine.yaml", MINE + f"source: {{kind: csv, path: '{path}'}}")
    with pytest.raises(StageError) as caught:
        data_loader.inspect(project.load(mine).settings.source)
    assert str(project.root / "own") in str(caught.value)


def test_unmatched_pattern_error_names_searched_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StageError, match=rf"no file matches none-\*.csv \(looked in {tmp_path}\)"):
        data_loader.inspect(CsvSource(kind="csv", path="none-*.csv"))


def test_sqlite_path_resolves_against_config_file(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = project.write("own/mine.yaml", MINE + "source: {kind: sql, url: 'sqlite:///rows.db', table: t}")
    sqlite3.connect(project.root / "own/rows.db").close()
    monkeypatch.chdir(tmp_path)
    source = project.load(mine).settings.source
    assert isinstance(source, SqlSource)
    assert sql_connection.url_of(source, None, None).database == str(project.root / "own/rows.db")


def test_pipeline_file_is_searched_in_cwd_then_project(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("pipelines/mine.yaml", MINE + "source: {kind: sample}")
    monkeypatch.chdir(tmp_path)
    assert project.load("pipelines/mine.yaml").settings.pipeline == "mine"
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines/mine.yaml").write_text(MINE.replace("mine", "near") + "source: {kind: sample}")
    assert project.load("pipelines/mine.yaml").settings.pipeline == "near"
