"""Cross-validation on the training rows: a model for each fold, which is scored on the rows of the fold.

The scores of a finished fold are in the store, and an unfinished one resumes from its last checkpoint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    from ai_workflow.evaluation.scores import ScoreOptions
    from ai_workflow.features.spec import FeatureSpec

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
        key = fingerprint.of(
            "fold", code, library, clean.fingerprint, features.fingerprint, fold, options, scoring, scoring.record(spec)
        )
        learned = [(part >= 0) & (part < fold if is_by_time else part != fold) for part in numbers]
        run_fold = _Fold(store, features, spec, scoring, options, learned, [part == fold for part in numbers], key)
        results.append(partition_cache.cached(store, "folds", key, run_fold.report))
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


class _Fold:
    """Training and scores of one fold."""

    def __init__(
        self,
        store: Store,
        features: Dataset,
        spec: FeatureSpec,
        scoring: ScoreOptions,
        options: CrossValidationOptions,
        learned: list[np.ndarray],
        scored: list[np.ndarray],
        key: str,
    ) -> None:
        self._store, self._features, self._spec, self._scoring = store, features, spec, scoring
        self._options, self._learned, self._scored, self._key = options, learned, scored, key

    def report(self, _: str) -> FoldReport:
        """Train on the other rows, and return the scores of the rows of the fold."""
        import numpy as np

        options, store, spec = self._options.trainer, self._store, self._spec
        data = split_rows(store, self._features, spec, options, self._learned)
        unseen = calibration_rows(store, self._features, spec, options, self._learned)
        trainer = protocol.trainer(options.kind)
        checkpoints = Checkpoints(store, spec["pipeline"], self._key, 1)
        with checkpoints.locked():
            trainer.start(data, options, self._options.batch_size or 128)
            state = Training(trainer, options, checkpoints, options.checkpoint).run()
            steps = state.best_step if options.early_stopping else state.step
            predict = protocol.load(options.kind, trainer.finish(steps))
        rows = [
            PartitionRows(store, part, transform.names(spec), mask)
            for part, mask in zip(self._features.partitions, self._scored, strict=True)
            if mask.any()
        ]
        pieces = [part.read() for part in rows]
        predictions = np.concatenate([predict(x) for x, _ in pieces])
        if options.calibration and spec["classes"]:
            fitted = calibration_fit.of_model(options.calibration.method, predict, unseen)
            predictions = Calibrator(fitted, len(spec["classes"])).apply(predictions)
        result = scores.compute(np.concatenate([y for _, y in pieces]), predictions, spec, self._scoring)
        values: dict[Metric, float | None] = {
            scores.key(name): value  # type: ignore[misc]
            for name, value in result.items()
            if name not in ("per_class", "confusion")
        }
        return {
            "training_rows": sum(map(len, data.training)),
            "rows": len(predictions),
            "steps": steps,
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
