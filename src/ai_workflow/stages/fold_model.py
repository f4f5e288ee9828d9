"""Folds of the training rows, and a model of each: for a cross-validation, and for the trials of a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ai_workflow.datasets import partitions
from ai_workflow.datasets.partitions import ID, Dataset
from ai_workflow.errors import StageError
from ai_workflow.evaluation import scores
from ai_workflow.features import transform
from ai_workflow.features.calibration import Calibrator
from ai_workflow.stages.feature_engineering import GROUP, HOLDOUT, TARGET
from ai_workflow.stages.training_rows import PartitionRows, calibration_rows, split_rows
from ai_workflow.storage.store import Store
from ai_workflow.training import calibration_fit, folds, protocol
from ai_workflow.training.checkpoints import Checkpoints
from ai_workflow.training.loop import Training

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.config import settings
    from ai_workflow.config.settings import Metric
    from ai_workflow.evaluation.score_options import ScoreOptions
    from ai_workflow.features.spec import Calibration, FeatureSpec
    from ai_workflow.training.protocol import TrainingData


class NonFinitePredictionsError(StageError):
    """A model predicts infinite values or NaN."""


@dataclass(frozen=True)
class FoldModel:
    """A trained model; `calibration` is None without `trainer.calibration`."""

    content: bytes
    calibration: Calibration | None
    steps: int


@dataclass(frozen=True)
class FoldRows:
    """Rows of one fold: (n,) bool of each partition for the rows to learn from and for those to score.

    `name` has the setting that the fold belongs to, for errors.
    """

    store: Store
    features: Dataset
    spec: FeatureSpec
    learned: list[np.ndarray]
    scored: list[np.ndarray]
    name: str

    def data(self, options: settings.Trainer) -> TrainingData:
        """Return the rows to learn from, split for early stopping."""
        return split_rows(self.store, self.features, self.spec, options, self.learned)

    def unseen(self, options: settings.Trainer) -> list[PartitionRows]:
        """Return the rows that a calibration is fitted on."""
        return calibration_rows(self.store, self.features, self.spec, options, self.learned)

    def train(
        self,
        options: settings.Trainer,
        batch_size: int | None,
        checkpoints: Checkpoints,
        data: TrainingData,
        unseen: list[PartitionRows],
    ) -> FoldModel:
        """Train a model, or resume its training."""
        trainer = protocol.trainer(options.kind)
        with checkpoints.locked():
            trainer.start(data, options, batch_size or 128)
            state = Training(trainer, options, checkpoints, options.checkpoint).run()
            steps = state.best_step if options.early_stopping else state.step
            content = trainer.finish(steps)
        method = options.calibration.method if options.calibration else None
        calibration = calibration_fit.of_model(method, protocol.load(options.kind, content), unseen) if method else None
        return FoldModel(content, calibration, steps)

    def score(self, kind: str, model: FoldModel, scoring: ScoreOptions) -> tuple[int, dict[Metric, float | None]]:
        """Return the number of scored rows and their metrics.

        Raises:
            NonFinitePredictionsError: a prediction is not finite.
        """
        import numpy as np

        spec, classes = self.spec, self.spec["classes"]
        predict = protocol.load(kind, model.content)
        labels: list[np.ndarray] = []
        outputs: list[np.ndarray] = []
        for part, mask in zip(self.features.partitions, self.scored, strict=True):
            if mask.any():
                x, y = PartitionRows(self.store, part, transform.names(spec), mask).read()
                labels.append(y)
                outputs.append(predict(x))
        predictions = np.concatenate(outputs)
        if model.calibration and classes:
            predictions = Calibrator(model.calibration, len(classes)).apply(predictions)
        if not np.isfinite(predictions).all():
            raise NonFinitePredictionsError(
                f"predictions for the rows of a fold of {self.name} are not finite",
                "Lower the learning rate in trainer.params, or scale the target and the columns down",
            )
        result = scores.compute(np.concatenate(labels), predictions, spec, scoring)
        return len(predictions), {
            scores.key(name): value  # type: ignore[misc]
            for name, value in result.items()
            if name not in ("per_class", "confusion")
        }


def divide(store: Store, clean: Dataset, features: Dataset, spec: FeatureSpec, count: int, name: str) -> list[FoldRows]:
    """Return the folds of the training rows.

    A fold of a split by time learns from earlier rows only. Rows that are held out are in none.

    Args:
        store: has the partitions.
        clean: the clean rows.
        features: their features.
        spec: the feature spec.
        count: number of folds.
        name: the setting of the folds, for the error.

    Raises:
        StageError: a fold has no row.
    """
    is_by_time = bool(spec["split"]["cutoff"])
    numbers = _by_time(store, clean, features, spec, count) if is_by_time else _by_key(store, features, spec, count)
    # Block 0 of a split by time is only learned from.
    tested = range(is_by_time, count + is_by_time)
    _check(numbers, tested, name)
    return [
        FoldRows(
            store,
            features,
            spec,
            [(part >= 0) & (part < fold if is_by_time else part != fold) for part in numbers],
            [part == fold for part in numbers],
            name,
        )
        for fold in tested
    ]


def _by_key(store: Store, features: Dataset, spec: FeatureSpec, count: int) -> list[np.ndarray]:
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
        result[rows] = folds.by_class(chosen, np.concatenate(labels)[rows], count)
    else:
        result[rows] = folds.by_hash(chosen, count)
    return _by_partition(result, held_out)


def _by_time(store: Store, clean: Dataset, features: Dataset, spec: FeatureSpec, count: int) -> list[np.ndarray]:
    """Return the block of time of each row by partition, -1 for rows held out."""
    import numpy as np

    timestamp = spec["split"]["timestamp"] or ""
    held_out = [frame[HOLDOUT].to_numpy(bool) for _, frame in partitions.frames(store, features, [HOLDOUT])]
    times = [frame[timestamp].to_numpy("datetime64[us]") for _, frame in partitions.frames(store, clean, [timestamp])]
    rows = ~np.concatenate(held_out)
    result = np.full(len(rows), -1, dtype="int64")
    result[rows] = folds.by_time(np.concatenate(times)[rows], count)
    return _by_partition(result, held_out)


def _by_partition(result: np.ndarray, parts: list[np.ndarray]) -> list[np.ndarray]:
    import numpy as np

    return np.split(result, np.cumsum([len(part) for part in parts])[:-1])


def _check(numbers: list[np.ndarray], tested: range, name: str) -> None:
    """Raise StageError if a fold has no row to score, or none to learn from."""
    import numpy as np

    counts = np.bincount(np.concatenate([part[part >= 0] for part in numbers]), minlength=tested.stop)
    if not counts.all():
        raise StageError(
            f"fold {int(counts.argmin()) + 1} of {name} has no row: the training rows have too few "
            "different ids, groups or times",
            f"Lower {name}.folds, or add rows to the source",
        )
