"""`make score`: another file answered by the trained model; what cannot be scored is refused before anything runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from ai_workflow.config import loader
from ai_workflow.config.settings import CsvSource, Source
from ai_workflow.errors import AiWorkflowError
from ai_workflow.local import score
from ai_workflow.registry import publication
from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store
from tests.flows import sample_tables
from tests.flows.workspace import Run, Workplace


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipeline file in the current folder, with a version, where a server may not be started."""
    (tmp_path / "var").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIW_STORE", str(tmp_path / "var"))

    def refused(_: Path) -> None:
        raise AssertionError("a server was started")

    monkeypatch.setattr("ai_workflow.local.server.ensure", refused)
    (tmp_path / "new.csv").write_text("age\n7\n")
    return described(tmp_path, {"kind": "csv", "path": "rows.csv"})


def described(folder: Path, source: dict[str, Any], **more: Any) -> Path:
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(sample_tables.PIPELINE | {"source": source} | more))
    return path


def published(folder: Path) -> None:
    registry = Registry(Store(folder / "var"), "models/development/small_credit")
    publication.publish(registry, {"model.txt": b"m"}, "schema", {"kind": "lightgbm"})


def test_scoring_without_version_suggests_training_command(pipeline: Path) -> None:
    with pytest.raises(AiWorkflowError, match=r"there is no model version in .*var/models.* yet\. Train one: make run"):
        score.main("new.csv", pipeline)


def test_unknown_version_error_lists_available_versions(pipeline: Path) -> None:
    published(pipeline.parent)
    with pytest.raises(AiWorkflowError, match=r"model version 'model_v7\.7' not found.*available: model_v1\.0"):
        score.main("new.csv", pipeline, model="model_v7.7")


@pytest.mark.parametrize(
    ("source", "said"), [("", "SOURCE is missing. Pass a file"), ("absent.csv", "absent.csv does not exist")]
)
def test_missing_scoring_file_is_rejected(pipeline: Path, source: str, said: str) -> None:
    published(pipeline.parent)
    with pytest.raises(AiWorkflowError, match=said):
        score.main(source, pipeline)


@pytest.mark.parametrize("key", ["source", "inference"])
@pytest.mark.parametrize("declared", [{"kind": "sql", "table": "people"}, {"kind": "sample", "name": "iris"}])
def test_non_file_source_error_names_config_key(pipeline: Path, key: str, declared: dict[str, Any]) -> None:
    csv = {"kind": "csv", "path": "rows.csv"}
    path = described(pipeline.parent, csv if key == "inference" else declared, inference={"source": declared})
    if key == "source":
        path = described(pipeline.parent, declared)
    with pytest.raises(AiWorkflowError) as caught:
        score.main("new.csv", path)
    said = "inference.source" if key == "inference" else "source"
    assert str(caught.value).startswith(f"{said} of the pipeline small_credit is of kind {declared['kind']}, which")
    assert "inference.source: {kind: csv" in str(caught.value)


@pytest.mark.parametrize("key", ["source", "inference.source"])
@pytest.mark.parametrize("name", ["new.csv", "${HOME}.csv", "new file*.csv", "file://new.csv", "s3://bucket/x.csv"])
def test_scoring_file_replaces_only_source_path(pipeline: Path, key: str, name: str) -> None:
    folder = pipeline.parent
    for each in ("new.csv", "${HOME}.csv"):
        (folder / each).write_text("age\n7\n")
    declared = {"kind": "csv", "path": "rows.csv", "delimiter": ";", "missing": ["?"], "strip": True}
    more = {"inference": {"source": declared}} if key.startswith("inference") else {}
    path = described(folder, {"kind": "parquet", "path": "rows.parquet"} if more else declared, **more)
    settings = loader.load(path).settings
    changed = loader.load(path, overrides=score._override(settings, name)).settings
    before, after = (_read(each, key) for each in (settings, changed))
    assert after.path == (name if name.startswith("s3") else str(folder / name.removeprefix("file://")))
    assert after.model_copy(update={"path": ""}) == before.model_copy(update={"path": ""})


def _read(settings: Any, key: str) -> CsvSource:
    found: Source = settings.inference.source if key.startswith("inference") else settings.source
    assert isinstance(found, CsvSource)
    return found


def scored(place: Workplace, *arguments: str) -> Run:
    return place.start(["-m", "ai_workflow", "score", *arguments, "--pipeline", "pipeline.yaml"])


@pytest.mark.slow
def test_scoring_other_file_reports_version_and_output_path(trained: Workplace) -> None:
    rows = [row[:-1] for row in sample_tables.rows(40, seed=5)]
    sample_tables.write(trained.folder / "new.csv", rows, sample_tables.HEADER[:-1])
    run = scored(trained, "new.csv")
    assert run.code == 0, run.output
    lines = run.output.strip().splitlines()
    assert len(lines) <= 20
    told = dict(re.findall(r"^ +(\w+)  (.+)$", run.output, re.MULTILINE))
    assert (told["version"], told["rows"]) == ("model_v1.0 (latest was requested)", "40")
    [part] = Path(told["predictions"]).parent.glob("part-*.parquet")
    found = pd.read_parquet(part)
    assert found["row_id"].tolist() == [row[0] for row in rows]
    assert {"probability_0", "probability_1"} <= set(found)
    assert run.stages == dict.fromkeys(
        ("data_loader", "preprocessor", "feature_engineering", "inference", "result_store"), "SUCCESS"
    )


@pytest.mark.slow
def test_scoring_file_with_missing_column_fails_with_single_error(trained: Workplace) -> None:
    sample_tables.write(
        trained.folder / "new.csv", [row[:2] for row in sample_tables.rows(40, seed=5)], sample_tables.HEADER[:2]
    )
    run = scored(trained, "new.csv", "--model", "stable")
    assert run.code == 1
    errors = [line for line in run.output.splitlines() if "the model needs column 'kind'" in line]
    assert len(errors) == 1
    assert "preprocessor" in errors[0]
    assert "Traceback" not in run.output


@pytest.mark.slow
def test_single_bad_row_is_quarantined_and_others_scored(trained: Workplace) -> None:
    rows = [row[:-1] for row in sample_tables.rows(20, seed=5)]
    rows[7][1] = "old"
    sample_tables.write(trained.folder / "new.csv", rows, sample_tables.HEADER[:-1])
    run = scored(trained, "new.csv")
    assert run.code == 0, run.output
    told = dict(re.findall(r"^ +(\w+)  (.+)$", run.output, re.MULTILINE))
    assert told["rows"] == "19"
    count, path = told["rejected"].split(": ")
    assert (count, pd.read_csv(path)["row"].tolist()) == ("1", [9])
    assert "1 of 20 rows are rejected and not scored: 1x age is not a number" in run.output
    assert run.of("preprocessor").message == "19 records cleaned, 1 rejected"


@pytest.mark.slow
def test_file_with_header_only_is_scored_with_zero_predictions(trained: Workplace) -> None:
    sample_tables.write(trained.folder / "new.csv", [], sample_tables.HEADER[:-1])
    run = scored(trained, "new.csv")
    assert run.code == 0, run.output
    told = dict(re.findall(r"^ +(\w+)  (.+)$", run.output, re.MULTILINE))
    assert (told["rows"], told["predictions"]) == ("0", "none: no row to score")
    assert run.of("result_store").message == "0 predictions stored"
