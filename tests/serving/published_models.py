"""Published versions to serve, made without a training run: rows of every type, two classes, answers known by heart."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import yaml

from ai_workflow.features import transform
from ai_workflow.registry import publication
from ai_workflow.registry.registry import Registry, Version
from ai_workflow.storage.store import Store

ROOT = Path(__file__).parents[2]
PIPELINE = "shop"
FOLDER = f"models/development/{PIPELINE}"
CLASSES = ["no", "yes"]
COLUMNS: dict[str, dict[str, Any]] = {
    "price": {"type": "number", "min": 0},
    "weight": {"type": "number", "nullable": True},
    "pieces": {"type": "integer", "max": 100},
    "colour": {"type": "category", "allowed": ["red", "green", "blue"]},
    "gift": {"type": "boolean"},
    "ordered": {"type": "datetime"},
}
FEATURES: list[dict[str, Any]] = [
    {"name": "price", "column": "price", "kind": "number"},
    {"name": "weight", "column": "weight", "kind": "number"},
    {"name": "weight__missing", "column": "weight", "kind": "missing"},
    {"name": "pieces", "column": "pieces", "kind": "number"},
    {"name": "colour", "column": "colour", "kind": "category", "vocabulary": ["red", "green"]},
    {"name": "gift", "column": "gift", "kind": "boolean"},
    {"name": "ordered__weekday", "column": "ordered", "kind": "date", "part": "weekday"},
    {"name": "ordered__hour", "column": "ordered", "kind": "date", "part": "hour"},
]
ROW: dict[str, Any] = {
    "price": 9.5, "weight": 1.25, "pieces": 3, "colour": "red", "gift": True, "ordered": "2026-11-20T10:30:00",
}  # fmt: skip


def spec(columns: dict[str, Any] | None = None, made: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Return the feature spec; other columns and features make another one."""
    return {
        "version": 1, "pipeline": PIPELINE, "task": "classification", "target": "bought", "id": None,
        "timestamp": None, "classes": CLASSES, "schema": {**(columns or COLUMNS), "bought": {"type": "category"}},
        "features": made or FEATURES, "statistics": {}, "split": {},
    }  # fmt: skip


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return rows as a caller sends them."""
    chance = np.random.default_rng(seed)
    return [
        {
            "price": round(float(chance.uniform(0, 50)), 2),
            "weight": None if chance.random() < 0.2 else round(float(chance.uniform(0, 5)), 3),
            "pieces": int(chance.integers(1, 20)),
            "colour": str(chance.choice(["red", "green", "blue"])),
            "gift": bool(chance.random() < 0.5),
            "ordered": f"2026-11-{int(chance.integers(1, 29)):02d}T{int(chance.integers(0, 24)):02d}:15:00",
        }
        for _ in range(count)
    ]


def matrix(of: Sequence[dict[str, Any]]) -> np.ndarray:
    """Return the features of rows, float32 (rows, features)."""
    return transform.transform(transform.coerce_columns(pd.DataFrame(list(of)), spec()), spec())


@cache
def booster(seed: int) -> lightgbm.Booster:
    """Return a model; each seed another one."""
    x = matrix(rows(400, seed))
    y = (x[:, 0] + 5 * x[:, 5] + seed % 7 > 27).astype(int)
    params = {"objective": "binary", "num_leaves": 7, "verbosity": -1, "seed": seed, "deterministic": True}
    return lightgbm.train(params, lightgbm.Dataset(x, y), 20)


def answers(seed: int, of: Sequence[dict[str, Any]]) -> list[list[float]]:
    """Return what the model of a seed answers to rows, by LightGBM's own package."""
    positive = np.asarray(booster(seed).predict(matrix(of)))
    return np.column_stack([1 - positive, positive]).tolist()


def files(seed: int, **changed: Any) -> dict[str, bytes]:
    """Return the files of a version; `changed` are the bytes of some of them, by name without ending."""
    golden = {"rows": rows(8, 99), "answers": answers(seed, rows(8, 99))}
    found = {
        "model.txt": booster(seed).model_to_string().encode(),
        "features.json": json.dumps(spec()).encode(),
        "golden.json": json.dumps(golden).encode(),
    }
    endings = {name.partition(".")[0]: name for name in found}
    return found | {endings[name]: data for name, data in changed.items()}


def publish(
    root: Path, seed: int, *, schema: str = "a", kind: str = "lightgbm", name: str = PIPELINE, **changed: Any
) -> Version:
    """Publish the model of a seed as the next version of a pipeline."""
    about = {"kind": kind, "model_file": "model.txt", "pipeline": name, "task": "classification", "scores": {}}
    return publication.publish(registry(root, name), files(seed, **changed), schema, about)


def registry(root: Path, name: str = PIPELINE) -> Registry:
    """Return the registry of a pipeline below a store's root."""
    return Registry(Store(root), f"models/development/{name}")


# For tests of which version answers, not of when: a busy machine makes requests late, and then stable answers.
PATIENT = {"deadline_ms": 10_000}


def pipeline(folder: Path, **changes: Any) -> Path:
    """Write the pipeline's file, with other settings where asked for, and return its path."""
    body: dict[str, Any] = {
        "pipeline": PIPELINE,
        "task": "classification",
        "source": {"kind": "csv", "path": "none.csv"},
        "target": "bought",
        "inference": {"deadline_ms": 200, "default_response": {"prediction": "unknown"}},
        # The log's tests switch it on: a service that ends waits for what becomes of it.
        "service": {"port": 0, "drain_seconds": 0.1, "reload_seconds": 0.2, "prediction_log": {"enabled": False}},
        "logging": {"level": "INFO"},
    }
    for name, value in changes.items():
        body[name] = {**body.get(name, {}), **value} if isinstance(value, dict) else value
    path = folder / "shop.yaml"
    path.write_text(yaml.safe_dump(body))
    return path


def project(folder: Path, *names: str, silent: str = "", **changes: Any) -> dict[str, str]:
    """Write a project with these pipelines, and return the variables with which its service starts.

    The pipeline `silent` has no default response.
    """
    (folder / "config").symlink_to(ROOT / "config")
    body = yaml.safe_load(pipeline(folder, **changes).read_text())
    service = body.pop("service")
    for name in names:
        (folder / "pipelines" / name).mkdir(parents=True)
        own = {"default_response": None} if name == silent else {}
        text = yaml.safe_dump({**body, "pipeline": name, "inference": {**body["inference"], **own}})
        (folder / "pipelines" / name / "pipeline.yaml").write_text(text)
    (folder / "service.yaml").write_text(yaml.safe_dump({"service": service}))
    return {"AIW_ROOT": str(folder), "AIW_CONFIG": str(folder / "service.yaml")}


def is_close(found: float, known: float) -> bool:
    """Say whether two scores are the same, but for rounding."""
    return math.isclose(found, known, rel_tol=1e-9, abs_tol=1e-12)
