"""Cross-validation on the training rows: a model for each fold, which is scored on the rows of the fold.

The model of a finished fold is in the store, and an unfinished one resumes from its last checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypedDict

from ai_workflow.datasets import fingerprint, partition_cache, partitions
from ai_workflow.datasets.partitions import ID, Dataset
from ai_workflow.errors import StageError
from ai_workflow.evaluation import scores
from ai_workflow.evaluation.report import CrossValidationReport, FoldReport
from ai_workflow.features import transform
from ai_workflow.features.calibration import Calibrator
from ai_workflow.stages.feature_engineering import GROUP, HOLDOUT, TARGET
from ai_workflow.stages.training_rows import PartitionRows, calibration_rows, split_rows
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger
from ai_workflow.training import calibration_fit, folds, protocol
from ai_workflow.training.checkpoints import Checkpoints
from ai_workflow.training.loop import Training

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.config.settings import Metric
    from ai_workflow.evaluation.quality_gate import CrossValidationOptions
    from ai_workflow.evaluation.score_options import ScoreOptions
    from ai_workflow.features.spec import Calibration, FeatureSpec
    from ai_workflow.storage.file_ref import FileRecord

log = logger("evaluator")


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
    is_by_time = bool(spec["split"]["cutoff"])
    numbers = _by_time(store, clean, features, spec, options) if is_by_time else _by_key(store, features, spec, options)
    # Block 0 of a split by time is only learned from.
    tested = range(is_by_time, options.folds + is_by_time)
    _check(numbers, tested)
    code = fingerprint.code_version(__name__, *protocol.modules_of(options.trainer.kind))
    library = fingerprint.library_version(protocol.trainer(options.trainer.kind).library)
    results: list[FoldReport] = []
    for fold in tested:
        key = fingerprint.of("fold", code, library, clean.fingerprint, features.fingerprint, fold, options)
        learned = [(part >= 0) & (part < fold if is_by_time else part != fold) for part in numbers]
        one = _Fold(store, features, spec, options, learned, [part == fold for part in numbers])
        trained = partition_cache.cached(store, "folds", key, partial(one.train, key))
        results.append(one.report(trained, scoring))
        log.info("fold %d of %d: %d rows scored", len(results), options.folds, results[-1]["rows"])
    return _summary(results)


def _by_key(store: Store, features: Dataset, spec: FeatureSpec, options: CrossValidationOptions) -> list[np.ndarray]:
    """Return the fold of each row by partition, -1 for rows held out: by the hash of the id or group, or by class."""
    import numpy as np

    key = GROUP if "group" in spec["split"] else ID
    hashed, labels, held_out = [], [], []
    for _, frame in partitions.frames(store, features, [key, TARGET, HOLDOUT]):
        hashed.append(folds.hashes(frame[key]))
        labels.append(frame[TARGET].to_numpy("float64"))
        held_out.append(frame[HOLDOUT].to_numpy(bool))
    rows = ~np.concatenate(held_out)
    result = np.full(len(rows), -1, dtype="int64")
    chosen = np.concatenate(hashed)[rows]
    if "class_limits" in spec["split"]:
        result[rows] = folds.by_class(chosen, np.concatenate(labels)[rows], options.folds)
    else:
        result[rows] = folds.by_hash(chosen, options.folds)
    return _by_partition(result, held_out)


def _by_time(
    store: Store, clean: Dataset, features: Dataset, spec: FeatureSpec, options: CrossValidationOptions
) -> list[np.ndarray]:
    """Return the block of time of each row by partition, -1 for rows held out."""
    import numpy as np

    timestamp = spec["split"]["timestamp"] or ""
    held_out = [frame[HOLDOUT].to_numpy(bool) for _, frame in partitions.frames(store, features, [HOLDOUT])]
    times = [frame[timestamp].to_numpy("datetime64[us]") for _, frame in partitions.frames(store, clean, [timestamp])]
    rows = ~np.concatenate(held_out)
    result = np.full(len(rows), -1, dtype="int64")
    result[rows] = folds.by_time(np.concatenate(times)[rows], options.folds)
    return _by_partition(result, held_out)


def _by_partition(result: np.ndarray, parts: list[np.ndarray]) -> list[np.ndarray]:
    import numpy as np

    return np.split(result, np.cumsum([len(part) for part in parts])[:-1])


def _check(numbers: list[np.ndarray], tested: range) -> None:
    """Raise StageError if a fold has no row to score, or none to learn from."""
    import numpy as np

    counts = np.bincount(np.concatenate([part[part >= 0] for part in numbers]), minlength=tested.stop)
    if not counts.all():
        raise StageError(
            f"fold {int(counts.argmin()) + 1} of evaluate.cross_validation has no row: the training rows have too few "
            "different ids, groups or times",
            "Lower evaluate.cross_validation.folds, or add rows to the source",
        )


class _FoldModel(TypedDict):
    """Model of one fold; `calibration` is None without `trainer.calibration`."""

    model: FileRecord
    calibration: Calibration | None
    steps: int
    training_rows: int


@dataclass(frozen=True)
class _Fold:
    """One fold: (n,) bool of each partition for the rows to learn from and for those to score."""

    store: Store
    features: Dataset
    spec: FeatureSpec
    options: CrossValidationOptions
    learned: list[np.ndarray]
    scored: list[np.ndarray]

    def train(self, key: str, stem: str) -> _FoldModel:
        """Train a model, or resume its training, and write it to a file whose name starts with the stem."""
        store, spec, options = self.store, self.spec, self.options.trainer
        data = split_rows(store, self.features, spec, options, self.learned)
        unseen = calibration_rows(store, self.features, spec, options, self.learned)
        trainer = protocol.trainer(options.kind)
        checkpoints = Checkpoints(store, spec["pipeline"], key, 1)
        with checkpoints.locked():
            trainer.start(data, options, self.options.batch_size or 128)
            state = Training(trainer, options, checkpoints, options.checkpoint).run()
            steps = state.best_step if options.early_stopping else state.step
            content = trainer.finish(steps)
        method = options.calibration.method if options.calibration else None
        return {
            "model": store.write(f"{stem}-{trainer.model_file}", content).to_json(),
            "calibration": (
                calibration_fit.of_model(method, protocol.load(options.kind, content), unseen) if method else None
            ),
            "steps": steps,
            "training_rows": sum(map(len, data.training)),
        }

    def report(self, trained: _FoldModel, scoring: ScoreOptions) -> FoldReport:
        """Return the scores of a trained model for the rows of the fold."""
        import numpy as np

        spec, classes = self.spec, self.spec["classes"]
        model = self.store.read(trained["model"]["path"], trained["model"]["sha256"])
        predict = protocol.load(self.options.trainer.kind, model)
        labels: list[np.ndarray] = []
        outputs: list[np.ndarray] = []
        for part, mask in zip(self.features.partitions, self.scored, strict=True):
            if mask.any():
                x, y = PartitionRows(self.store, part, transform.names(spec), mask).read()
                labels.append(y)
                outputs.append(predict(x))
        predictions = np.concatenate(outputs)
        if trained["calibration"] and classes:
            predictions = Calibrator(trained["calibration"], len(classes)).apply(predictions)
        if not np.isfinite(predictions).all():
            raise StageError(
                "predictions for the rows of a fold of evaluate.cross_validation are not finite",
                "Lower the learning rate in trainer.params, or scale the target and the columns down",
            )
        result = scores.compute(np.concatenate(labels), predictions, spec, scoring)
        values: dict[Metric, float | None] = {
            scores.key(name): value  # type: ignore[misc]
            for name, value in result.items()
            if name not in ("per_class", "confusion")
        }
        counts = {"training_rows": trained["training_rows"], "rows": len(predictions), "steps": trained["steps"]}
        return {**counts, "scores": values}  # type: ignore[typeddict-item]


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
