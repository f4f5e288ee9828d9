"""Worst slices of the holdout of a classification, from its feature partitions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ai_workflow.datasets import partitions
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.evaluation import slices
from ai_workflow.evaluation.slices import Slice
from ai_workflow.runtime import memory_pressure
from ai_workflow.stages.feature_engineering import HOLDOUT
from ai_workflow.storage.store import Store

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.features.spec import FeatureSpec
    from ai_workflow.training.protocol import FeatureImportance


def worst(
    store: Store, features: Dataset, spec: FeatureSpec, is_correct: np.ndarray, importance: list[FeatureImportance]
) -> list[Slice]:
    """Return the worst slices of the holdout, read in smaller batches if memory runs out.

    Args:
        store: has the partitions.
        features: the features of all rows.
        spec: the feature spec.
        is_correct: (n,) whether the prediction of each row held out is correct.
        importance: importance of the features; slices are of the most important ones.
    """
    chosen = slices.features_of(spec, [item["feature"] for item in importance])
    names = [feature["name"] for feature in chosen]

    def batches(rows_at_once: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        start = 0
        for _, frame in partitions.frames(store, features, [HOLDOUT, *names], rows_at_once):
            x = frame.loc[frame[HOLDOUT], names].to_numpy("float32")
            yield x, is_correct[start : start + len(x)]
            start += len(x)

    def compute(rows_at_once: int) -> list[Slice]:
        return slices.worst(spec, chosen, batches(rows_at_once), float(is_correct.mean()))

    return memory_pressure.with_smaller_batches(compute, features.largest, remedy=memory_pressure.HOLDOUT_REMEDY)
