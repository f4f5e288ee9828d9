"""A pipeline with a published version, trained on a table of a test, and the batch that scores by that version."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ai_workflow import features, partitions, publishing
from ai_workflow.errors import StageError
from ai_workflow.partitions import ROW, Dataset
from ai_workflow.registry import Registry
from ai_workflow.settings import CsvSource, Settings, Trainer
from ai_workflow.stages import data_loader, feature_engineering, inference, preprocessor, trainer
from ai_workflow.store import Store

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
        body = {
            "pipeline": "twodoors", "task": "classification", "target": TARGET, "source": source, "schema": schema,
            "reject_limit": 1.0, "deduplicate": "none", "inference": {"deadline_ms": 60_000},
            "service": {"max_rows": 100_000, "max_body_bytes": 50_000_000}, **more,
        }  # fmt: skip
        self.settings = Settings.model_validate(body)
        clean = preprocessor.preprocess(
            self.store, self._load(self.settings.source), preprocessor.Rules.of(self.settings)
        )
        roles = feature_engineering.Roles.of(self.settings)
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
        self.version = publishing.publish(self.registry, files, "columns", {**about, "task": spec["task"]})
        self.spec = spec

    @property
    def columns(self) -> list[str]:
        """The columns that the model needs."""
        return features.inputs(self.spec)

    def batch(self, source: Any) -> Scored:
        """Return what the stages of the scoring flow make of a source."""
        # The header is row 1 of a CSV file.
        first = 2 if isinstance(source, CsvSource) else 1
        rules = preprocessor.Rules.of_spec(self.spec, self.settings)
        try:
            clean = preprocessor.preprocess(self.store, self._load(source), rules)
        except StageError as error:
            if "no row is left" not in str(error):
                raise
            return Scored({}, self._rejected("quarantine/untraced/rejected.csv", first))
        featured = feature_engineering.apply(self.store, clean, self.spec)
        asked = inference.Scoring(
            version=self.version.name, folder=self.settings.models, batch_size=64, timeout=self.settings.model.timeout
        )
        scored = inference.predict(self.store, featured, asked)
        matrix = self._by_row(featured, features.names(self.spec))
        answers = self._by_row(scored, ["row", "prediction", "score"])
        made = {
            row: (matrix[row].to_numpy("float32").tobytes(), found["prediction"], found["score"])
            for row, found in answers.items()
        }
        path = clean["quarantine"]["path"] if clean["quarantine"] else None
        refused = self._rejected(path, first) if path else {}
        return Scored({row - first: answer for row, answer in made.items()}, refused)

    def _load(self, source: Any) -> dict[str, Any]:
        return data_loader.load(self.store, source, data_loader.inspect(source, self.folder), self.settings.database)

    def _by_row(self, result: dict[str, Any], names: list[str]) -> dict[int, Any]:
        rows: dict[int, Any] = {}
        for _, frame in partitions.frames(self.store, Dataset.load(self.store, result)):
            numbers = frame[ROW if ROW in frame else "row"].tolist()
            rows |= {number: frame.iloc[place][names] for place, number in enumerate(numbers)}
        return rows

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
