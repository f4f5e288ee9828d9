"""A pipeline with a published version, trained on a table of a test, and the batch that scores by that version."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ai_workflow.config.settings import CsvSource, Settings, Trainer
from ai_workflow.datasets import partitions
from ai_workflow.datasets.partitions import ROW, Dataset
from ai_workflow.errors import StageError
from ai_workflow.features import transform
from ai_workflow.registry import publication
from ai_workflow.registry.registry import Registry
from ai_workflow.stages import data_loader, feature_engineering, inference, preprocessor, trainer
from ai_workflow.storage.store import Store
from ai_workflow.training import protocol

TARGET = "good"
_TRAINER = Trainer(kind="lightgbm", steps=4, params={"min_data_in_leaf": 1, "num_leaves": 16, "cat_smooth": 1})


@dataclass(frozen=True)
class Scored:
    """What a door makes of rows.

    Args:
        answers: row -> its feature matrix, prediction and score, of rows that were accepted.
        refused: row -> the columns that it was refused for, one for each reason.
        count: how many reasons there are; a response does not show all of them.
    """

    answers: dict[int, tuple[bytes, Any, float]]
    refused: dict[int, tuple[str, ...]]
    count: int = 0


class Pipeline:
    """A trained and published pipeline.

    Args:
        folder: where its store and tables are.
        source: the section `source`; relative paths are relative to the folder.
        schema: the section `schema`.
        more: other sections.
    """

    def __init__(self, folder: Path, source: dict[str, Any], schema: dict[str, Any], **more: Any) -> None:
        self.folder, self.store = folder, Store(folder / "store")
        self.has_process = True
        body = {
            "pipeline": "twodoors", "task": "classification", "target": TARGET, "source": source, "schema": schema,
            "reject_limit": 1.0, "deduplicate": "none", "inference": {"deadline_ms": 60_000},
            "service": {"max_rows": 100_000, "max_body_bytes": 50_000_000}, **more,
        }  # fmt: skip
        self.settings = Settings.model_validate(body)
        clean = preprocessor.preprocess(
            self.store, self._load(self.settings.source), preprocessor.RowRules.of(self.settings)
        )
        roles = feature_engineering.ColumnRoles.of(self.settings)
        featured = feature_engineering.fit(self.store, clean, roles, self.settings.features)
        trained = trainer.train(self.store, featured, _TRAINER)
        self._publish(feature_engineering.read_spec(self.store, featured), trained)

    def _publish(self, spec: dict[str, Any], trained: dict[str, Any]) -> None:
        files = {
            "model.txt": self.store.read(trained["model"]["path"], trained["model"]["sha256"]),
            "features.json": json.dumps(spec).encode(),
            "golden.json": b'{"rows": [], "answers": []}',
        }
        about = {"kind": "lightgbm", "model_file": "model.txt", "pipeline": "twodoors", "scores": {}}
        self.registry = Registry(self.store, self.settings.models)
        self.version = publication.publish(self.registry, files, "columns", {**about, "task": spec["task"]})
        self.spec = spec

    @property
    def columns(self) -> list[str]:
        """The columns that the model needs."""
        return transform.input_columns(self.spec)

    def batch(self, source: Any) -> Scored:
        """Return what the stages of the scoring flow make of a source.

        With `has_process` the last stage starts the process of the model; without, its function is called here.
        """
        # The header is row 1 of a CSV file.
        first = 2 if isinstance(source, CsvSource) else 1
        rules = preprocessor.RowRules.of_spec(self.spec, self.settings)
        try:
            clean = preprocessor.preprocess(self.store, self._load(source), rules)
        except StageError as error:
            if "no row is left" not in str(error):
                raise
            return Scored({}, self._rejected("quarantine/untraced/rejected.csv", first))
        featured = feature_engineering.apply(self.store, clean, self.spec)
        rows, x = self._matrix(featured)
        answers = self._scored(featured) if self.has_process else self._predicted(rows, x)
        made = {row: (x[place].tobytes(), *answers[row]) for place, row in enumerate(rows)}
        path = clean["quarantine"]["path"] if clean["quarantine"] else None
        refused = self._rejected(path, first) if path else {}
        return Scored({row - first: answer for row, answer in made.items()}, refused)

    def _load(self, source: Any) -> dict[str, Any]:
        return data_loader.load(self.store, source, data_loader.inspect(source, self.folder), self.settings.database)

    def _matrix(self, featured: dict[str, Any]) -> tuple[list[int], np.ndarray]:
        dataset, names = Dataset.load(self.store, featured), transform.names(self.spec)
        frame = pd.concat([frame for _, frame in partitions.frames(self.store, dataset)], ignore_index=True)
        return frame[ROW].tolist(), frame[names].to_numpy("float32")

    def _scored(self, featured: dict[str, Any]) -> dict[int, tuple[Any, float]]:
        """Return prediction and score of each row by the stage of the scoring flow."""
        asked = inference.InferenceOptions(
            version=self.version.name, folder=self.settings.models, batch_size=64, timeout=self.settings.model.timeout
        )
        dataset = Dataset.load(self.store, inference.predict(self.store, featured, asked))
        frame = pd.concat([frame for _, frame in partitions.frames(self.store, dataset)], ignore_index=True)
        pairs = zip(frame["prediction"].tolist(), frame["score"].tolist(), strict=True)
        return dict(zip(frame["row"].tolist(), pairs, strict=True))

    def _predicted(self, rows: list[int], x: np.ndarray) -> dict[int, tuple[Any, float]]:
        """Return the same by the function that the process of the model calls."""
        predict = protocol.load("lightgbm", self.registry.read(self.version, "model.txt"))
        return {
            row: (self.spec["classes"][int(found.argmax())], float(found.max()))
            for row, found in zip(rows, predict(x), strict=True)
        }

    def _rejected(self, path: str, first: int) -> dict[int, tuple[str, ...]]:
        with self.store.open(path) as file:
            lines = list(csv.DictReader(io.StringIO(file.read().decode(), newline="")))
        refused: dict[int, tuple[str, ...]] = {}
        for line in lines:
            row = int(line["row"]) - first
            refused[row] = (*refused.get(row, ()), line["column"])
        return refused


def write_csv(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write rows of raw cells; all are quoted."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
