"""Training stage: fit a model step by step on the feature partitions, with early stopping and checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from ai_workflow.config import settings
from ai_workflow.datasets import fingerprint, partitions
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.errors import StageError
from ai_workflow.stage_names import stage
from ai_workflow.stages.feature_engineering import read_spec
from ai_workflow.stages.training_rows import PartitionRows, calibration_rows, split_rows
from ai_workflow.storage.file_ref import FileRecord
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger
from ai_workflow.training import calibration_fit, protocol
from ai_workflow.training.checkpoints import Checkpoints
from ai_workflow.training.loop import Progress, Training

if TYPE_CHECKING:
    from ai_workflow.features.spec import Calibration
    from ai_workflow.stages.feature_engineering import FeatureData
    from ai_workflow.training.protocol import TrainingData

FOLDER = f"{partitions.FOLDER}/trained"
_NO_HYPERPARAMETERS = {"kind", "checkpoint", "batch_size", "calibration"}
log = logger("trainer")


class RowCounts(TypedDict):
    """Rows that a model learned from, those that early stopping evaluated, and those of the calibration."""

    training_rows: int
    validation_rows: int
    calibration_rows: int


class TrainedModel(RowCounts):
    """Result of `train`.

    `hyperparameters` are settings of the trainer. `steps` are those of the model, `steps_run` those of the training.
    `resumed_from` is the step of the checkpoint. `losses` are pairs of step and loss. `reduced` is
    {quantity: [requested, used]} where memory ran short, `adapted` is {parameter: [default, used]} for defaults that
    the family adapted to few rows. `calibration` is None without `trainer.calibration`.
    """

    fingerprint: str
    kind: str
    model: FileRecord
    calibration: Calibration | None
    library: str
    steps: int
    steps_run: int
    resumed_from: int | None
    hyperparameters: dict[str, Any]
    losses: list[tuple[int, float]]
    reduced: dict[str, list[int]]
    adapted: dict[str, list[int]]
    message: str


@stage("trainer")
def train(store: Store, featured: FeatureData, options: settings.Trainer, batch_size: int | None = 128) -> TrainedModel:
    """Train a model, or resume the training from its newest checkpoint.

    Args:
        store: has the features, the checkpoints and the model.
        featured: result of `feature_engineering`.
        options: settings of the trainer.
        batch_size: rows per step; it has no effect on a family without batches.

    Raises:
        StageError: the loss is not finite, a parameter is rejected, no row is left, a class has too few rows for the
            calibration, or another process trains the same model.
        RunInterruptedError: a stop was requested; progress is saved.
    """
    if options.search:
        raise StageError(
            "the stage trainer got trainer.search, which the stage parameter_search resolves",
            "Call parameter_search.search first, and pass its parameters, as flows/training.py does",
        )
    trainer = protocol.trainer(options.kind)
    library = f"{trainer.library} {fingerprint.library_version(trainer.library)}"
    batch_size = batch_size or 128
    key = _key(featured, options, batch_size, library)
    spec = read_spec(store, featured)
    checkpoints = Checkpoints(store, spec["pipeline"], key, options.checkpoint.keep)
    with checkpoints.locked():
        features = Dataset.load(store, featured)
        data = split_rows(store, features, spec, options)
        unseen = calibration_rows(store, features, spec, options)
        _warn_of_unused(options)
        protocol.check_options(trainer, data, options)
        trainer.start(data, options, batch_size)
        training = Training(trainer, options, checkpoints, options.checkpoint)
        state = training.run()
        steps = state.best_step if options.early_stopping else state.step
        content = trainer.finish(steps)
        protocol.check_model(options.kind, content, spec)
        model = store.write(f"{FOLDER}/{key}/{trainer.model_file}", content)
        calibration = _calibration(options, content, unseen)
    message = _message(state, steps)
    log.info(message)
    return {
        "fingerprint": fingerprint.of(model.sha256, options.kind, *([calibration] if calibration else [])),
        "kind": options.kind,
        "model": model.to_json(),
        "calibration": calibration,
        "library": library,
        "steps": steps,
        "steps_run": state.step,
        "resumed_from": training.resumed_from,
        "hyperparameters": _hyperparameters(options, batch_size),
        "losses": state.losses,
        **_row_counts(data, unseen),
        "reduced": _reduced(features, batch_size, state.batch_size),
        "adapted": getattr(trainer, "adapted", {}),
        "message": message,
    }


def _calibration(options: settings.Trainer, model: bytes, unseen: list[PartitionRows]) -> Calibration | None:
    if options.calibration is None:
        return None
    return calibration_fit.of_model(options.calibration.method, protocol.load(options.kind, model), unseen)


def _key(featured: FeatureData, options: settings.Trainer, batch_size: int, library: str) -> str:
    """Return the fingerprint of everything that the model depends on, which the calibration method is not."""
    code = fingerprint.code_version(__name__, *protocol.modules_of(options.kind))
    learned = options.model_copy(update={"calibration": None})
    set_aside = [options.calibration.fraction] if options.calibration else []
    rows = protocol.rows_per_step(options.kind, batch_size)
    return fingerprint.of("model", featured, learned, rows, code, library, *set_aside)


def _hyperparameters(options: settings.Trainer, batch_size: int) -> dict[str, Any]:
    """Return the settings that the model depends on and that differ from their defaults, and steps and seed."""
    given = options.used().model_dump(mode="json", exclude=_NO_HYPERPARAMETERS, exclude_defaults=True)
    rows = protocol.rows_per_step(options.kind, batch_size)
    return {"steps": options.steps, "seed": options.seed} | given | ({"batch_size": rows} if rows else {})


def _message(state: Progress, steps: int) -> str:
    loss = state.losses[-1][1] if steps == state.step else state.best_loss
    return f"model trained, {steps} steps, loss {loss:.4f}"


def _warn_of_unused(options: settings.Trainer) -> None:
    if "validation" in options.model_fields_set and not options.early_stopping:
        log.warning("trainer.validation has no effect without trainer.early_stopping: no row is set aside")


def _row_counts(data: TrainingData, unseen: list[PartitionRows]) -> RowCounts:
    return {
        "training_rows": sum(map(len, data.training)),
        "validation_rows": sum(map(len, data.validation)),
        "calibration_rows": sum(map(len, unseen)),
    }


def _reduced(features: Dataset, batch_size: int, used: int | None) -> dict[str, list[int]]:
    """Return the quantities that were reduced because memory ran short, as [requested, used]."""
    sizes = {
        "rows of a partition": features.info.get(partitions.REDUCED),
        "rows per step": [batch_size, used or batch_size],
    }
    return {quantity: pair for quantity, pair in sizes.items() if pair and pair[0] != pair[1]}
