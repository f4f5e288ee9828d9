"""The evaluation flow: labels find what was predicted, each version has its record, and a bad file is named."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from ai_workflow.telemetry.journal import SUCCESS
from tests.flows import sample_tables
from tests.flows.workspace import Workplace

VERSION = "model_v1.0"
STAGES = ("label_joiner", "drift_detector", "evaluation_store")
BY_ROW = {"id": "row_id", "label": "good", "time": "known"}


@pytest.fixture
def labeled(trained: Workplace) -> Workplace:
    """A place with 300 predictions, and labels for the first 150 of them by the ids of their rows."""
    write(trained.folder / "labels.csv", 1)
    trained.configure(
        source={"kind": "csv", "path": str(trained.folder / "rows-*.csv")},
        evaluation={"source": {"kind": "csv", "path": "labels.csv"}, **BY_ROW},
    )
    return trained


def write(path: Path, *seeds: int, known: str = "2030-01-01") -> None:
    rows = [row for seed in seeds for row in sample_tables.rows(seed=seed)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["row_id", "good", "known"], *([row[0], row[-1], known] for row in rows)])


def record(place: Workplace) -> dict[str, Any]:
    found: dict[str, Any] = place.store.read_record(f"evaluations/small_credit/{VERSION}.json")
    return found


@pytest.mark.slow
def test_evaluation_joins_labels_to_predictions_incrementally(labeled: Workplace) -> None:
    call = {"flow": "evaluation", "config": "pipeline.yaml"}
    (run,) = labeled.call([call])
    assert run.code == 0, run.output
    assert run.stages == dict.fromkeys(STAGES, SUCCESS)
    assert "1 versions evaluated, 1 of them by labels; 150 predictions have a label" in run.of("run").message
    found = record(labeled)
    assert found["labeled_total"] == 150
    assert found["window"]["accuracy"] == found["correct_total"] / 150 > 0.7
    assert found["window"]["lower"] < found["window"]["accuracy"] < found["window"]["upper"]
    assert found["label_delay"]["0.5"] > 0, "the trace tells when the scoring run began"
    assert found["drift"]["prediction"]["psi"] is not None
    assert found["trace_id"] == run.trace_id
    write(labeled.folder / "labels.csv", 1, 2)
    (more,) = labeled.call([call])
    assert "300 predictions have a label, 150 of them new" in more.output
    assert record(labeled)["labeled_total"] == 300


@pytest.mark.slow
def test_invalid_label_file_fails_evaluation_with_file_and_row(labeled: Workplace) -> None:
    call = {"flow": "evaluation", "config": "pipeline.yaml"}
    write(labeled.folder / "labels.csv", 1, known="soon")
    (failed,) = labeled.call([call])
    assert failed.code == 1
    assert failed.outcome == "failed in label_joiner"
    (line,) = failed.ours("ERROR")
    assert "labels.csv, row 2: column 'known' is not a date (ISO 8601) (and 149 more rows)" in line.message
    assert "Traceback" not in failed.output
    assert not labeled.store.exists("evaluations")


@pytest.mark.slow
def test_evaluation_runs_manually_without_labels(trained: Workplace) -> None:
    done = trained.start(["-m", "ai_workflow", "run", "evaluation", "--pipeline", "pipeline.yaml"])
    assert done.code == 0, done.output
    assert record(trained)["window"]["accuracy"] is None
