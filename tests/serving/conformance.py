"""The protocol's clients for tests: programs of an environment of their own, and a regression for them to ask."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest

from ai_workflow.features import transform
from ai_workflow.registry import publication
from tests.serving import published_models
from tests.serving.running_service import HERE, ROOT, Running

SCRIPTS = HERE / "clients"
_BIN = ROOT / ".venv-clients" / "bin"
_SECONDS = 60

# Of each type one column that a schema has to say something of: `fill`, bounds, what is allowed, missing values.
COLUMNS: dict[str, dict[str, Any]] = {
    "price": {"type": "number", "fill": 1.5},
    "pieces": {"type": "integer", "min": 1},
    "town": {"type": "category", "nullable": True},
    "colour": {"type": "category", "allowed": ["red", "green"], "fill": "red"},
    "gift": {"type": "boolean", "nullable": True},
    "ordered": {"type": "datetime", "nullable": True},
}
SPEC: dict[str, Any] = {
    **published_models.spec(), "task": "regression", "target": "spent", "classes": None,
    "schema": {**COLUMNS, "spent": {"type": "number"}},
    "features": [
        {"name": "price", "column": "price", "kind": "number"},
        {"name": "pieces", "column": "pieces", "kind": "number"},
        {"name": "town", "column": "town", "kind": "category", "vocabulary": ["Ulm", "Zürich"]},
        {"name": "colour", "column": "colour", "kind": "category", "vocabulary": ["red", "green"]},
        {"name": "gift", "column": "gift", "kind": "boolean"},
        {"name": "ordered__month", "column": "ordered", "kind": "date", "part": "month"},
    ],
}  # fmt: skip


def program(name: str) -> Path:
    """Return the path of a client; skips the test where there are none."""
    if not (_BIN / name).exists():
        pytest.skip(f"no {name} of the protocol's clients: bash .ci/run clients")
    return _BIN / name


def run(command: list[Any], given: Any = None, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a client to its end."""
    return subprocess.run(
        [str(part) for part in command], input=json.dumps(given), cwd=folder, capture_output=True, text=True,
        timeout=_SECONDS, check=False, env=os.environ | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
    )  # fmt: skip


def asked(script: str, running: Running, command: str, **given: Any) -> Any:
    """Return what a script of `clients/` prints of its dealings with a service."""
    done = run([program("python"), SCRIPTS / script, f"127.0.0.1:{running.port}", command], given)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return rows for the regression."""
    chance = np.random.default_rng(seed)
    return [
        {
            "price": round(float(chance.uniform(0, 50)), 2),
            "pieces": int(chance.integers(1, 20)),
            "town": str(chance.choice(["Ulm", "Zürich", "Brno"])),
            "colour": str(chance.choice(["red", "green"])),
            "gift": bool(chance.random() < 0.5),
            "ordered": f"2026-{int(chance.integers(1, 13)):02d}-05",
        }
        for _ in range(count)
    ]


@cache
def booster() -> lightgbm.Booster:
    """Return the model of the regression."""
    x = _matrix(rows(300, 1))
    params = {"objective": "regression", "num_leaves": 7, "verbosity": -1, "deterministic": True}
    return lightgbm.train(params, lightgbm.Dataset(x, x[:, 0] * x[:, 1]), 20)


def answers(of: list[dict[str, Any]]) -> list[float]:
    """Return what it answers to rows, by LightGBM's own package."""
    found: list[float] = np.asarray(booster().predict(_matrix(of))).tolist()
    return found


def publish_regression(root: Path) -> None:
    """Publish the regression as the next version."""
    golden = {"rows": rows(8, 2), "answers": answers(rows(8, 2))}
    files = {
        "model.txt": booster().model_to_string().encode(),
        "features.json": json.dumps(SPEC).encode(),
        "golden.json": json.dumps(golden).encode(),
    }
    about = {"kind": "lightgbm", "model_file": "model.txt", "pipeline": published_models.PIPELINE, "task": "regression"}
    publication.publish(published_models.registry(root), files, "r", {**about, "scores": {}})


def _matrix(of: list[dict[str, Any]]) -> np.ndarray:
    return transform.transform(transform.coerce_columns(pd.DataFrame(of), SPEC), SPEC)
