"""What the perceptron promises within a pipeline: killed at any step it ends the same, learns well, and is served."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ai_workflow.config.settings import SampleSource, Settings
from ai_workflow.features import transform
from ai_workflow.inference.model_process import ModelProcess
from ai_workflow.stages import data_loader, trainer
from ai_workflow.storage.store import Store
from ai_workflow.training import protocol
from tests.stages.tables import Pipeline, Result, load, parted, people, rows, settings
from tests.trainers import killed_trainings

pytestmark = pytest.mark.integration

pytest.importorskip("torch", reason="PyTorch is missing. Install it: .venv/bin/pip install -e '.[torch]'")

TRAINER: dict[str, Any] = {
    "steps": 120,
    "params": {"hidden": [16], "learning_rate": 0.02, "dropout": 0.3},
    "checkpoint": {"every_steps": 7, "keep": 2},
}


def pipeline(store: Store, task: str = "classification", **changes: Any) -> Pipeline:
    target = "bought" if task == "classification" else "spent"
    return Pipeline(store, settings(task=task, target=target, trainer={"kind": "torch_mlp", **TRAINER, **changes}))


def prepared(run: Pipeline) -> Result:
    return run.fit(run.clean(load(run.store, *parted(people(), 4))))


def whole(run: Pipeline, tmp: Store) -> Result:
    other = Pipeline(tmp, run.settings)
    return trainer.train(tmp, prepared(other), run.settings.trainer, killed_trainings.BATCH)


@pytest.mark.parametrize(
    ("task", "kills", "early_stopping"),
    [
        pytest.param("classification", 1, 0, marks=pytest.mark.slow),
        pytest.param("classification", 6, 60, marks=pytest.mark.soak),
        pytest.param("regression", 6, 60, marks=pytest.mark.soak),
    ],
)
@pytest.mark.timeout(900)
def test_repeatedly_killed_training_gives_identical_model(
    store: Store, tmp_path_factory: pytest.TempPathFactory, task: str, kills: int, early_stopping: int
) -> None:
    run = pipeline(store, task, early_stopping=early_stopping, validation=0.25)
    expected = whole(run, Store(tmp_path_factory.mktemp("whole")))
    found = killed_trainings.until_done(run, prepared(run), "torch_mlp", kills)
    assert found["model"]["sha256"] == expected["model"]["sha256"]
    assert (found["steps"], found["steps_run"]) == (expected["steps"], expected["steps_run"])
    assert found["losses"] == [[step, loss] for step, loss in expected["losses"]]


def test_early_stopping_keeps_best_step(store: Store) -> None:
    run = pipeline(store, steps=400, early_stopping=20, validation=0.3, params={"learning_rate": 0.05, "dropout": 0.0})
    trained = run.train(prepared(run))
    losses = dict(trained["losses"])
    best = min(losses, key=lambda step: (losses[step], step))
    assert trained["steps"] == best
    assert trained["steps_run"] == best + 20 < 400


def test_batch_size_is_part_of_training_fingerprint(store: Store) -> None:
    run = pipeline(store, steps=10)
    made = prepared(run)
    small, same, large = (trainer.train(store, made, run.settings.trainer, size) for size in (16, 16, 32))
    assert small["fingerprint"] == same["fingerprint"] != large["fingerprint"]


@pytest.mark.parametrize(
    ("name", "metric", "steps", "least"),
    [
        pytest.param("digits", "accuracy", 300, 0.93, marks=pytest.mark.slow),
        ("breast_cancer", "accuracy", 200, 0.93),
        ("diabetes", "r2", 200, 0.3),
    ],
)
def test_default_parameters_reach_minimum_score_on_sample(
    store: Store, name: str, metric: str, steps: int, least: float
) -> None:
    given: dict[str, Any] = {
        "pipeline": name,
        "task": "regression" if metric == "r2" else "classification",
        "source": {"kind": "sample", "name": name},
        "target": "target",
        "trainer": {"kind": "torch_mlp", "steps": steps},
        "evaluate": {"metric": metric},
    }
    run = Pipeline(store, Settings.model_validate(given))
    source = SampleSource(kind="sample", name=name)
    clean = run.clean(data_loader.load(store, source, data_loader.inspect(source)))
    featured = run.fit(clean)
    assert run.evaluate(clean, featured, run.train(featured))[metric] >= least


def test_published_model_predicts_in_separate_process(store: Store) -> None:
    made = pipeline(store).publish(*parted(people(), 2))
    names = store.names(made.published["folder"])
    assert [name for name in names if name.startswith(("model.", "features."))] == [
        "features.json",
        "model.safetensors",
    ]
    model = made.file("model.safetensors")
    x = rows(store, made.featured)[transform.names(made.spec)].to_numpy("float32")
    with ModelProcess("model_v1.0", "torch_mlp", model, 30) as process:
        answers = process.predict(x)
    np.testing.assert_array_equal(answers, protocol.load("torch_mlp", model)(x))
    assert answers.shape == (400, 2)
