"""The model of the serving benchmark: 100 trees of 31 leaves with 30 features, trained and published here."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from ai_workflow.config import loader
from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store
from benchmarks.measure import cost

ROOT = Path(__file__).resolve().parent.parent
NAME = "serving"
COLUMNS = [f"f{number}" for number in range(30)]
_TRAINING_ROWS, _REQUEST_ROWS = 20_000, 64
PIPELINE = """\
pipeline: {name}
task: classification
source: {{kind: csv, path: "{path}"}}
id: id
target: target
trainer: {{kind: lightgbm, steps: 100, params: {{num_leaves: 31, num_threads: 1}}}}
evaluate: {{holdout: 0.2, metric: accuracy, minimum: 0.6}}
"""


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A published version with test rows and the expected probabilities of class 1.

    `columns` is the order of the model's features and of the values of a row.
    """

    pipeline: Path
    store: Path
    model: Path
    columns: list[str]
    rows: list[list[float]]
    probabilities: list[float]


def make(folder: Path) -> PublishedModel:
    """Generate a table, train and publish a model, and compute the expected predictions of other rows.

    Raises:
        BenchmarkError: the training failed; the message has the end of its log.
    """
    table, pipeline, store = folder / "rows.csv", folder / "pipeline.yaml", folder / "store"
    records = _write(table)
    pipeline.write_text(PIPELINE.format(name=NAME, path=table))
    environment = {**os.environ, "AIW_STORE": str(store)}
    cost([sys.executable, "-m", "benchmarks.bare_training", str(pipeline)], environment, ROOT, folder / "training.log")
    registry = Registry(Store(str(store)), loader.load(pipeline, root=ROOT, env={}).settings.models)
    latest = registry.get("latest")
    columns = [feature["name"] for feature in json.loads(registry.read(latest, "features.json"))["features"]]
    model, rows = store / latest.folder / "model.txt", [[row[name] for name in columns] for row in records]
    return PublishedModel(pipeline, store, model, columns, rows, _probabilities(model, rows))


def _write(table: Path) -> list[dict[str, float]]:
    """Write training rows whose target depends on many features, and return test rows."""
    import numpy as np
    import pandas as pd

    random = np.random.default_rng(0)
    rows = random.normal(size=(_TRAINING_ROWS + _REQUEST_ROWS, len(COLUMNS))).round(4)
    signal = rows[:, :10].sum(axis=1) + 2 * rows[:, 10] * rows[:, 11] + np.sin(3 * rows[:, 12:20]).sum(axis=1)
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame.insert(0, "id", range(len(frame)))
    frame["target"] = (signal + random.normal(size=len(frame)) > 0).astype(int)
    frame.head(_TRAINING_ROWS).to_csv(table, index=False)
    return [dict(zip(COLUMNS, map(float, row), strict=True)) for row in rows[_TRAINING_ROWS:]]


def _probabilities(model: Path, rows: list[list[float]]) -> list[float]:
    import lightgbm
    import numpy as np

    return [float(value) for value in lightgbm.Booster(model_file=model).predict(np.array(rows), num_threads=1)]
