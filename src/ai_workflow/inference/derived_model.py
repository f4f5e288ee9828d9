"""A model with feature functions in its worker process: the functions run on each request, then the model."""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable

from ai_workflow.features import worker_rows
from ai_workflow.features.own_features import OwnFeatures
from ai_workflow.features.spec import FeatureSpec
from ai_workflow.inference.worker import Predict


def load(
    kind: str, model: int, spec: int, load_model: Callable[[str, int, int], tuple[Predict, int]]
) -> tuple[Predict, int]:
    """Return the prediction function of a model for rows of `worker_rows.to_worker`, and its outputs per row.

    Args:
        kind: the model family.
        model: an open file with the model.
        spec: an open file with the feature spec; a zero byte follows it.
        load_model: returns the prediction function of a model for its features.

    Raises:
        BrokenVersionError: a function is missing, or has other code than in the training.
    """
    import numpy as np

    body: FeatureSpec = json.loads(mmap.mmap(spec, 0, access=mmap.ACCESS_READ)[:-1])
    functions, width = OwnFeatures(body), worker_rows.width(body)
    predict_features, outputs = load_model(kind, model, len(body["features"]))

    def predict(rows: memoryview, count: int) -> bytes | bytearray | memoryview:
        wide = np.frombuffer(rows, dtype="<f4").reshape(count, width)
        x = bytearray(worker_rows.from_worker(wide, body, functions).tobytes())
        return predict_features(memoryview(x), count)

    return predict, outputs
