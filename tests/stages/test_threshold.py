"""A threshold of the positive class: the same predicted class in evaluation, scoring and service."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from ai_workflow.errors import StageError
from ai_workflow.features import decision
from ai_workflow.inference.model_process import ModelProcess
from ai_workflow.serving.protocol import responses
from ai_workflow.serving.routing import loaded_model
from ai_workflow.serving.routing.fallback_chain import ChainResult
from ai_workflow.stages import feature_engineering, inference, preprocessor
from ai_workflow.stages.feature_engineering import HOLDOUT, TARGET
from ai_workflow.storage.store import Store
from ai_workflow.training import protocol
from tests.stages.tables import Made, Pipeline, Result, load, people, rows, settings

pytestmark = pytest.mark.integration


@pytest.fixture
def store(tmp_path: Any) -> Store:
    return Store(tmp_path)


def published(store: Store, **evaluate: Any) -> Made:
    run = Pipeline(store, settings(evaluate={"beat_baseline": False, "tolerance": 1, **evaluate}))
    return run.publish(people().drop(columns="spent"))


def features_to_score(made: Made) -> tuple[Result, dict[str, Any]]:
    spec = json.loads(made.file("features.json"))
    rules = preprocessor.RowRules.of_spec(spec, made.pipeline.settings)
    frame = people(150, seed=7).drop(columns=["spent", "bought"])
    clean = preprocessor.preprocess(made.pipeline.store, load(made.pipeline.store, frame), rules)
    return feature_engineering.apply(made.pipeline.store, clean, spec), spec


@pytest.mark.parametrize(("positive", "threshold"), [("yes", 0.4), ("yes", 0.6), ("no", 0.55)])
def test_batch_and_service_predict_the_same_class_by_the_threshold(
    store: Store, positive: str, threshold: float
) -> None:
    made = published(store, positive_class=positive, threshold=threshold)
    featured, spec = features_to_score(made)
    batch = rows(store, inference.predict(store, featured, made.scoring()))
    probability = batch[f"probability_{positive}"]
    other = {"yes": "no", "no": "yes"}[positive]
    assert batch["prediction"].tolist() == np.where(probability >= threshold, positive, other).tolist()
    assert set(batch["prediction"]) == {"yes", "no"}
    assert batch["score"].tolist() == [row[f"probability_{row['prediction']}"] for _, row in batch.iterrows()]

    loaded = loaded_model.load(made.pipeline.registry, "latest")
    try:
        x = rows(store, featured)[[feature["name"] for feature in spec["features"]]].to_numpy("float32")
        with ModelProcess("latest", loaded.kind, made.file("model.txt"), 30) as process:
            values = process.predict(x).ravel().tolist()
        chain: Any = ChainResult(SimpleNamespace(loaded=loaded, name=made.version.name), values)  # type: ignore[arg-type]
        answered = responses.to_result(chain, len(x), {})
    finally:
        loaded.close()
    assert answered.predictions == batch["prediction"].tolist()
    assert answered.scores == batch["score"].tolist()


def test_metrics_and_card_use_the_threshold(store: Store) -> None:
    made = published(store, metric="recall", threshold=0.4)
    frame = rows(store, made.featured)
    frame = frame[frame[HOLDOUT]]
    x = frame[[feature["name"] for feature in made.spec["features"]]].to_numpy("float32")
    probability = protocol.load("lightgbm", made.file("model.txt"))(x)[:, 1]
    y, predicted = frame[TARGET].to_numpy(), probability >= 0.4
    scores = made.version.manifest["scores"]
    assert scores["recall"] == pytest.approx(metrics.recall_score(y, predicted))
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(y, predicted))
    assert scores["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(y, predicted))
    assert scores["auc"] == pytest.approx(metrics.roc_auc_score(y, probability))
    report = json.loads(made.file("card.json"))
    assert report["scores"]["confusion"] == metrics.confusion_matrix(y, predicted).tolist()
    assert "`yes` (precision, recall, f1), predicted from a probability of 0.4 on" in made.file("card.md").decode()


def test_stable_is_scored_with_its_own_threshold(store: Store) -> None:
    first = published(store, metric="auc", threshold=0.4)
    assert first.pipeline.registry.aliases()["stable"] == first.version.name
    run = Pipeline(store, settings(evaluate={"beat_baseline": False, "tolerance": 1}, trainer={"steps": 12}))
    second = run.publish(people().drop(columns="spent"))
    stable = json.loads(second.file("card.json"))["stable"]
    assert stable["scores"]["recall"] == pytest.approx(first.version.manifest["scores"]["recall"])
    assert stable["scores"]["accuracy"] == pytest.approx(first.version.manifest["scores"]["accuracy"])
    assert "threshold" not in json.loads(second.file("features.json"))


def test_threshold_changes_neither_features_nor_model(store: Store) -> None:
    plain, decided = published(store), published(store, threshold=0.3)
    assert plain.trained == decided.trained
    assert plain.version.name != decided.version.name
    assert plain.file("model.txt") == decided.file("model.txt")


def test_threshold_of_several_classes_is_rejected(store: Store) -> None:
    frame = people(classes=("a", "b", "c")).drop(columns="spent")
    run = Pipeline(store, settings(evaluate={"threshold": 0.3, "beat_baseline": False}))
    with pytest.raises(StageError, match=r"evaluate\.threshold is for two classes, and there are 3"):
        run.publish(frame)


def test_one_row_is_decided_as_many() -> None:
    second = np.append(np.random.default_rng(0).random(500).round(2), [0.3, 0.7])
    chances = np.column_stack([1 - second, second])
    for threshold in (None, {"class_index": 1, "value": 0.3}, {"class_index": 0, "value": 0.3}):
        alone = [decision.predicted_class(row, threshold) for row in chances.tolist()]  # type: ignore[arg-type]
        assert decision.predicted_classes(chances, threshold).tolist() == alone  # type: ignore[arg-type]
