"""Training and validation rows of a trainer, read partition by partition."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

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

    def weights(self) -> np.ndarray:
        """Return the (n,) float64 weights."""
        import numpy as np

        if self.weighting is None:
            return np.ones(len(self))
        names = [TARGET, *([self.weighting.column] if self.weighting.column else [])]
        frame = partitions.read(self.store, self.partition, names)[self.mask]
        values = frame[names[1]].to_numpy("float64") if len(names) > 1 else None
        return self.weighting.weights(frame[TARGET].to_numpy("float64"), values)


def split_rows(store: Store, dataset: Dataset, spec: FeatureSpec, options: settings.Trainer) -> TrainingData:
    """Split the rows of each partition into training and validation rows."""
    names = transform.names(spec)
    key = GROUP if "group" in spec["split"] else ID
    training: list[PartitionRows] = []
    validation: list[PartitionRows] = []
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


def _scaled(weighting: Weighting, training: list[PartitionRows]) -> Weighting:
    """Return the weighting whose mean over the training rows is 1."""
    total = sum(float(replace(rows, weighting=weighting).weights().sum()) for rows in training)
    if not 0 < total < math.inf:
        raise StageError(f"the weights of the training rows sum to {total:g}", "Fix trainer.weight")
    return replace(weighting, scale=sum(map(len, training)) / total)


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
