"""Protocol of a model family: a trainer and a function that loads a model file for prediction.

A family is a module with a class that has the methods of `Trainer`, and a function `load`. Families of this package are
in `families/`; those of a team are named by dotted path or entry point (docs/own-code.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from ai_workflow.config import settings
from ai_workflow.errors import StageError
from ai_workflow.runtime import memory_pressure
from ai_workflow.training.family_modules import FAMILIES, modules_of, own_path, rows_per_step
from ai_workflow.training.own_family import OwnFamily

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
    "check",
    "check_model",
    "check_options",
    "declared_parameters",
    "importance",
    "load",
    "modules_of",
    "rows_per_step",
    "trainer",
]
_MEMORY_REMEDY = f"{memory_pressure.MORE_MEMORY}, or train a smaller model: trainer.params"
# (n, features) float32 -> (n, classes) probabilities for classification, (n,) values for regression.
Predict = Callable[["np.ndarray"], "np.ndarray"]


class Rows(Protocol):
    """Training rows or validation rows of one partition; `read` reads them from the store."""

    def __len__(self) -> int:
        """Return the number of rows, without reading them."""

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Return X, (n, features) float32, and y, (n,) float64: the class index or the value."""

    def weights(self) -> np.ndarray:
        """Return the (n,) float64 weights, whose mean over the training rows is 1; all 1 if there are no weights."""


@dataclass(frozen=True)
class TrainingData:
    """Data of a training; `validation` is empty if early stopping is off.

    `is_weighted` is whether rows have weights (trainer.weight, trainer.class_weights).
    """

    spec: FeatureSpec
    training: Sequence[Rows]
    validation: Sequence[Rows]
    is_weighted: bool = False


class FeatureImportance(TypedDict):
    """Share of a feature in the gain of all splits."""

    feature: str
    share: float


class Trainer(Protocol):
    """One training, step by step; between two steps it can be saved, and loaded in another process.

    A family may have the attribute `adapted`, `{parameter: [default, used]}`, for defaults that it adapted to few rows,
    and `memory_remedy`, the remedy in the error if memory runs out at the smallest batch size. A family that uses
    `Rows.weights` has `uses_weights = True`; others refuse a training with weights. `losses` has the
    kinds of `options.loss` that it minimizes; others are refused.
    """

    library: str
    model_file: str
    # Rows per step, which may be lowered between two steps if memory runs short; None: a step uses all rows.
    batch_size: int | None

    def start(self, data: TrainingData, options: settings.Trainer, batch_size: int = 128) -> None:
        """Prepare the training; `batch_size` is the rows per step of a family that learns in batches."""

    def step(self) -> bool:
        """Run one step, and return False if no further step can improve the model.

        Raises:
            MemoryError: the step does not fit into memory, and was not made.
        """

    def loss(self) -> float:
        """Return the loss after the last step (lower is better), of the validation rows if there are any."""

    def save(self) -> bytes:
        """Return everything that the next step depends on."""

    def load(self, state: bytes) -> None:
        """Restore a saved state, after `start` with the same data and parameters."""

    def finish(self, step: int) -> bytes:
        """Return the model file after `step` steps."""


def check(kind: str) -> tuple[str, ...]:
    """Return the modules of a model family, after the check of own code, which is imported for it.

    Raises:
        StageError: own code is not found, fails, or is no trainer.
    """
    if own_path(kind):
        _family(kind)
    return modules_of(kind)


def trainer(kind: str) -> Trainer:
    """Return a new trainer of a family."""
    family = _family(kind)
    new: Trainer = family.new_trainer() if isinstance(family, OwnFamily) else family.Trainer()
    return new


def declared_parameters(kind: str) -> tuple[str, ...] | None:
    """Return the attribute `parameters` of own code; None if there is none, or the family is of this package."""
    family = _family(kind) if own_path(kind) else None
    return family.parameters if isinstance(family, OwnFamily) else None


def check_options(trainer: Trainer, data: TrainingData, options: settings.Trainer) -> None:
    """Raise StageError if a family does not use the weights or the loss of the settings."""
    if data.is_weighted and not getattr(trainer, "uses_weights", False):
        raise StageError(
            f"trainer.kind {options.kind} does not use the weights of rows",
            "Remove trainer.weight and trainer.class_weights, or use `rows.weights()` in the trainer and set "
            "uses_weights = True",
        )
    if options.loss and options.loss.kind not in getattr(trainer, "losses", ()):
        raise StageError(
            f"trainer.kind {options.kind} does not minimize trainer.loss {options.loss.kind}",
            "Remove trainer.loss, or use `options.loss` in the trainer and name the kinds in its attribute losses",
        )


def check_model(kind: str, model: bytes, spec: FeatureSpec) -> None:
    """Raise StageError if a model of own code cannot be loaded, or predicts another shape than the task requires."""
    if isinstance(family := _family(kind), OwnFamily):
        family.check_model(model, len(spec["features"]), len(spec["classes"]) if spec["classes"] else None)


def load(kind: str, model: bytes) -> Predict:
    """Return the predict function of a model file. Verify the file first: a damaged one can crash the process."""
    try:
        predict: Predict = _family(kind).load(model)
    except (MemoryError, OSError, ImportError) as error:
        if (shortage := memory_pressure.shortage(error)) is None:
            raise
        raise memory_pressure.to_memory_error(shortage, " while the model was loaded", _MEMORY_REMEDY) from error
    return predict


def importance(kind: str, model: bytes, names: list[str]) -> list[FeatureImportance]:
    """Return the importance of all features, the largest first; empty if the family has no `importance`."""
    family_importance = getattr(_family(kind), "importance", None)
    shares = family_importance(model) if family_importance else []
    ranked = sorted(zip(names, shares, strict=False), key=lambda pair: (-pair[1], pair[0]))
    return [{"feature": name, "share": round(share, 6)} for name, share in ranked]


def _family(kind: str) -> Any:
    """Return the module of a family of this package, or the `OwnFamily` of own code."""
    # Threads that spin while they wait make a training ten times slower if other processes use the same cores.
    # OpenMP reads this variable once, when the library is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if path := own_path(kind):
        return OwnFamily(path)
    if kind not in FAMILIES:
        raise StageError(f"there is no model family {kind}", "Install the package whose entry point has this name")
    return import_module(FAMILIES[kind])
