"""A model of any family in its process, by the same function that answers in training and scoring."""

from __future__ import annotations

import mmap

from ai_workflow.inference.worker import Answer
from ai_workflow.training import protocol


def load(kind: str, model: int, features: int) -> tuple[Answer, int]:
    """Return what answers (rows, features) float32, and how many numbers it gives for each row."""
    import numpy as np

    # The byte 0 that ends the file is not part of the model.
    predict = protocol.load(kind, mmap.mmap(model, 0, access=mmap.ACCESS_READ)[:-1])

    def answer(rows: memoryview, count: int) -> bytes:
        x = np.frombuffer(rows, dtype="<f4").reshape(count, features)
        return np.ascontiguousarray(predict(x), dtype="<f8").tobytes()

    first = np.asarray(predict(np.full((1, features), np.nan, dtype=np.float32)))
    return answer, first.size
