"""Cross-validation on the training rows: a model for each fold, which is scored on the rows of the fold.

The model of a finished fold is in the store, and an unfinished one resumes from its last checkpoint.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypedDict

from ai_workflow.datasets import fingerprint, partition_cache
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.evaluation.report import CrossValidationReport, FoldReport
from ai_workflow.stages import fold_model
from ai_workflow.stages.fold_model import FoldModel, FoldRows
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger
from ai_workflow.training import protocol
from ai_workflow.training.checkpoints import Checkpoints

if TYPE_CHECKING:
    from ai_workflow.evaluation.quality_gate import CrossValidationOptions
    from ai_workflow.evaluation.score_options import ScoreOptions
    from ai_workflow.features.spec import Calibration, FeatureSpec
    from ai_workflow.storage.file_ref import FileRecord

_NAME = "evaluate.cross_validation"
log = logger("evaluator")


class _StoredModel(TypedDict):
    """Stored model of one fold; `calibration` is None without `trainer.calibration`."""

    model: FileRecord
    calibration: Calibration | None
    steps: int
    training_rows: int


def run(
    store: Store,
    clean: Dataset,
    features: Dataset,
    spec: FeatureSpec,
    scoring: ScoreOptions,
    options: CrossValidationOptions,
) -> CrossValidationReport:
    """Return the scores of each fold, with their mean and standard deviation.

    Raises:
        StageError: a fold has no row, or its training fails.
        RunInterruptedError: a stop was requested; finished folds are saved.
    """
    folds = fold_model.divide(store, clean, features, spec, options.folds, _NAME)
    # Fold 0 of a split by time is only learned from.
    first = int(bool(spec["split"]["cutoff"]))
    code = fingerprint.code_version(__name__, *protocol.modules_of(options.trainer.kind))
    library = fingerprint.library_version(protocol.trainer(options.trainer.kind).library)
    results: list[FoldReport] = []
    for fold, rows in enumerate(folds, first):
        key = fingerprint.of("fold", code, library, clean.fingerprint, features.fingerprint, fold, options)
        trained = partition_cache.cached(store, "folds", key, partial(_train, rows, options, key))
        results.append(_report(rows, options, trained, scoring))
        log.info("fold %d of %d: %d rows scored", len(results), options.folds, results[-1]["rows"])
    return _summary(results)


def _train(rows: FoldRows, options: CrossValidationOptions, key: str, stem: str) -> _StoredModel:
    """Train a model, or resume its training, and write it to a file whose name starts with the stem."""
    trainer = options.trainer
    data, unseen = rows.data(trainer), rows.unseen(trainer)
    checkpoints = Checkpoints(rows.store, rows.spec["pipeline"], key, 1)
    model = rows.train(trainer, options.batch_size, checkpoints, data, unseen)
    model_file = protocol.trainer(trainer.kind).model_file
    return {
        "model": rows.store.write(f"{stem}-{model_file}", model.content).to_json(),
        "calibration": model.calibration,
        "steps": model.steps,
        "training_rows": sum(map(len, data.training)),
    }


def _report(
    rows: FoldRows, options: CrossValidationOptions, trained: _StoredModel, scoring: ScoreOptions
) -> FoldReport:
    """Return the scores of a stored model for the rows of the fold."""
    content = rows.store.read(trained["model"]["path"], trained["model"]["sha256"])
    model = FoldModel(content, trained["calibration"], trained["steps"])
    count, values = rows.score(options.trainer.kind, model, scoring)
    return {
        "training_rows": trained["training_rows"],
        "rows": count,
        "steps": trained["steps"],
        "scores": values,
    }


def _summary(results: list[FoldReport]) -> CrossValidationReport:
    """Return the folds with mean and standard deviation (n - 1) of each metric that every fold has."""
    import statistics

    values = {name: [fold["scores"][name] for fold in results] for name in results[0]["scores"]}
    known = {name: [value for value in each if value is not None] for name, each in values.items()}
    complete = {name: each for name, each in known.items() if len(each) == len(results)}
    return {
        "folds": results,
        "mean": {name: statistics.fmean(complete[name]) if name in complete else None for name in values},
        "deviation": {name: statistics.stdev(complete[name]) if name in complete else None for name in values},
    }
