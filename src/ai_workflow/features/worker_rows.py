"""Rows for the worker process of a model, which computes the derived features there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ai_workflow.features import transform
from ai_workflow.features.function_inputs import FunctionInputs

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from ai_workflow.features.own_features import OwnFeatures
    from ai_workflow.features.spec import FeatureSpec

# The inputs follow the features of a row; each takes the place of this many float32 features.
_SLOTS = 2


def is_used(spec: FeatureSpec) -> bool:
    """Return whether a spec has feature functions."""
    return bool(spec.get("derived"))


def width(spec: FeatureSpec) -> int:
    """Return the number of float32 that a worker gets for a row."""
    return len(spec["features"]) + (_SLOTS * len(transform.input_columns(spec)) if is_used(spec) else 0)


def to_worker(frame: pd.DataFrame, spec: FeatureSpec) -> np.ndarray:
    """Return clean rows as a worker gets them, float32 (n, width): the features, and the inputs of the functions.

    The derived features are filled in by the worker, so that no feature function runs in the calling process.
    """
    import numpy as np

    if not is_used(spec):
        return transform.transform(frame, spec)
    rows = np.full((len(frame), width(spec)), np.nan, dtype=np.float32)
    own = [position for position, feature in enumerate(spec["features"]) if not feature.get("derived")]
    rows[:, own] = transform.transform(frame, _without_derived(spec))
    inputs = FunctionInputs(spec).encode(frame)
    rows[:, len(spec["features"]) :] = inputs.view(np.float32)
    return rows


def _without_derived(spec: FeatureSpec) -> FeatureSpec:
    return {**spec, "derived": [], "features": [feature for feature in spec["features"] if not feature.get("derived")]}


def from_worker(rows: np.ndarray, spec: FeatureSpec, functions: OwnFeatures) -> np.ndarray:
    """Return the feature matrix of rows that `to_worker` made."""
    import numpy as np

    count = len(spec["features"])
    x = np.ascontiguousarray(rows[:, :count])
    values = functions.of_inputs(np.ascontiguousarray(rows[:, count:]).view(np.int64))
    for position, feature in enumerate(spec["features"]):
        if feature.get("derived"):
            x[:, position] = transform.of_values(values[feature["name"]], feature)
    return x
