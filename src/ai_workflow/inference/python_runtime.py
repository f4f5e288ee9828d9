"""A model of any family in its worker process, by the same function as in training and scoring."""

from __future__ import annotations

import mmap

from ai_workflow.inference.worker import LoadedFunctions
from ai_workflow.training import contributions, protocol


def load(kind: str, model: int, features: int) -> LoadedFunctions:
    """Return the functions of a model."""
    import numpy as np

    # The zero byte at the end of the file is not part of the model.
    model_function = protocol.load(kind, mmap.mmap(model, 0, access=mmap.ACCESS_READ)[:-1])

    def predict(rows: memoryview, count: int) -> bytes:
        x = np.frombuffer(rows, dtype="<f4").reshape(count, features)
        return np.ascontiguousarray(model_function(x), dtype="<f8").tobytes()

    function = contributions.of(model_function)

    def explain(rows: memoryview, count: int) -> bytes:
        assert function is not None
        x = np.frombuffer(rows, dtype="<f4").reshape(count, features)
        return np.ascontiguousarray(function(x), dtype="<f8").tobytes()

    sample = np.asarray(model_function(np.full((1, features), np.nan, dtype=np.float32)))
    return LoadedFunctions(predict, sample.size, explain if function else None)
