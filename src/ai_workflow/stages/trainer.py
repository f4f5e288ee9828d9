"""Trains a model a step at a time on the feature partitions, and stops where the validation rows gain no more."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from ai_workflow.config import settings
from ai_workflow.datasets import fingerprint, partitions, split
from ai_workflow.datasets.partitions import ID, Dataset, Partition
from ai_workflow.errors import StageError
from ai_workflow.features import transform
from ai_workflow.runtime import memory_pressure
from ai_workflow.stage_names import stage
from ai_workflow.stages.feature_engineering import HOLDOUT, TARGET, read_spec
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger
from ai_workflow.training import protocol
from ai_workflow.training.checkpoints import Checkpoints
from ai_workflow.training.loop import Progress, Training
from ai_workflow.training.protocol import TrainingData

if TYPE_CHECKING:
    import numpy as np

FOLDER = f"{partitions.FOLDER}/trained"
log = logger("trainer")


@dataclass(frozen=True)
class PartitionRows:
    """The rows of one feature partition that a mask picks."""

    store: Store
    partition: Partition
    names: list[str]
    mask: np.ndarray

    @cached_property
    def _count(self) -> int:
        return int(self.mask.sum())

    def __len__(self) -> int:
        return self._count

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Return X, (n, features) float32, and y, (n,) float64."""
        return memory_pressure.with_smaller_batches(self._read, self.partition.rows)

    def _read(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np

        x, y = np.empty((len(self), len(self.names)), np.float32), np.empty(len(self))
        start = filled = 0
        for frame in partitions.slices(self.store, self.partition, rows, [TARGET, *self.names]):
            mask = self.mask[start : start + len(frame)]
            start, end = start + len(frame), filled + int(mask.sum())
            x[filled:end] = frame[self.names].to_numpy("float32")[mask]
            y[filled:end] = frame[TARGET].to_numpy("float64")[mask]
            filled = end
        return x, y


@stage("trainer")
def train(
    store: Store, featured: dict[str, Any], options: settings.Trainer, batch_size: int | None = 128
) -> dict[str, Any]:
    """Train, or resume from the newest checkpoint, and return a reference to the model file, its steps and its losses.

    Args:
        store: holds features, checkpoints and model.
        featured: result of `feature_engineering`.
        options: settings of the trainer.
        batch_size: rows per step; no effect for a family without batches.

    Raises:
        StageError: the loss is not finite, a parameter is refused, no row is left, or another process trains the same.
        RunInterruptedError: a stop was requested; progress is saved.
    """
    trainer = protocol.trainer(options.kind)
    library = f"{trainer.library} {fingerprint.library_version(trainer.library)}"
    batch_size = batch_size or 128
    key = _key(featured, options, batch_size, library)
    spec = read_spec(store, featured)
    checkpoints = Checkpoints(store, spec["pipeline"], key, options.checkpoint.keep)
    with checkpoints.held():
        made = Dataset.load(store, featured)
        data = split_rows(store, made, spec, options)
        _warn_of_unused(options)
        trainer.start(data, options, batch_size)
        training = Training(trainer, options, checkpoints, options.checkpoint)
        state = training.run()
        kept = state.best_step if options.early_stopping else state.step
        model = store.write(f"{FOLDER}/{key}/{trainer.model_file}", trainer.finish(kept))
    log.info(message := _message(state, kept))
    return {
        "fingerprint": fingerprint.of(model.sha256, options.kind),
        "kind": options.kind,
        "model": model.to_json(),
        "library": library,
        "steps": kept,
        "steps_run": state.step,
        "resumed_from": training.resumed_from,
        "losses": state.losses,
        **_row_counts(data),
        "reduced": _reduced(made, batch_size, state.batch_size),
        "adapted": getattr(trainer, "adapted", {}),
        "message": message,
    }


def _key(featured: dict[str, Any], options: settings.Trainer, batch_size: int, library: str) -> str:
    """Return the fingerprint of all that decides on the model."""
    code = fingerprint.code_version(__name__, *protocol.modules_of(options.kind))
    return fingerprint.of("model", featured, options, protocol.rows_per_step(options.kind, batch_size), code, library)


def _message(state: Progress, kept: int) -> str:
    loss = state.losses[-1][1] if kept == state.step else state.best_loss
    return f"model trained, {kept} steps, loss {loss:.4f}"


def _warn_of_unused(options: settings.Trainer) -> None:
    if "validation" in options.model_fields_set and not options.early_stopping:
        log.warning("trainer.validation has no effect without trainer.early_stopping: no row is set aside")


def _row_counts(data: TrainingData) -> dict[str, int]:
    return {"training_rows": sum(map(len, data.training)), "validation_rows": sum(map(len, data.validation))}


def _reduced(made: Dataset, asked: int, used: int | None) -> dict[str, list[int]]:
    """Return what became smaller as memory ran short, on the way to this model: [asked for, used]."""
    found = {"rows of a partition": made.info.get(partitions.REDUCED), "rows per step": [asked, used or asked]}
    return {what: sizes for what, sizes in found.items() if sizes and sizes[0] != sizes[1]}


def split_rows(store: Store, dataset: Dataset, spec: dict[str, Any], options: settings.Trainer) -> TrainingData:
    """Return which rows of each partition are for training and which for validation."""
    names = transform.names(spec)
    training, validation = [], []
    for part in dataset.partitions:
        learn, watched = memory_pressure.with_smaller_batches(partial(_masks, store, part, options), part.rows)
        if options.early_stopping:
            validation.append(PartitionRows(store, part, names, watched))
        training.append(PartitionRows(store, part, names, learn))
    if options.early_stopping and not (sum(map(len, validation)) and sum(map(len, training))):
        raise StageError(
            "early stopping has no row to watch, or leaves none to learn from",
            "Give more rows, change trainer.validation, or set trainer.early_stopping: 0",
        )
    return TrainingData(spec, training, validation)


def _masks(store: Store, part: Partition, options: settings.Trainer, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows of a partition are for training, and which for validation."""
    import numpy as np

    learn, watched = [], []
    for frame in partitions.slices(store, part, rows, [ID, HOLDOUT]):
        known = ~frame[HOLDOUT].to_numpy(bool)
        watch = np.zeros(len(frame), bool)
        if options.early_stopping:
            watch = known & np.asarray(split.is_validation(frame[ID], options.validation))
        learn.append(known & ~watch)
        watched.append(watch)
    return np.concatenate(learn), np.concatenate(watched)
