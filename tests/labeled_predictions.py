"""Predictions and labels for tests: predictions as the service and the scoring flow store them, labels as files."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from ai_workflow.config.settings import Settings
from ai_workflow.datasets import partitions
from ai_workflow.inference import prediction_files
from ai_workflow.stages import label_joiner
from ai_workflow.stages.label_intake import LabelJoinerOptions
from ai_workflow.storage.store import Store

PIPELINE = "shop"
ONE, TWO = "model_v1.0", "model_v1.1"
# A moment that all tests call now.
NOW = 1_800_000_000.0
HOUR = 3600.0


def settings(folder: Path | None = None, **changes: Any) -> Settings:
    """Return settings whose labels are in `labels.csv` of a folder, with moments, if one is given."""
    evaluation: dict[str, Any] = {"minimum": 1}
    if folder is not None:
        evaluation |= {"source": {"kind": "csv", "path": str(folder / "labels.csv")}, "time": "at"}
    base: dict[str, Any] = {
        "pipeline": PIPELINE,
        "task": "classification",
        "source": {"kind": "csv", "path": "none.csv"},
        "target": "bought",
        "evaluation": evaluation | changes.pop("evaluation", {}),
    }
    return Settings.model_validate(base | changes)


def predict(
    store: Store, answers: dict[str, Any], version: str = ONE, at: float | None = NOW - 10 * HOUR, **more: Sequence[Any]
) -> None:
    """Store predictions by their prediction_id, made at a moment; `more` are columns besides."""
    frame = pd.DataFrame(
        {
            "prediction_id": list(answers),
            "id": [f"row of {name}" for name in answers],
            "row": range(len(answers)),
            "time": pd.to_datetime([at] * len(answers), unit="s").astype("datetime64[us]"),
            "prediction": list(answers.values()),
            "score": 0.5,
            "model_version": version,
            **more,
        }
    )
    number = len(store.names(f"{prediction_files.FOLDER}/{PIPELINE}/{version}"))
    store_frame(store, frame, version, f"service-{number:04d}")


def store_frame(store: Store, frame: pd.DataFrame, version: str, name: str) -> None:
    """Store a frame as predictions of a version, in a folder of that name."""
    folder = f"{prediction_files.FOLDER}/{PIPELINE}/{version}/{name}"
    part = partitions.write(store, f"{folder}/part-00000.parquet", frame, "service")
    body = {"pipeline": PIPELINE, "model_version": version, "rows": len(frame), "partitions": [asdict(part)]}
    store.write_record(f"{folder}/manifest.json", body)


def write(
    folder: Path, rows: Iterable[Sequence[Any]], header: Sequence[str] = ("prediction_id", "label", "at")
) -> None:
    """Write `labels.csv`."""
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def at(hours: float) -> str:
    """Return a moment so many hours before now, as a file holds it."""
    return pd.Timestamp(NOW - hours * HOUR, unit="s").isoformat()


def join(store: Store, asked: Settings, moment: float = NOW) -> dict[str, Any]:
    """Join, as the flow does."""
    return label_joiner.join(store, LabelJoinerOptions.of(asked), moment)


def counts(joined: dict[str, Any], version: str = ONE) -> tuple[int, int]:
    """Return how many predictions of a version are labeled, and how many correct."""
    found = joined["standings"][version]
    return found["labeled_total"], found["correct_total"]
