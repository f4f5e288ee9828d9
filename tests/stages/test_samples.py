"""With default settings the stages learn the tables that ship inside scikit-learn about as well as they can be."""

from __future__ import annotations

from typing import Any

import pytest

from ai_workflow.config.settings import SampleSource, Settings
from ai_workflow.stages import data_loader
from ai_workflow.storage.store import Store
from tests.stages.tables import Pipeline

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("name", "task", "metric", "least"),
    [
        ("breast_cancer", "classification", "accuracy", 0.93),
        ("wine", "classification", "accuracy", 0.9),
        ("digits", "classification", "accuracy", 0.95),
        ("diabetes", "regression", "r2", 0.3),
    ],
)
def test_default_settings_reach_minimum_score_on_sample(
    store: Store, name: str, task: str, metric: str, least: float
) -> None:
    # One thread: with two, a busy machine takes many times as long, and the model is the same.
    given: dict[str, Any] = {
        "pipeline": name,
        "task": task,
        "source": {"kind": "sample", "name": name},
        "target": "target",
        "trainer": {"params": {"num_threads": 1}},
        "evaluate": {"metric": metric},
    }
    run = Pipeline(store, Settings.model_validate(given))
    source = SampleSource(kind="sample", name=name)
    clean = run.clean(data_loader.load(store, source, data_loader.inspect(source)))
    featured = run.fit(clean)
    assert run.evaluate(clean, featured, run.train(featured))[metric] >= least
