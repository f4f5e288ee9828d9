"""Small trainings of `torch_mlp`, also in a process of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from ai_workflow.config import settings
from ai_workflow.training import protocol
from ai_workflow.training.protocol import TrainingData
from tests.trainers.training_rows import KINDS, ROOT, data

STEPS, BATCH = 25, 50
# The first step, the middle and the end of an epoch of ten steps, its first after, the last but one.
STOPS = (1, 4, 10, 11, 17, 24)


def options(steps: int = STEPS, early_stopping: int = 10, **params: Any) -> settings.Trainer:
    """Return trainer settings under which all that has a state is used."""
    small = {"hidden": [16, 8], "learning_rate": 0.01, "dropout": 0.2, "schedule": "cosine"}
    return settings.Trainer(kind="torch_mlp", steps=steps, early_stopping=early_stopping, params=small | params)


def begun(
    kind: str, batch: int = BATCH, rows: TrainingData | None = None, early_stopping: int = 10, **params: Any
) -> protocol.Trainer:
    """Return a trainer that has taken its data and made no step."""
    made = protocol.trainer("torch_mlp")
    made.start(rows or data(kind), options(early_stopping=early_stopping, **params), batch)
    return made


def end(made: protocol.Trainer, steps: int, watched: list[tuple[int, float]] | None = None, first: int = 0) -> bytes:
    """Make the steps that are left, judge each, and return the model after the last one."""
    watched = watched if watched is not None else []
    for number in range(first, steps):
        made.step()
        watched.append((number + 1, made.loss()))
    return made.finish(steps)


def elsewhere(folder: Path) -> None:
    """Run `main` in a new process."""
    subprocess.run([sys.executable, "-m", "tests.trainers.small_mlps", str(folder)], cwd=ROOT, check=True)


def main(folder: Path) -> None:
    """Train each kind to the end, whole and on from each state that lies in the folder."""
    for kind in KINDS:
        (folder / f"{kind}.whole").write_bytes(end(begun(kind), STEPS))
        for stop in STOPS:
            made = begun(kind)
            made.load((folder / f"{kind}.{stop}").read_bytes())
            losses: list[tuple[int, float]] = []
            (folder / f"{kind}.{stop}.end").write_bytes(end(made, STEPS, losses, stop))
            (folder / f"{kind}.{stop}.losses").write_text(repr(losses))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
