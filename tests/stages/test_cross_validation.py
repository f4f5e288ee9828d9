"""Cross-validation: its folds, its report, and a kill between two folds."""

from __future__ import annotations

import json
import statistics
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ai_workflow.errors import StageError
from ai_workflow.stages import fold_model
from ai_workflow.stages.feature_engineering import GROUP, HOLDOUT
from ai_workflow.storage.store import Store
from tests.stages import interruptions
from tests.stages.tables import Made, Pipeline, load, parted, people, rows, settings

pytestmark = pytest.mark.integration
TRAINER = {"steps": 8, "params": {"num_threads": 1, "min_data_in_leaf": 5}}


@pytest.fixture
def store(tmp_path: Any) -> Store:
    return Store(tmp_path)


def table() -> pd.DataFrame:
    frame = people().drop(columns="spent")
    frame["household"] = [f"h{number // 3}" for number in range(len(frame))]
    return frame


def pipeline(store: Store, folds: int | None = 3, trainer: dict[str, Any] | None = None, **changes: Any) -> Pipeline:
    validation = {"cross_validation": {"folds": folds}} if folds else {}
    evaluate = {"beat_baseline": False, "tolerance": 1, **validation, **changes.pop("evaluate", {})}
    return Pipeline(store, settings(trainer={**TRAINER, **(trainer or {})}, evaluate=evaluate, **changes), alone=True)


def published(run: Pipeline) -> Made:
    return run.publish(*parted(table(), 3))


def report_of(made: Made) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(made.file("card.json"))["cross_validation"]
    return report


def test_card_has_folds_with_mean_and_standard_deviation(store: Store) -> None:
    made = published(pipeline(store))
    report = report_of(made)
    assert len(report["folds"]) == 3
    assert sum(fold["rows"] for fold in report["folds"]) == made.trained["training_rows"]
    for fold in report["folds"]:
        assert fold["rows"] + fold["training_rows"] == made.trained["training_rows"]
    for name in ("accuracy", "auc", "log_loss"):
        values = [fold["scores"][name] for fold in report["folds"]]
        assert report["mean"][name] == pytest.approx(np.mean(values))
        assert report["deviation"][name] == pytest.approx(statistics.stdev(values)) != 0
        assert abs(report["mean"][name] - made.version.manifest["scores"][name]) < 0.15
    card = made.file("card.md").decode()
    assert "## Cross-validation" in card
    assert f"| accuracy | {report['mean']['accuracy']:.4f} | {report['deviation']['accuracy']:.4f} |" in card


def test_cross_validation_changes_neither_model_nor_scores(store: Store) -> None:
    plain, validated = published(pipeline(store, None)), published(pipeline(store))
    assert plain.trained == validated.trained
    assert plain.file("model.txt") == validated.file("model.txt")
    assert plain.version.manifest["scores"] == validated.version.manifest["scores"]
    assert report_of(plain) is None


def test_killed_run_does_not_repeat_finished_folds(
    store: Store, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"calibration": {"method": "sigmoid", "fraction": 0.3}, "early_stopping": 4}
    whole = report_of(published(pipeline(Store(tmp_path / "whole"), trainer=options)))
    run = pipeline(store, trainer=options)
    clean = run.clean(load(store, *parted(table(), 3)))
    featured = run.fit(clean)
    trained = run.train(featured)
    runs = interruptions.at_training(3, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run.evaluate(clean, featured, trained)
    evaluated = run.evaluate(clean, featured, trained)
    assert len(runs) == 4
    card = store.read(evaluated["files"]["report.json"]["path"], evaluated["files"]["report.json"]["sha256"])
    assert json.loads(card)["cross_validation"] == whole


def test_other_threshold_scores_the_models_of_the_folds_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = report_of(published(pipeline(store)))
    monkeypatch.setattr(fold_model, "Training", None)
    second = report_of(published(pipeline(store, evaluate={"threshold": 0.2})))
    assert second["mean"]["recall"] > first["mean"]["recall"]
    assert second["mean"]["auc"] == first["mean"]["auc"]


def learned_rows(run: Pipeline, monkeypatch: pytest.MonkeyPatch) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """Return the features with the column `opened` of the clean rows, and the rows that each fold learns from."""
    learned: list[np.ndarray] = []
    original = fold_model.split_rows

    def recorded(*arguments: Any) -> Any:
        learned.append(np.concatenate(arguments[-1]))
        return original(*arguments)

    monkeypatch.setattr(fold_model, "split_rows", recorded)
    made = published(run)
    frame = rows(run.store, made.featured)
    return frame.assign(opened=rows(run.store, made.clean)["opened"]), learned


def test_groups_are_never_learned_from_and_scored_in_one_fold(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = pipeline(store, evaluate={"split": {"kind": "group", "column": "household"}})
    frame, learned = learned_rows(run, monkeypatch)
    training = ~frame[HOLDOUT].to_numpy()
    assert len(learned) == 3
    for mask in learned:
        assert not set(frame[GROUP][mask]) & set(frame[GROUP][training & ~mask])
    assert (sum((training & ~mask).astype(int) for mask in learned) == training).all()


def test_folds_of_a_split_by_time_learn_from_earlier_rows_only(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, learned = learned_rows(pipeline(store, timestamp="opened"), monkeypatch)
    last = ~frame[HOLDOUT].to_numpy()
    for mask, later in zip(learned, [*learned[1:], last], strict=True):
        scored = later & ~mask
        assert mask.any()
        assert frame["opened"][mask].max() < frame["opened"][scored].min()
        assert not (mask & ~later).any()


def test_regression_and_stratified_folds_are_scored(store: Store) -> None:
    stratified = report_of(published(pipeline(store, evaluate={"split": {"kind": "stratified"}})))
    sizes = [fold["rows"] for fold in stratified["folds"]]
    assert max(sizes) - min(sizes) <= 2
    run = pipeline(store, task="regression", target="age")
    assert set(report_of(published(run))["mean"]) >= {"mae", "rmse", "r2"}


def test_fold_without_a_row_is_refused(store: Store) -> None:
    run = pipeline(store, 20, evaluate={"split": {"kind": "group", "column": "city"}})
    with pytest.raises(StageError, match=r"fold \d+ of evaluate\.cross_validation has no row"):
        published(run)
