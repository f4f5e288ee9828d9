"""Rows in memory as a trainer takes them, and trainings in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ai_workflow.config import settings
from ai_workflow.training import protocol
from ai_workflow.training.protocol import TrainingData

KINDS = ("binary", "multiclass", "regression")
ROOT = Path(__file__).parents[2]


@dataclass
class Held:
    """The rows of one partition; `reads` counts how often they were asked for."""

    x: np.ndarray
    y: np.ndarray
    reads: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.y)

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Return copies, as reading a file does."""
        self.reads.append(len(self))
        return self.x.copy(), self.y.copy()


def spec(kind: str, features: int = 4) -> dict[str, Any]:
    """Return a feature spec; the last feature is a category."""
    kinds = ["number"] * (features - 1) + ["category"]
    return {
        "task": "regression" if kind == "regression" else "classification",
        "classes": {"binary": ["a", "b"], "multiclass": ["a", "b", "c"], "regression": None}[kind],
        "features": [
            {"name": f"x{number}", "kind": each} | ({"vocabulary": list("abcd")} if each == "category" else {})
            for number, each in enumerate(kinds)
        ],
    }


def table(kind: str, count: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return X and y with gaps, noise and something to learn."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(count, 4)).astype("float32")
    x[:, 3] = draw.integers(0, 6, count)
    signal = x[:, 0] + 0.5 * x[:, 1] ** 2 + np.sin(x[:, 3]) + draw.normal(0, 0.5, count)
    x[draw.random(count) < 0.1, 1] = np.nan
    if kind == "regression":
        return x, signal.astype("float64")
    cuts = np.quantile(signal, [0.5] if kind == "binary" else [0.33, 0.66])
    return x, np.searchsorted(cuts, signal).astype("float64")


def data(kind: str, count: int = 600, parts: int = 3, validation: bool = True) -> TrainingData:
    """Return training rows in several partitions, one of them empty, and validation rows."""
    x, y = table(kind, count)
    cut = count - count // 5 if validation else count
    pieces = np.array_split(np.arange(cut), parts)
    training = [Held(x[piece], y[piece]) for piece in pieces] + [Held(x[:0], y[:0])]
    return TrainingData(spec(kind), training, [Held(x[cut:], y[cut:])] if validation else [])


def options(steps: int = 12, **params: Any) -> settings.Trainer:
    """Return trainer settings."""
    return settings.Trainer(steps=steps, params={"num_threads": 1, "min_data_in_leaf": 5, **params})


def begun(kind: str, **params: Any) -> protocol.Trainer:
    """Return a trainer that has taken its data and made no step."""
    made = protocol.trainer("lightgbm")
    made.start(data(kind), options(**params))
    return made


def stepped(made: protocol.Trainer, steps: int) -> list[float]:
    """Make steps and return the loss after each."""
    losses = []
    for _ in range(steps):
        made.step()
        losses.append(made.loss())
    return losses


def elsewhere(*args: str, **environment: str) -> None:
    """Run this module with the arguments in a new process."""
    subprocess.run(
        [sys.executable, "-m", "tests.trainers.training_rows", *args],
        cwd=ROOT,
        env=os.environ | environment,
        check=True,
    )


def main(folder: Path, threads: int, work: str) -> None:
    """Train each kind to the end, or only its last steps after a saved state, and write models and losses."""
    for kind in KINDS:
        made = begun(kind, num_threads=threads)
        if work == "resume":
            made.load((folder / f"{kind}.state").read_bytes())
        losses = stepped(made, 7 if work == "resume" else 12)
        (folder / f"{kind}.{work}").write_bytes(made.finish(12))
        (folder / f"{kind}.{work}-losses").write_text(repr(losses))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
