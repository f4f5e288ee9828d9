"""The record of an evaluation: one for each version there is, whole, its counters never falling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ai_workflow.stages import drift_detector, evaluation_store
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import trace_context
from tests import labeled_predictions
from tests.labeled_predictions import NOW, ONE, TWO, at, join, predict, settings, write
from tests.serving import published_models
from tests.tables import damage

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two versions, of which the first has answered."""
    for seed in (0, 1):
        published_models.publish(tmp_path, seed)
    predict(Store(tmp_path), {"a": "yes", "b": "yes", "c": "no"})
    return tmp_path


def evaluate(folder: Path, moment: float = NOW) -> dict[str, Any]:
    store, asked = Store(folder), settings(folder)
    joined = join(store, asked, moment)
    drifted = drift_detector.detect(store, joined, drift_detector.DriftDetectorOptions.of(asked))
    with trace_context.bound(trace_id=TRACE):
        return evaluation_store.save(store, joined, drifted, evaluation_store.EvaluationStoreOptions.of(asked), moment)


def record(folder: Path, version: str = ONE) -> dict[str, Any]:
    found: dict[str, Any] = Store(folder).read_record(f"evaluations/{labeled_predictions.PIPELINE}/{version}.json")
    return found


@pytest.mark.integration
def test_every_version_has_evaluation_record(folder: Path) -> None:
    write(folder, [("a", "yes", at(1)), ("b", "no", at(1))])
    assert evaluate(folder)["message"] == "2 versions evaluated, 1 of them by labels"
    found = record(folder)
    assert set(found) == {
        "pipeline", "model_version", "task", "labeled_total", "correct_total", "window", "last_label", "label_delay",
        "drift", "evaluated", "trace_id",
    }  # fmt: skip
    assert (found["pipeline"], found["model_version"], found["task"]) == ("shop", ONE, "classification")
    assert (found["labeled_total"], found["correct_total"], found["window"]["accuracy"]) == (2, 1, 0.5)
    assert (found["evaluated"], found["trace_id"]) == (NOW, TRACE)
    unlabeled = record(folder, TWO)
    assert (unlabeled["labeled_total"], unlabeled["window"]["accuracy"], unlabeled["last_label"]) == (0, None, None)


@pytest.mark.integration
def test_counters_never_decrease_and_window_reflects_corrections(folder: Path) -> None:
    write(folder, [("a", "yes", at(3)), ("b", "yes", at(3))])
    evaluate(folder)
    write(folder, [("a", "no", at(2))])
    evaluate(folder)
    found = record(folder)
    assert (found["labeled_total"], found["correct_total"]) == (2, 2)
    assert found["window"]["correct"] == 1
    write(folder, [("c", "no", at(1))])
    evaluate(folder)
    assert (record(folder)["labeled_total"], record(folder)["correct_total"]) == (3, 2), "one of three was corrected"


@pytest.mark.integration
def test_repeated_evaluation_gives_same_record(folder: Path) -> None:
    write(folder, [("a", "yes", at(3))])
    evaluate(folder)
    before = record(folder)
    evaluate(folder)
    assert record(folder) == before


@pytest.mark.integration
def test_stale_record_is_removed_and_damaged_record_rewritten(folder: Path) -> None:
    write(folder, [("a", "yes", at(3))])
    evaluate(folder)
    store = Store(folder)
    store.write_record(f"evaluations/{labeled_predictions.PIPELINE}/model_v0.9.json", {})
    damage(store, f"evaluations/{labeled_predictions.PIPELINE}/{ONE}.json", "cut short")
    evaluate(folder)
    assert store.names(f"evaluations/{labeled_predictions.PIPELINE}") == [f"{ONE}.json", f"{TWO}.json"]
    assert record(folder)["labeled_total"] == 1
