"""A model with feature functions in its worker process: the functions run on each request, then the model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ai_workflow.features import worker_rows
from ai_workflow.features.own_features import OwnFeatures
from ai_workflow.features.spec import FeatureSpec
from ai_workflow.inference.worker import LoadedFunctions, Predict


def load(
    kind: str, model: int, body: FeatureSpec, load_model: Callable[[str, int, int], LoadedFunctions]
) -> LoadedFunctions:
    """Return the functions of a model for rows of `worker_rows.to_worker`.

    Args:
        kind: the model family.
        model: an open file with the model.
        body: the feature spec.
        load_model: returns the functions of a model for its features.

    Raises:
        BrokenVersionError: a function is missing, or has other code than in the training.
    """
    import numpy as np

    functions, width = OwnFeatures(body), worker_rows.width(body)
    predict_features, outputs, contributions = load_model(kind, model, len(body["features"]))

    def of_features(work: Predict, rows: memoryview, count: int) -> bytes | bytearray | memoryview:
        wide = np.frombuffer(rows, dtype="<f4").reshape(count, width)
        x = bytearray(worker_rows.from_worker(wide, body, functions).tobytes())
        return work(memoryview(x), count)

    explain = partial(of_features, contributions) if contributions else None
    return LoadedFunctions(partial(of_features, predict_features), outputs, explain)
