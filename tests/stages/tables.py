"""Small tables as loaded datasets of several partitions, and the stages one after another without Prefect."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa

from ai_workflow.config.settings import Settings
from ai_workflow.datasets import partitions, source_columns
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.evaluation import champion, quality_gate
from ai_workflow.registry.registry import Registry, Version
from ai_workflow.stages import evaluator, feature_engineering, inference, preprocessor, registry, trainer
from ai_workflow.storage.store import Store

Result = dict[str, Any]
SOURCE = "rows.csv"
START = datetime(2024, 1, 1)  # noqa: DTZ001 - a moment in UTC, as clean rows bear it


def settings(**changes: Any) -> Settings:
    """Return the settings of a small pipeline; `changes` are keys of the YAML."""
    base: dict[str, Any] = {
        "pipeline": "people",
        "task": "classification",
        "source": {"kind": "sample"},
        "target": "bought",
        "id": "person",
        "trainer": {"steps": 10, "params": {"num_threads": 1, "min_data_in_leaf": 5}},
    }
    return Settings.model_validate({**base, **changes})


def people(rows: int = 400, seed: int = 0, classes: tuple[str, ...] = ("no", "yes")) -> pd.DataFrame:
    """Return a table of all kinds of columns, with gaps, whose target can be learned."""
    chance = random.Random(seed)
    lines = []
    for number in range(rows):
        age, city = chance.randint(18, 80), chance.choice(["Aachen", "Bonn", "Celle", "Dortmund"])
        signal = age / 80 + {"Aachen": 0.6, "Bonn": 0.3}.get(city, 0) + chance.gauss(0, 0.1)
        opened = START + timedelta(hours=12 * number)
        lines.append(
            {
                "person": f"p{number:05d}",
                "age": age,
                "city": city,
                "income": None if chance.random() < 0.1 else round(chance.lognormvariate(10, 0.5), 2),
                "opened": opened,
                "member": chance.random() < 0.5,
                "bought": classes[min(len(classes) - 1, int(signal * len(classes) / 1.6))],
                "spent": round(100 * signal, 3),
            }
        )
    return pd.DataFrame(lines)


def parted(frame: pd.DataFrame, count: int) -> list[pd.DataFrame]:
    """Return the frame in `count` pieces of about the same size, in order."""
    size = -(-len(frame) // count)
    return [frame.iloc[start : start + size].reset_index(drop=True) for start in range(0, len(frame), size)]


def load(store: Store, *frames: pd.DataFrame, sources: tuple[str, ...] = ()) -> Result:
    """Write the frames as a loaded dataset, one partition each; the rows of one source are numbered from 1."""
    start, parts = dict.fromkeys(sources, 1) | {SOURCE: 1}, []
    for number, frame in enumerate(frames):
        source = sources[number] if sources else SOURCE
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        rows = pa.array(range(start[source], start[source] + len(frame)), pa.int64())
        kinds = [(name, source_columns.kind_of(table[name].type, name, source)) for name in table.column_names]
        tidy = {
            name: source_columns.normalize(table[name], kind, source_columns.MissingRules((), False))
            for name, kind in kinds
        }
        path = f"data/loaded/{len(store.names('data/loaded')):05d}.parquet"
        parts.append(partitions.write(store, path, source_columns.with_row_numbers(tidy, rows), source))
        start[source] += len(frame)
    info = {"columns": source_columns.to_json([name for name, _ in kinds], [kind for _, kind in kinds])}
    return Dataset("loaded", tuple(parts), info).save(store)


def rows(store: Store, result: Result) -> pd.DataFrame:
    """Return all rows of a stage's result."""
    return pd.concat([frame for _, frame in partitions.frames(store, Dataset.load(store, result))], ignore_index=True)


@dataclass(frozen=True)
class Pipeline:
    """The stages under one set of settings in one store."""

    store: Store
    settings: Settings
    # No comparison with `stable`, which takes a process of its own.
    alone: bool = False

    @property
    def registry(self) -> Registry:
        """The versions that were published."""
        return Registry(self.store, self.settings.models)

    def clean(self, loaded: Result) -> Result:
        """Return the clean rows of a training."""
        return preprocessor.preprocess(self.store, loaded, preprocessor.RowRules.of(self.settings))

    def fit(self, clean: Result) -> Result:
        """Return features and their spec."""
        roles = feature_engineering.ColumnRoles.of(self.settings)
        return feature_engineering.fit(self.store, clean, roles, self.settings.features)

    def train(self, featured: Result) -> Result:
        """Return a model."""
        return trainer.train(self.store, featured, self.settings.trainer, self.settings.training_batch_size)

    def evaluate(self, clean: Result, featured: Result, trained: Result) -> Result:
        """Judge a model, beside `stable` if there is one."""
        stable = None if self.alone else champion.find(self.registry, trained["fingerprint"])
        against = champion.ChampionOptions(
            version=stable, folder=self.settings.models, timeout=self.settings.model.timeout
        )
        return evaluator.evaluate(
            self.store, clean, featured, trained, quality_gate.QualityGate.of(self.settings), against
        )

    def publish(self, *frames: pd.DataFrame) -> Made:
        """Run all stages of a training, each on what the ones before gave."""
        loaded = load(self.store, *frames)
        clean = self.clean(loaded)
        featured = self.fit(clean)
        trained = self.train(featured)
        evaluated = self.evaluate(clean, featured, trained)
        place = registry.RegistryOptions(folder=self.settings.models)
        return Made(
            self, loaded, clean, featured, trained, evaluated,
            registry.publish(self.store, featured, trained, evaluated, place),
        )  # fmt: skip


@dataclass(frozen=True)
class Made:
    """What each stage of a training gave."""

    pipeline: Pipeline
    loaded: Result
    clean: Result
    featured: Result
    trained: Result
    evaluated: Result
    published: Result

    @property
    def spec(self) -> dict[str, Any]:
        """The feature spec."""
        return feature_engineering.read_spec(self.pipeline.store, self.featured)

    @property
    def version(self) -> Version:
        """The version in the registry."""
        return self.pipeline.registry.get(self.published["version"])

    def file(self, name: str) -> bytes:
        """Return a file of the version, verified."""
        return self.pipeline.registry.read(self.version, name)

    def to_score(self, *frames: pd.DataFrame) -> Result:
        """Return the features of rows to score, made by the version's own spec."""
        store = self.pipeline.store
        rules = preprocessor.RowRules.of_spec(self.spec, self.pipeline.settings)
        return feature_engineering.apply(store, preprocessor.preprocess(store, load(store, *frames), rules), self.spec)

    def scoring(self, **changes: Any) -> inference.InferenceOptions:
        """Return how the version is asked."""
        s = self.pipeline.settings
        asked = {"version": self.version.name, "folder": s.models, "batch_size": 128, "timeout": 30.0}
        return inference.InferenceOptions.model_validate({**asked, **changes})
