"""The worked example of docs/trainers.md is run: a family of a team's own in one file trains, resumes and answers."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from ai_workflow.config.settings import SampleSource
from ai_workflow.errors import StageError
from ai_workflow.features import transform
from ai_workflow.stages import data_loader, trainer
from ai_workflow.stages.feature_engineering import HOLDOUT, TARGET, read_spec
from ai_workflow.storage.store import Store
from ai_workflow.training import protocol
from tests.stages.tables import Pipeline, Result, load, parted, people, rows, settings
from tests.trainers import killed_trainings
from tests.trainers.training_rows import ROOT, data

pytestmark = pytest.mark.integration

SGD = "docs.examples.sgd:Trainer"


def prepared(store: Store) -> tuple[Pipeline, Result]:
    run = Pipeline(store, settings(trainer={"steps": 80, "checkpoint": {"every_steps": 7, "keep": 2}}))
    return run, run.fit(run.clean(load(store, *parted(people(classes=("no", "maybe", "yes")), 4))))


@pytest.mark.slow
def test_restarted_training_gives_identical_model(store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Store(tmp_path_factory.mktemp("whole"))
    run, made = prepared(other)
    whole = trainer.train(
        other,
        made,
        killed_trainings.options(SGD, **run.settings.trainer.model_dump(exclude={"kind"})),
        killed_trainings.BATCH,
    )
    run, made = prepared(store)
    found = killed_trainings.until_done(run, made, SGD, kills=2)
    model = store.read(found["model"]["path"], found["model"]["sha256"])
    assert model == other.read(whole["model"]["path"], whole["model"]["sha256"])
    assert json.loads(model)["coef"]


def test_training_resumed_after_every_step_gives_identical_model() -> None:
    def begun() -> protocol.Trainer:
        made = protocol.trainer(SGD)
        made.start(data("multiclass", validation=False), killed_trainings.options(SGD), 50)
        return made

    whole, made = begun(), begun()
    for _ in range(25):
        whole.step()
        made.step()
        assert made.loss() == whole.loss()
        state, made = made.save(), begun()
        made.load(state)
    assert made.finish(25) == whole.finish(25)


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_sgd_trainer_reaches_minimum_accuracy(store: Store, name: str) -> None:
    run = Pipeline(store, settings(pipeline=name, source={"kind": "sample", "name": name}, target="target", id=None))
    source = SampleSource(kind="sample", name=name)
    featured = run.fit(run.clean(data_loader.load(store, source, data_loader.inspect(source))))
    trained = trainer.train(store, featured, killed_trainings.options(SGD, steps=100))
    frame = rows(store, featured)
    frame = frame[frame[HOLDOUT]]
    names = transform.names(read_spec(store, featured))
    answers = protocol.load(SGD, store.read(trained["model"]["path"]))(frame[names].to_numpy("float32"))
    assert answers.sum(axis=1) == pytest.approx(1)
    assert np.mean(answers.argmax(axis=1) == frame[TARGET]) >= 0.9


def test_unsupported_task_or_parameter_is_rejected() -> None:
    for kind, params, said in (("regression", {}, "for classification"), ("binary", {"bogus": 1}, "bogus")):
        with pytest.raises(StageError, match=said):
            protocol.trainer(SGD).start(data(kind), killed_trainings.options(SGD, params=params), 50)


def test_docs_page_matches_example_code() -> None:
    page, source = ((ROOT / "docs" / name).read_text() for name in ("trainers.md", "examples/sgd.py"))
    code = next(block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "partial_fit" in block)
    lines = {line.strip() for line in source.splitlines()}
    assert [line for line in code.splitlines() if line.strip() not in lines] == []
    for method in ("start", "step", "loss", "save", "load", "finish"):
        assert f"`{method}(" in page
