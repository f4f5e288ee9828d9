"""Training, validation and calibration rows of a trainer, read partition by partition."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, NamedTuple

from ai_workflow.config import settings
from ai_workflow.datasets import partitions, split
from ai_workflow.datasets.partitions import ID, Dataset, Partition
from ai_workflow.errors import StageError
from ai_workflow.features import transform
from ai_workflow.runtime import memory_pressure
from ai_workflow.stages.feature_engineering import GROUP, HOLDOUT, TARGET, WEIGHT
from ai_workflow.storage.store import Store
from ai_workflow.training.protocol import TrainingData
from ai_workflow.training.weighting import Weighting
from ai_workflow.training.weighting import of as weighting_of

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.features.spec import FeatureSpec


# Fewer rows of a class say too little about its probability (scikit-learn requires one in each of five folds).
_MIN_CLASS_ROWS = 5


class _Masks(NamedTuple):
    """Rows of a partition for each purpose, (n,) bool; the others are held out."""

    training: np.ndarray
    validation: np.ndarray
    calibration: np.ndarray


@dataclass(frozen=True)
class PartitionRows:
    """Rows of one feature partition, selected by a mask."""

    store: Store
    partition: Partition
    names: list[str]
    mask: np.ndarray
    weighting: Weighting | None = None

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

    def labels(self) -> np.ndarray:
        """Return y alone, (n,) float64."""
        frame = partitions.read(self.store, self.partition, [TARGET])
        labels: np.ndarray = frame[TARGET].to_numpy("float64")[self.mask]
        return labels

    def weights(self) -> np.ndarray:
        """Return the (n,) float64 weights."""
        import numpy as np

        if self.weighting is None:
            return np.ones(len(self))
        names = [TARGET, *([self.weighting.column] if self.weighting.column else [])]
        frame = partitions.read(self.store, self.partition, names)[self.mask]
        values = frame[names[1]].to_numpy("float64") if len(names) > 1 else None
        return self.weighting.weights(frame[TARGET].to_numpy("float64"), values)


def split_rows(
    store: Store,
    dataset: Dataset,
    spec: FeatureSpec,
    options: settings.Trainer,
    within: Sequence[np.ndarray] | None = None,
) -> TrainingData:
    """Split the rows of each partition into training and validation rows, of all that are not held out or `within`.

    `within` has (n,) bool of each partition.
    """
    names = transform.names(spec)
    training: list[PartitionRows] = []
    validation: list[PartitionRows] = []
    for part, masks in _all_masks(store, dataset, spec, options, within):
        if options.early_stopping:
            validation.append(PartitionRows(store, part, names, masks.validation))
        training.append(PartitionRows(store, part, names, masks.training))
    if options.early_stopping and not (sum(map(len, validation)) and sum(map(len, training))):
        raise StageError(
            "early stopping has no validation row, or leaves no training row",
            "Add rows to the source, change trainer.validation, or set trainer.early_stopping: 0",
        )
    weighting = weighting_of(options, spec, WEIGHT)
    if weighting is None:
        return TrainingData(spec, training, validation)
    scaled = _scaled(weighting, training)
    return TrainingData(
        spec,
        [replace(rows, weighting=scaled) for rows in training],
        [replace(rows, weighting=scaled) for rows in validation],
        is_weighted=True,
    )


def calibration_rows(
    store: Store,
    dataset: Dataset,
    spec: FeatureSpec,
    options: settings.Trainer,
    within: Sequence[np.ndarray] | None = None,
) -> list[PartitionRows]:
    """Return the rows that the calibration is fitted on, of each partition; none if there is no calibration.

    Raises:
        StageError: a class has too few of them.
    """
    import numpy as np

    classes = spec["classes"]
    if options.calibration is None or classes is None:
        return []
    names = transform.names(spec)
    rows = [
        PartitionRows(store, part, names, masks.calibration)
        for part, masks in _all_masks(store, dataset, spec, options, within)
    ]
    labels = np.concatenate([part.labels() for part in rows]).astype("int64")
    counts = np.bincount(labels, minlength=len(classes))
    if (counts < _MIN_CLASS_ROWS).any():
        at = int(counts.argmin())
        raise StageError(
            f"trainer.calibration has {counts[at]} rows of class {classes[at]!r} among {len(labels)}, "
            f"and needs {_MIN_CLASS_ROWS} of each class",
            "Raise trainer.calibration.fraction, add rows to the source, or remove trainer.calibration",
        )
    return rows


def _scaled(weighting: Weighting, training: list[PartitionRows]) -> Weighting:
    """Return the weighting whose mean over the training rows is 1."""
    total = sum(float(replace(rows, weighting=weighting).weights().sum()) for rows in training)
    if not 0 < total < math.inf:
        raise StageError(f"the weights of the training rows sum to {total:g}", "Fix trainer.weight")
    return replace(weighting, scale=sum(map(len, training)) / total)


def _all_masks(
    store: Store,
    dataset: Dataset,
    spec: FeatureSpec,
    options: settings.Trainer,
    within: Sequence[np.ndarray] | None,
) -> Iterator[tuple[Partition, _Masks]]:
    """Yield the masks of the rows of each partition."""
    key = GROUP if "group" in spec["split"] else ID
    for number, part in enumerate(dataset.partitions):
        masks = memory_pressure.with_smaller_batches(partial(_masks, store, part, options, key), part.rows)
        yield part, masks if within is None else _Masks(*(mask & within[number] for mask in masks))


def _masks(store: Store, part: Partition, options: settings.Trainer, key: str, rows: int) -> _Masks:
    """Return the masks of the rows of a partition.

    Rows with the same value of the column `key` are on the same side.
    """
    import numpy as np

    masks = []
    for frame in partitions.slices(store, part, rows, [key, HOLDOUT]):
        remaining = ~frame[HOLDOUT].to_numpy(bool)
        validation, calibration = np.zeros(len(frame), bool), np.zeros(len(frame), bool)
        if options.calibration:
            calibration = remaining & split.is_calibration(frame[key], options.calibration.fraction)
            remaining &= ~calibration
        if options.early_stopping:
            validation = remaining & split.is_validation(frame[key], options.validation)
        masks.append(_Masks(remaining & ~validation, validation, calibration))
    return _Masks(*map(np.concatenate, zip(*masks, strict=True)))
