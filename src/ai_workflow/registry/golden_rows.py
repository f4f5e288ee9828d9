"""The golden rows of a version: a few clean rows, and the answers that every copy of its model gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ai_workflow.datasets import partitions, split
from ai_workflow.datasets.partitions import Dataset, Partition
from ai_workflow.features import transform
from ai_workflow.registry.registry import Registry, Version
from ai_workflow.storage.store import Store

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.features.spec import FeatureSpec

_ROWS = 8
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

    spec: FeatureSpec
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
    for name in transform.input_columns(spec):
        if spec["schema"][name]["type"] == "datetime":
            # Clean moments are in ISO 8601, whatever `format` the source has.
            rows[name] = pd.to_datetime(rows[name], format="ISO8601", utc=True)
    x = transform.transform(transform.coerce_columns(rows, spec), spec)
    return Golden(spec, x, np.array(golden["answers"], dtype=float).reshape(len(x), -1))


def choose(
    store: Store, clean: Dataset, spec: FeatureSpec, predict: Callable[[np.ndarray], np.ndarray], at_once: int
) -> dict[str, Any]:
    """Return a few clean rows of the holdout as JSON, with the answers that every copy of the model must give.

    They are the first of one partition, however many rows are read at once.
    """
    for part in clean.partitions:
        held = _first_held_out(store, part, spec, at_once)
        if held is not None:
            rows = held[transform.input_columns(spec)].to_dict(orient="records")
            sent = [{name: _as_sent(value) for name, value in row.items()} for row in rows]
            return {"rows": sent, "answers": predict(transform.transform(held, spec)).tolist()}
    return {"rows": [], "answers": []}


def _first_held_out(store: Store, part: Partition, spec: FeatureSpec, at_once: int) -> Any:
    import pandas as pd

    pieces, missing = [], _ROWS
    for frame in partitions.slices(store, part, at_once):
        held = frame[split.is_holdout(frame, spec["split"])].head(missing)
        missing -= len(held)
        pieces += [held] if len(held) else []
        if not missing:
            break
    return pd.concat(pieces, ignore_index=True) if pieces else None


def _as_sent(value: Any) -> Any:
    """Return a clean value as JSON that reads back as the very same: all digits of a number, all of a moment."""
    import pandas as pd

    if pd.isna(value):
        return None
    return value.isoformat() if isinstance(value, pd.Timestamp) else value
