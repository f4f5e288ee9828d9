"""Weights of training rows: of a column and of classes, in both families."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.utils.class_weight import compute_sample_weight

from ai_workflow.datasets.partitions import Dataset
from ai_workflow.errors import StageError
from ai_workflow.features import transform
from ai_workflow.stages import trainer
from ai_workflow.stages.feature_engineering import HOLDOUT, TARGET
from ai_workflow.storage.store import Store
from tests.stages.tables import Pipeline, Result, load, parted, people, rows, settings

pytestmark = pytest.mark.integration
LIGHTGBM = {"steps": 5, "params": {"num_threads": 1, "min_data_in_leaf": 5}}
TORCH = {"kind": "torch_mlp", "steps": 5, "batch_size": 64}


@pytest.fixture
def store(tmp_path: Any) -> Store:
    return Store(tmp_path)


def table() -> pd.DataFrame:
    frame = people().drop(columns="spent")
    frame["importance"] = [1 + number % 4 for number in range(len(frame))]
    return frame


def fitted(store: Store, options: dict[str, Any], frame: pd.DataFrame | None = None) -> tuple[Pipeline, Result]:
    run = Pipeline(store, settings(trainer=options), alone=True)
    clean = run.clean(load(store, *parted(table() if frame is None else frame, 3)))
    return run, run.fit(clean)


def weights_of(run: Pipeline, featured: Result) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of the training rows, and their class index."""
    spec = trainer.read_spec(run.store, featured)
    data = trainer.split_rows(run.store, Dataset.load(run.store, featured), spec, run.settings.trainer)
    assert data.is_weighted
    weights = np.concatenate([part.weights() for part in data.training])
    return weights, np.concatenate([part.read()[1] for part in data.training])


def test_weights_of_column_and_classes_multiply_and_have_mean_one(store: Store) -> None:
    options = {**LIGHTGBM, "weight": "importance", "class_weights": {"yes": 3}}
    run, featured = fitted(store, options)
    weights, y = weights_of(run, featured)
    frame = table()
    held = rows(store, featured)[HOLDOUT].to_numpy()
    expected = frame["importance"].to_numpy()[~held] * np.where(y == 1, 3, 1)
    assert weights == pytest.approx(expected / expected.mean())
    assert "importance" not in transform.input_columns(trainer.read_spec(store, featured))


def test_balanced_class_weights_match_scikit_learn(store: Store) -> None:
    run, featured = fitted(store, {**LIGHTGBM, "class_weights": "balanced"})
    weights, y = weights_of(run, featured)
    assert weights == pytest.approx(compute_sample_weight("balanced", y))


def skip_without_torch(options: dict[str, Any]) -> None:
    if options.get("kind") == "torch_mlp":
        pytest.importorskip("torch", reason="PyTorch is missing. Install it: .venv/bin/pip install -e '.[torch]'")


@pytest.mark.parametrize("options", [LIGHTGBM, TORCH], ids=["lightgbm", "torch_mlp"])
def test_equal_weights_give_the_model_without_weights(store: Store, options: dict[str, Any]) -> None:
    skip_without_torch(options)
    plain, featured = fitted(store, options)
    weighted = Pipeline(store, settings(trainer={**options, "class_weights": {"yes": 2, "no": 2}}), alone=True)
    first, second = plain.train(featured), weighted.train(featured)
    assert first["losses"][-1][1] == pytest.approx(second["losses"][-1][1], rel=1e-6)


@pytest.mark.parametrize("options", [LIGHTGBM, TORCH], ids=["lightgbm", "torch_mlp"])
def test_weight_of_a_class_raises_its_probability(store: Store, options: dict[str, Any]) -> None:
    skip_without_torch(options)
    shares = []
    for class_weights in ({"yes": 0.1}, {"yes": 10}):
        run, featured = fitted(store, {**options, "steps": 60, "class_weights": class_weights})
        trained = run.train(featured)
        model = store.read(trained["model"]["path"], trained["model"]["sha256"])
        frame = rows(store, featured)
        x = frame[transform.names(trainer.read_spec(store, featured))].to_numpy("float32")
        shares.append(trainer.protocol.load(trained["kind"], model)(x)[:, 1].mean())
    assert shares[0] < (frame[TARGET] == 1).mean() - 0.1
    assert shares[1] > (frame[TARGET] == 1).mean() + 0.1


@pytest.mark.parametrize("options", [LIGHTGBM, TORCH], ids=["lightgbm", "torch_mlp"])
def test_weighted_training_with_early_stopping_is_repeatable(
    store: Store, tmp_path: Any, options: dict[str, Any]
) -> None:
    skip_without_torch(options)
    changed = {**options, "early_stopping": 3, "weight": "importance", "class_weights": "balanced"}
    models = []
    for place in (store, Store(tmp_path / "other")):
        run, featured = fitted(place, changed)
        models.append(run.train(featured)["model"]["sha256"])
    assert models[0] == models[1]


@pytest.mark.parametrize(
    ("weights", "problem"),
    [
        ([1, None], "has 1.. missing values"),
        ([1, -1], "is between -1 and 1"),
        ([0, 0], "is between 0 and 0"),
        (["a", "b"], "has no numbers"),
    ],
)
def test_invalid_weights_are_rejected(store: Store, weights: list[Any], problem: str) -> None:
    frame = table().assign(importance=(weights * 200))
    with pytest.raises(StageError, match=problem):
        fitted(store, {**LIGHTGBM, "weight": "importance"}, frame)


def test_missing_weight_column_and_unknown_class_are_rejected(store: Store) -> None:
    with pytest.raises(StageError, match=r"trainer\.weight 'mass' is not a column of the data"):
        fitted(store, {**LIGHTGBM, "weight": "mass"})
    run, featured = fitted(store, {**LIGHTGBM, "class_weights": {"maybe": 2}})
    with pytest.raises(StageError, match=r"trainer\.class_weights has 'maybe', no class of the training rows"):
        run.train(featured)


def test_family_without_weights_refuses_them(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from ai_workflow.training.families import lightgbm

    monkeypatch.setattr(lightgbm.Trainer, "uses_weights", False)
    run, featured = fitted(store, {**LIGHTGBM, "class_weights": "balanced"})
    with pytest.raises(StageError, match=r"trainer\.kind lightgbm does not use the weights of rows"):
        run.train(featured)


@pytest.mark.parametrize("options", [LIGHTGBM, TORCH], ids=["lightgbm", "torch_mlp"])
def test_weighted_training_resumed_after_every_step_gives_identical_model(
    store: Store, options: dict[str, Any]
) -> None:
    skip_without_torch(options)
    run, featured = fitted(store, {**options, "weight": "importance", "class_weights": {"yes": 3}})
    chosen = run.settings.trainer
    spec = trainer.read_spec(store, featured)
    data = trainer.split_rows(store, Dataset.load(store, featured), spec, chosen)

    def begun() -> Any:
        made = trainer.protocol.trainer(chosen.kind)
        made.start(data, chosen, 64)
        return made

    whole, resumed = begun(), begun()
    for _ in range(6):
        whole.step()
        resumed.step()
        state, resumed = resumed.save(), begun()
        resumed.load(state)
    assert resumed.finish(6) == whole.finish(6)
