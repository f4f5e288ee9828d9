"""The golden rows of a version: a few clean rows, and the answers that every copy of its model gives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ai_workflow import features
from ai_workflow.registry import Registry, Version

if TYPE_CHECKING:
    import numpy as np

# Another processor may round the last digits another way.
_TOLERANCE = 1e-5


@dataclass(frozen=True, eq=False)
class Golden:
    """Rows whose answers are known.

    Args:
        spec: the version's feature spec.
        x: float32 (n, features).
        answers: float64 (n, outputs); n may be 0.
    """

    spec: dict[str, Any]
    x: np.ndarray
    answers: np.ndarray

    def wrong(self, answers: Sequence[float] | np.ndarray) -> list[int]:
        """Return the rows that are answered in another way.

        Args:
            answers: to `x`, n x outputs numbers in any shape.

        Raises:
            ValueError: they are not so many.
        """
        import numpy as np

        found = np.asarray(answers, dtype=float).reshape(self.answers.shape)
        right = np.isclose(found, self.answers, rtol=_TOLERANCE, atol=_TOLERANCE).all(axis=1)
        return [int(row) for row in np.flatnonzero(~right)]


def read(registry: Registry, version: Version) -> Golden:
    """Return a version's golden rows.

    Raises:
        StoreError: its files are missing or damaged.
        KeyError, TypeError, ValueError: they are not what a publisher writes.
    """
    import numpy as np
    import pandas as pd

    golden, spec = (json.loads(registry.read(version, name)) for name in ("golden.json", "features.json"))
    if not golden["rows"]:
        return Golden(spec, np.empty((0, len(spec["features"])), dtype=np.float32), np.empty((0, 1)))
    rows = pd.DataFrame(golden["rows"])
    for name in features.inputs(spec):
        if spec["schema"][name]["type"] == "datetime":
            # Clean moments are in ISO 8601, whatever `format` the source has.
            rows[name] = pd.to_datetime(rows[name], format="ISO8601", utc=True)
    x = features.transform(features.as_known(rows, spec), spec)
    return Golden(spec, x, np.array(golden["answers"], dtype=float).reshape(len(x), -1))
