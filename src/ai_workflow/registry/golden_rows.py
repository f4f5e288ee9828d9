"""Golden rows of a version: a few clean rows with the predictions that every copy of its model must return."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from ai_workflow.datasets import partitions, split
from ai_workflow.datasets.partitions import Dataset, Partition
from ai_workflow.features import transform
from ai_workflow.registry.registry import Registry, Version
from ai_workflow.storage.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from ai_workflow.features.spec import FeatureSpec

Encode = Callable[["pd.DataFrame", "FeatureSpec"], "np.ndarray"]
_ROWS = 8
# Processors may differ in the rounding of the last digits.
_TOLERANCE = 1e-5


class GoldenRecord(TypedDict):
    """Content of `golden.json`: rows as a caller sends them, and (n, outputs) predictions."""

    rows: list[dict[str, Any]]
    answers: list[Any]


@dataclass(frozen=True, eq=False)
class GoldenRows:
    """Rows with their expected predictions.

    Args:
        spec: the feature spec of the version.
        x: float32 (n, features).
        answers: float64 (n, outputs); n may be 0.
    """

    spec: FeatureSpec
    x: np.ndarray
    answers: np.ndarray

    def mismatches(self, predictions: Sequence[float] | np.ndarray) -> list[int]:
        """Return the rows with a prediction that differs from the expected one.

        Args:
            predictions: n x outputs numbers for `x`, in any shape.

        Raises:
            ValueError: the number of predictions is wrong.
        """
        import numpy as np

        # Relative to the distance from the centre: the target may vary little compared to its level.
        center = self.spec.get("target_center", 0.0)
        actual = np.asarray(predictions, dtype=float).reshape(self.answers.shape) - center
        is_equal = np.isclose(actual, self.answers - center, rtol=_TOLERANCE, atol=_TOLERANCE).all(axis=1)
        return [int(row) for row in np.flatnonzero(~is_equal)]


def read(registry: Registry, version: Version, encode: Encode = transform.transform) -> GoldenRows:
    """Return the golden rows of a version.

    Args:
        registry: the registry.
        version: the version.
        encode: returns float32 (n, features) of clean rows, as the process of the model takes them.

    Raises:
        StoreError: its files are missing or damaged.
        KeyError, TypeError, ValueError: the files have another structure.
    """
    import numpy as np
    import pandas as pd

    golden, spec = (json.loads(registry.read(version, name)) for name in ("golden.json", "features.json"))
    if not golden["rows"]:
        return GoldenRows(spec, np.empty((0, len(spec["features"])), dtype=np.float32), np.empty((0, 1)))
    rows = pd.DataFrame(golden["rows"])
    for name in transform.input_columns(spec):
        if spec["schema"][name]["type"] == "datetime":
            # Clean timestamps are in ISO 8601, whatever the `format` of the source.
            rows[name] = pd.to_datetime(rows[name], format="ISO8601", utc=True)
    x = encode(transform.coerce_columns(rows, spec), spec)
    return GoldenRows(spec, x, np.array(golden["answers"], dtype=float).reshape(len(x), -1))


def choose(
    store: Store, clean: Dataset, spec: FeatureSpec, predict: Callable[[np.ndarray], np.ndarray], at_once: int
) -> GoldenRecord:
    """Return a few clean rows of the holdout as JSON, with the predictions of the model.

    They are the first of one partition, for any number of rows that are read at once.
    """
    for part in clean.partitions:
        rows = _first_held_out(store, part, spec, at_once)
        if rows is not None:
            records = rows[transform.input_columns(spec)].to_dict(orient="records")
            as_json = [{name: _to_json(value) for name, value in record.items()} for record in records]
            return {"rows": as_json, "answers": predict(transform.transform(rows, spec)).tolist()}
    return {"rows": [], "answers": []}


def _first_held_out(store: Store, part: Partition, spec: FeatureSpec, at_once: int) -> Any:
    import pandas as pd

    frames, missing = [], _ROWS
    for frame in partitions.slices(store, part, at_once):
        held_out = frame[split.is_holdout(frame, spec["split"], part.source)].head(missing)
        missing -= len(held_out)
        frames += [held_out] if len(held_out) else []
        if not missing:
            break
    return pd.concat(frames, ignore_index=True) if frames else None


def _to_json(value: Any) -> Any:
    """Return a clean value as JSON that reads back as the same value, with all digits and microseconds."""
    import pandas as pd

    if pd.isna(value):
        return None
    return value.isoformat() if isinstance(value, pd.Timestamp) else value
