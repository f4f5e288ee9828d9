"""Model families behind one protocol: a trainer makes steps, a predictor answers; one file for each family.

A new family is one file in `families/` with a class `Trainer` and a function `load`, one line in `family_modules.py`,
and its name among the kinds in the settings; docs/trainers.md shows one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, TypedDict

from ai_workflow.config import settings
from ai_workflow.runtime import memory_pressure
from ai_workflow.training.family_modules import FAMILIES, modules_of, rows_per_step

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.features.spec import FeatureSpec

__all__ = [
    "FAMILIES",
    "FeatureImportance",
    "Predict",
    "Rows",
    "Trainer",
    "TrainingData",
    "importance",
    "load",
    "modules_of",
    "rows_per_step",
    "trainer",
]
_SMALLER = f"{memory_pressure.MORE_MEMORY}, or train a smaller model: trainer.params"
# (n, features) float32 -> (n, classes) probabilities for classification, (n,) values for regression.
Predict = Callable[["np.ndarray"], "np.ndarray"]


class Rows(Protocol):
    """The rows of one partition that belong to training, or to validation; read when they are asked for."""

    def __len__(self) -> int:
        """Return how many rows there are, without reading them."""

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Return X, (n, features) float32, and y, (n,) float64: the class index or the value."""


@dataclass(frozen=True)
class TrainingData:
    """What a trainer learns from; `validation` is empty where early stopping is off."""

    spec: FeatureSpec
    training: Sequence[Rows]
    validation: Sequence[Rows]


class FeatureImportance(TypedDict):
    """Share of a feature in the gain of all splits."""

    feature: str
    share: float


class Trainer(Protocol):
    """One training, a step at a time; between two steps it can be saved, and loaded in another process.

    A family may have the attribute `adapted`, `{parameter: [default, used]}`: defaults that it fitted to few rows; and
    `memory_remedy`, what helps where memory runs out with few rows per step.
    """

    library: str
    model_file: str
    # Rows per step, which may be made fewer between two steps where memory runs short; None: a step takes all rows.
    batch_size: int | None

    def start(self, data: TrainingData, options: settings.Trainer, batch_size: int = 128) -> None:
        """Take the data, the parameters and, for a family that learns in batches, rows per step; learn nothing yet."""

    def step(self) -> bool:
        """Learn one step; False where nothing more can be learned.

        Raises:
            MemoryError: it does not fit into memory; the step is not made.
        """

    def loss(self) -> float:
        """Return the loss after the last step, lower is better; on the validation rows if there are any."""

    def save(self) -> bytes:
        """Return all that the next step depends on."""

    def load(self, state: bytes) -> None:
        """Go on from what `save` returned, after `start` with the same data and parameters."""

    def finish(self, step: int) -> bytes:
        """Return the model file as it was after `step` steps."""


def trainer(kind: str) -> Trainer:
    """Return a new trainer of a family."""
    made: Trainer = _family(kind).Trainer()
    return made


def load(kind: str, model: bytes) -> Predict:
    """Return the answering function of a model file. A damaged file can crash the process: verify it first."""
    try:
        made: Predict = _family(kind).load(model)
    except (MemoryError, OSError, ImportError) as error:
        if (found := memory_pressure.shortage(error)) is None:
            raise
        raise memory_pressure.to_memory_error(found, " while the model was loaded", _SMALLER) from error
    return made


def importance(kind: str, model: bytes, names: list[str]) -> list[FeatureImportance]:
    """Return `{"feature", "share"}` of all features, the most important first; empty where a family cannot say."""
    found = getattr(_family(kind), "importance", None)
    shares = found(model) if found else []
    ranked = sorted(zip(names, shares, strict=False), key=lambda pair: (-pair[1], pair[0]))
    return [{"feature": name, "share": round(share, 6)} for name, share in ranked]


def _family(kind: str) -> ModuleType:
    # Threads that spin while they wait for each other make a training ten times slower where other work wants the
    # same cores. OpenMP reads this once, when the library is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    return import_module(FAMILIES[kind])
