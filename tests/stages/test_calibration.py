"""Calibration of a training: its rows, and equal probabilities in evaluation, scoring and service."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from ai_workflow.datasets.partitions import Dataset
from ai_workflow.errors import StageError
from ai_workflow.features.calibration import Calibrator
from ai_workflow.inference import model_of_spec, worker
from ai_workflow.inference.model_worker import ModelWorker, Reply
from ai_workflow.registry import verification
from ai_workflow.serving.routing import loaded_model
from ai_workflow.stages import feature_engineering, inference, preprocessor, trainer
from ai_workflow.stages.feature_engineering import GROUP, HOLDOUT, TARGET
from ai_workflow.storage.store import Store
from ai_workflow.training import calibration_fit, protocol
from tests.stages.tables import Made, Pipeline, Result, load, parted, people, rows, settings

pytestmark = pytest.mark.integration
LIGHTGBM = {"steps": 30, "params": {"num_threads": 1, "min_data_in_leaf": 2, "learning_rate": 0.3}}
BINARY, THREE = ("no", "yes"), ("a", "b", "c")


@pytest.fixture
def store(tmp_path: Any) -> Store:
    return Store(tmp_path)


def pipeline(store: Store, method: str | None, *, alone: bool = False, **trainer_options: Any) -> Pipeline:
    calibration = {"calibration": {"method": method, "fraction": 0.3}} if method else {}
    options = {**LIGHTGBM, **calibration, **trainer_options}
    evaluate = {"beat_baseline": False, "tolerance": 1}
    return Pipeline(store, settings(trainer=options, evaluate=evaluate), alone=alone)


def table(classes: tuple[str, ...] = BINARY) -> pd.DataFrame:
    return people(classes=classes).drop(columns="spent")


def published(store: Store, method: str | None, classes: tuple[str, ...] = BINARY, **options: Any) -> Made:
    return pipeline(store, method, **options).publish(*parted(table(classes), 3))


def to_score(made: Made) -> tuple[Result, dict[str, Any]]:
    spec = json.loads(made.file("features.json"))
    rules = preprocessor.RowRules.of_spec(spec, made.pipeline.settings)
    frame = people(150, seed=7).drop(columns=["spent", "bought"])
    clean = preprocessor.preprocess(made.pipeline.store, load(made.pipeline.store, frame), rules)
    return feature_engineering.apply(made.pipeline.store, clean, spec), spec


def matrix(frame: pd.DataFrame, spec: dict[str, Any]) -> np.ndarray:
    return np.ascontiguousarray(frame[[feature["name"] for feature in spec["features"]]].to_numpy("float32"))


@pytest.mark.parametrize(
    ("method", "classes"), [("sigmoid", BINARY), ("isotonic", THREE)], ids=["sigmoid-binary", "isotonic-three"]
)
def test_service_answers_the_probabilities_of_batch_scoring_bit_by_bit(
    store: Store, method: str, classes: tuple[str, ...]
) -> None:
    made = published(store, method, classes)
    featured, spec = to_score(made)
    batch = rows(store, inference.predict(store, featured, made.scoring()))
    columns = np.ascontiguousarray(batch[[f"probability_{name}" for name in classes]].to_numpy("float64"))
    x = matrix(rows(store, featured), spec)

    loaded = loaded_model.load(made.pipeline.registry, "latest")
    try:
        source = loaded.source
        predict, outputs, _ = model_of_spec.load(
            source.kind, source.model, source.width, source.spec or -1, worker.load
        )
        together = bytes(predict(memoryview(bytearray(x.tobytes())), len(x)))
        alone = [bytes(predict(memoryview(bytearray(row.tobytes())), 1)) for row in x[:20]]
        assert not loaded.has_functions
    finally:
        loaded.close()
    assert outputs == len(classes)
    assert together == columns.tobytes()
    assert b"".join(alone) == columns[:20].tobytes()
    expected = Calibrator(spec["calibration"], outputs).apply(protocol.load("lightgbm", made.file("model.txt"))(x))
    assert columns.tobytes() == expected.tobytes()
    assert batch["prediction"].tolist() == [classes[at] for at in columns.argmax(axis=1)]


def test_worker_process_of_the_service_answers_calibrated_probabilities(store: Store) -> None:
    made = published(store, "sigmoid")
    loaded = loaded_model.load(made.pipeline.registry, "latest")

    async def answered() -> Reply:
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        process = ModelWorker("latest", reply.set_result, lambda how: reply.set_exception(RuntimeError(how)))
        await process.start(loaded.source, 30)
        process.send(len(loaded.golden.x), loaded.golden.x.tobytes())
        try:
            return await asyncio.wait_for(reply, 30)
        finally:
            process.kill()

    try:
        outputs = asyncio.run(answered())
        assert loaded.golden_mismatch(outputs) is None  # type: ignore[arg-type]
        assert np.array(outputs).reshape(-1, 2).tolist() == loaded.golden.answers.tolist()
    finally:
        loaded.close()
    raw = protocol.load("lightgbm", made.file("model.txt"))(loaded.golden.x)
    assert loaded.golden.mismatches(raw)
    assert verification.problems(made.pipeline.registry, made.version, 30) == []


def test_card_has_brier_score_and_log_loss_before_and_after_on_the_holdout(store: Store) -> None:
    made = published(store, "sigmoid")
    spec = json.loads(made.file("features.json"))
    held_out = rows(store, made.featured)
    held_out = held_out[held_out[HOLDOUT]]
    y = held_out[TARGET]
    before = protocol.load("lightgbm", made.file("model.txt"))(matrix(held_out, spec))
    after = Calibrator(spec["calibration"], 2).apply(before)
    report = json.loads(made.file("card.json"))
    assert report["calibration"]["method"] == "sigmoid"
    assert report["calibration"]["rows"] == made.trained["calibration_rows"]
    for name, probabilities in (("before", before), ("after", after)):
        assert report["calibration"][name] == pytest.approx(
            {"brier_score": brier_score_loss(y, probabilities[:, 1]), "log_loss": log_loss(y, probabilities)}
        )
    assert report["scores"]["log_loss"] == report["calibration"]["after"]["log_loss"]
    assert report["calibration"]["after"]["log_loss"] < report["calibration"]["before"]["log_loss"]
    card = made.file("card.md").decode()
    assert f"sigmoid, fitted on {made.trained['calibration_rows']} training rows" in card
    assert "| calibrated | " in card


def test_isotonic_calibration_on_few_rows_is_a_warning(store: Store) -> None:
    made = published(store, "isotonic")
    assert any("isotonic calibration is fitted on" in text for text in json.loads(made.file("card.json"))["warnings"])


def ids_by_purpose(run: Pipeline, featured: Result) -> list[set[str]]:
    """Return the groups of the rows to train, to stop early, to calibrate and held out."""
    spec = trainer.read_spec(run.store, featured)
    dataset = Dataset.load(run.store, featured)
    data = trainer.split_rows(run.store, dataset, spec, run.settings.trainer)
    unseen = trainer.calibration_rows(run.store, dataset, spec, run.settings.trainer)
    frames = [
        rows(run.store, {**featured, **Dataset("one", (part,), {}).save(run.store)}) for part in dataset.partitions
    ]
    purposes: list[set[str]] = []
    for parts in (data.training, data.validation, unseen):
        masks = [part.mask for part in parts]  # type: ignore[attr-defined]
        purposes.append({key for frame, mask in zip(frames, masks, strict=True) for key in frame[GROUP][mask]})
    purposes.append({key for frame in frames for key in frame[GROUP][frame[HOLDOUT]]})
    return purposes


def test_rows_to_calibrate_are_neither_trained_on_nor_held_out_and_keep_groups_together(store: Store) -> None:
    frame = table()
    frame["household"] = [f"h{number // 3}" for number in range(len(frame))]
    options = {**LIGHTGBM, "early_stopping": 5, "calibration": {"method": "sigmoid", "fraction": 0.25}}
    run = Pipeline(store, settings(trainer=options, evaluate={"split": {"kind": "group", "column": "household"}}))
    featured = run.fit(run.clean(load(store, *parted(frame, 3))))
    purposes = ids_by_purpose(run, featured)
    assert all(purposes)
    assert sum(map(len, purposes)) == len(set().union(*purposes)) == len(set(frame["household"]))


def test_training_killed_while_it_calibrates_resumes_to_identical_bytes(
    store: Store, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = published(Store(tmp_path / "whole"), "isotonic")
    run = pipeline(store, "isotonic", checkpoint={"every_steps": 7})
    clean = run.clean(load(store, *parted(table(), 3)))
    featured = run.fit(clean)
    with monkeypatch.context() as patch:
        patch.setattr(calibration_fit, "of_model", _raise_interrupt)
        with pytest.raises(KeyboardInterrupt):
            run.train(featured)
    trained = run.train(featured)
    assert trained["resumed_from"] == 28
    for name in ("fingerprint", "calibration", "losses"):
        assert trained[name] == whole.trained[name]
    assert trained["model"]["sha256"] == whole.trained["model"]["sha256"]


def _raise_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_other_method_calibrates_the_same_model_again(store: Store) -> None:
    first, second = published(store, "sigmoid"), published(store, "isotonic")
    assert first.file("model.txt") == second.file("model.txt")
    assert first.trained["model"] == second.trained["model"]
    assert first.trained["fingerprint"] != second.trained["fingerprint"]
    assert first.version.name != second.version.name
    assert first.featured == second.featured


def test_stable_is_scored_with_its_own_calibration(store: Store) -> None:
    first = published(store, "sigmoid")
    second = published(store, None, steps=12)
    stable = json.loads(second.file("card.json"))["stable"]
    assert stable["scores"]["log_loss"] == pytest.approx(first.version.manifest["scores"]["log_loss"])
    assert second.trained["calibration"] is None
    assert "calibration" not in json.loads(second.file("features.json"))
    assert "**calibration**" not in second.file("card.md").decode()


@pytest.mark.parametrize("rare", [0, 6])
def test_too_few_rows_of_a_class_are_refused_before_the_training(
    store: Store, rare: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = table()
    frame.loc[:, "bought"] = np.where(np.arange(len(frame)) % 2, "yes", "no")
    frame.loc[frame.index[: max(rare, 2)], "bought"] = "rare"
    run = pipeline(store, "sigmoid")
    featured = run.fit(run.clean(load(store, frame)))
    monkeypatch.setattr("ai_workflow.training.families.lightgbm.Trainer.step", _raise_interrupt)
    with pytest.raises(StageError, match=r"trainer\.calibration has \d rows of class 'rare' among \d+, and needs 5"):
        run.train(featured)
