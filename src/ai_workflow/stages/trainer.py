"""Training stage: fit a model step by step on the feature partitions, with early stopping and checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, TypedDict

from ai_workflow.config import settings
from ai_workflow.datasets import fingerprint, partitions, split
from ai_workflow.datasets.partitions import ID, Dataset, Partition
from ai_workflow.errors import StageError
from ai_workflow.features import transform
from ai_workflow.runtime import memory_pressure
from ai_workflow.stage_names import stage
from ai_workflow.stages.feature_engineering import GROUP, HOLDOUT, TARGET, read_spec
from ai_workflow.storage.file_ref import FileRecord
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger
from ai_workflow.training import protocol
from ai_workflow.training.checkpoints import Checkpoints
from ai_workflow.training.loop import Progress, Training
from ai_workflow.training.protocol import TrainingData

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.features.spec import FeatureSpec
    from ai_workflow.stages.feature_engineering import FeatureData

FOLDER = f"{partitions.FOLDER}/trained"
log = logger("trainer")


class RowCounts(TypedDict):
    """Rows that a model learned from, and those that early stopping evaluated."""

    training_rows: int
    validation_rows: int


class TrainedModel(RowCounts):
    """Result of `train`.

    `steps` are those of the model, `steps_run` those of the training. `resumed_from` is the step of the checkpoint.
    `losses` are pairs of step and loss. `reduced` is {quantity: [requested, used]} where memory ran short, `adapted` is
    {parameter: [default, used]} for defaults that the family adapted to few rows.
    """

    fingerprint: str
    kind: str
    model: FileRecord
    library: str
    steps: int
    steps_run: int
    resumed_from: int | None
    losses: list[tuple[int, float]]
    reduced: dict[str, list[int]]
    adapted: dict[str, list[int]]
    message: str


@dataclass(frozen=True)
class PartitionRows:
    """Rows of one feature partition, selected by a mask."""

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
def train(store: Store, featured: FeatureData, options: settings.Trainer, batch_size: int | None = 128) -> TrainedModel:
    """Train a model, or resume the training from its newest checkpoint.

    Args:
        store: has the features, the checkpoints and the model.
        featured: result of `feature_engineering`.
        options: settings of the trainer.
        batch_size: rows per step; it has no effect on a family without batches.

    Raises:
        StageError: the loss is not finite, a parameter is rejected, no row is left, or another process trains the
            same model.
        RunInterruptedError: a stop was requested; progress is saved.
    """
    trainer = protocol.trainer(options.kind)
    library = f"{trainer.library} {fingerprint.library_version(trainer.library)}"
    batch_size = batch_size or 128
    key = _key(featured, options, batch_size, library)
    spec = read_spec(store, featured)
    checkpoints = Checkpoints(store, spec["pipeline"], key, options.checkpoint.keep)
    with checkpoints.locked():
        features = Dataset.load(store, featured)
        data = split_rows(store, features, spec, options)
        _warn_of_unused(options)
        trainer.start(data, options, batch_size)
        training = Training(trainer, options, checkpoints, options.checkpoint)
        state = training.run()
        steps = state.best_step if options.early_stopping else state.step
        data_of_model = trainer.finish(steps)
        protocol.check_model(options.kind, data_of_model, spec)
        model = store.write(f"{FOLDER}/{key}/{trainer.model_file}", data_of_model)
    message = _message(state, steps)
    log.info(message)
    return {
        "fingerprint": fingerprint.of(model.sha256, options.kind),
        "kind": options.kind,
        "model": model.to_json(),
        "library": library,
        "steps": steps,
        "steps_run": state.step,
        "resumed_from": training.resumed_from,
        "losses": state.losses,
        **_row_counts(data),
        "reduced": _reduced(features, batch_size, state.batch_size),
        "adapted": getattr(trainer, "adapted", {}),
        "message": message,
    }


def _key(featured: FeatureData, options: settings.Trainer, batch_size: int, library: str) -> str:
    """Return the fingerprint of everything that the model depends on."""
    code = fingerprint.code_version(__name__, *protocol.modules_of(options.kind))
    return fingerprint.of("model", featured, options, protocol.rows_per_step(options.kind, batch_size), code, library)


def _message(state: Progress, steps: int) -> str:
    loss = state.losses[-1][1] if steps == state.step else state.best_loss
    return f"model trained, {steps} steps, loss {loss:.4f}"


def _warn_of_unused(options: settings.Trainer) -> None:
    if "validation" in options.model_fields_set and not options.early_stopping:
        log.warning("trainer.validation has no effect without trainer.early_stopping: no row is set aside")


def _row_counts(data: TrainingData) -> RowCounts:
    return {"training_rows": sum(map(len, data.training)), "validation_rows": sum(map(len, data.validation))}


def _reduced(features: Dataset, batch_size: int, used: int | None) -> dict[str, list[int]]:
    """Return the quantities that were reduced because memory ran short, as [requested, used]."""
    sizes = {
        "rows of a partition": features.info.get(partitions.REDUCED),
        "rows per step": [batch_size, used or batch_size],
    }
    return {quantity: pair for quantity, pair in sizes.items() if pair and pair[0] != pair[1]}


def split_rows(store: Store, dataset: Dataset, spec: FeatureSpec, options: settings.Trainer) -> TrainingData:
    """Split the rows of each partition into training and validation rows."""
    names = transform.names(spec)
    key = GROUP if "group" in spec["split"] else ID
    training = []
    validation = []
    for part in dataset.partitions:
        train_mask, validation_mask = memory_pressure.with_smaller_batches(
            partial(_masks, store, part, options, key), part.rows
        )
        if options.early_stopping:
            validation.append(PartitionRows(store, part, names, validation_mask))
        training.append(PartitionRows(store, part, names, train_mask))
    if options.early_stopping and not (sum(map(len, validation)) and sum(map(len, training))):
        raise StageError(
            "early stopping has no validation row, or leaves no training row",
            "Add rows to the source, change trainer.validation, or set trainer.early_stopping: 0",
        )
    return TrainingData(spec, training, validation)


def _masks(
    store: Store, part: Partition, options: settings.Trainer, key: str, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the masks of the training rows and of the validation rows of a partition.

    Rows with the same value of the column `key` are on the same side.
    """
    import numpy as np

    training = []
    validation = []
    for frame in partitions.slices(store, part, rows, [key, HOLDOUT]):
        not_held_out = ~frame[HOLDOUT].to_numpy(bool)
        mask = np.zeros(len(frame), bool)
        if options.early_stopping:
            mask = not_held_out & np.asarray(split.is_validation(frame[key], options.validation))
        training.append(not_held_out & ~mask)
        validation.append(mask)
    return np.concatenate(training), np.concatenate(validation)
