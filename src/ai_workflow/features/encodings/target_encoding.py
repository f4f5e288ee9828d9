"""Target encoding of a category: the mean target of its training rows, shrunk towards the mean of all of them.

    (sum of the targets of a category + smoothing * prior) / (number of its rows + smoothing)

The formula is that of Micci-Barreca (2001), as in scikit-learn's `TargetEncoder`. The prior is the mean target of all
training rows; missing and unseen categories have it. A training row gets the value of the rows in the other folds, so
that its own target is not part of it. All other rows get the value of all training rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ai_workflow.datasets import hashing, parquet, partitions, split
from ai_workflow.datasets.partitions import ID, SOURCE, Dataset
from ai_workflow.errors import StageError
from ai_workflow.features import cell_reader, transform
from ai_workflow.features.encodings import group_sums
from ai_workflow.features.encodings.group_sums import GroupSums
from ai_workflow.storage.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from ai_workflow.config.settings import TargetEncoding
    from ai_workflow.features.spec import FeatureSpec

# Number of the definition of the value.
DEFINITION = "target-1"
# Each class has a column, and a mean for each category.
MAX_CLASSES = 20
# Independent of the hashes of holdout, validation and cross-validation.
_FOLD_KEY = "aiw-targetenc-01"
_ROWS_AT_ONCE = 10_000


class Encoder:
    """Target encoding of one column, fitted on the training rows.

    Args:
        item: the declaration.
        spec: the feature spec without derived features.
    """

    def __init__(self, item: TargetEncoding, spec: FeatureSpec) -> None:
        _check(item, spec)
        self.column, self.smoothing, self.folds, self.name = item.column, item.smoothing, item.folds, item.feature
        self._spec, self._classes = spec, spec["classes"]
        self._known = {value: code for code, value in enumerate(sorted(cell_reader.known(spec)[item.column]))}
        outputs = len(self._classes) if self._classes and len(self._classes) > 2 else 1
        # Group 0 has all rows, group 1 + code * folds + fold the rows of a category in a fold.
        self._sums = [GroupSums() for _ in range(outputs)]
        self._out_of_fold: dict[int, list[float]] = {}

    def columns(self) -> list[str]:
        """Return the names of the features: one, or one for each of more than two classes."""
        if len(self._sums) == 1:
            return [self.name]
        return [f"{self.name}_{name}" for name in self._classes or ()]

    def add(self, frame: pd.DataFrame) -> None:
        """Add training rows."""
        import numpy as np

        groups = self._groups(frame)
        for sums, values in zip(self._sums, self._targets(frame), strict=True):
            sums.add(np.zeros(len(frame), np.int64), values)
            sums.add(groups[groups > 0], values[groups > 0])

    def fit(self) -> dict[str, Any]:
        """Return the state of a version: the prior and the values of each category, one for each feature."""
        rows = self._sums[0].counts[0]
        self.prior = [group_sums.as_float(sums.totals[0]) / rows for sums in self._sums]
        groups: dict[int, list[int]] = {}
        for group in self._sums[0].counts:
            if group:
                groups.setdefault((group - 1) // self.folds, []).append(group)
        names = list(self._known)
        values: dict[str, list[float]] = {}
        for code in sorted(groups):
            count = sum(self._sums[0].counts[group] for group in groups[code])
            totals = [sum(sums.totals[group] for group in groups[code]) for sums in self._sums]
            values[names[code]] = self._values(count, totals)
            for group in groups[code]:
                others = [total - sums.totals[group] for total, sums in zip(totals, self._sums, strict=True)]
                self._out_of_fold[group] = self._values(count - self._sums[0].counts[group], others)
        return {"prior": self.prior, "values": values}

    def digest(self) -> str:
        """Return a digest of the values of the training rows, for a cache key."""
        import numpy as np

        groups = sorted(self._out_of_fold)
        values = [self.prior, *(self._out_of_fold[group] for group in groups)]
        digest = hashlib.sha256(repr((self.column, self.folds)).encode())
        digest.update(np.array(groups, dtype="<i8").tobytes())
        digest.update(np.array(values, dtype="<f8").tobytes())
        return digest.hexdigest()

    def of_training(self, frame: pd.DataFrame) -> np.ndarray:
        """Return float64 (n, features): the values of training rows from the rows in the other folds."""
        import numpy as np

        found, place = np.unique(self._groups(frame), return_inverse=True)
        values = np.array([self._out_of_fold.get(group, self.prior) for group in found.tolist()], dtype=np.float64)
        return values.reshape(-1, len(self._sums))[place.reshape(-1)]

    def _values(self, count: int, totals: list[int]) -> list[float]:
        if not count:
            return self.prior
        sums = [group_sums.as_float(total) for total in totals]
        return [
            (total + self.smoothing * prior) / (count + self.smoothing)
            for total, prior in zip(sums, self.prior, strict=True)
        ]

    def _groups(self, frame: pd.DataFrame) -> np.ndarray:
        import numpy as np

        codes = frame[self.column].astype(object).map(self._known).to_numpy(dtype="float64", na_value=np.nan)
        keys = split.group_keys(frame, self._spec["split"])
        folds = (hashing.of(keys, _FOLD_KEY) % np.uint64(self.folds)).astype(np.int64)
        is_known = ~np.isnan(codes)
        return np.where(is_known, 1 + np.where(is_known, codes, 0).astype(np.int64) * self.folds + folds, 0)

    def _targets(self, frame: pd.DataFrame) -> Iterator[np.ndarray]:
        """Yield the (n,) target of each feature: the number, or 1 for the rows of the class."""
        import numpy as np

        target = frame[self._spec["target"]]
        if self._classes is None:
            yield target.to_numpy(dtype=np.float64)
            return
        names = target.astype(object).to_numpy()
        for name in self._classes if len(self._classes) > 2 else self._classes[1:]:
            yield (names == name).astype(np.float64)


class TargetEncoders:
    """The target encodings of a training by the name of their feature."""

    def __init__(self, store: Store, dataset: Dataset, spec: FeatureSpec, items: Sequence[TargetEncoding]) -> None:
        self.states: dict[str, dict[str, Any]] = {}
        # Of the values of the training rows, for a cache key.
        self.digests: list[str] = []
        self._encoders = {item.feature: Encoder(item, spec) for item in items}
        self._rule = spec["split"]
        self._names = _input_columns(spec, [item.column for item in items])
        if not items:
            return
        # A partition of one file has no `__source`, which is then not read.
        names = [*self._names, *([SOURCE] if "files" in self._rule else [])]
        for part, frame in partitions.frames(store, dataset, names, _ROWS_AT_ONCE):
            training = frame[~split.is_holdout(frame, self._rule, part.source)].reset_index(drop=True)
            for encoder in self._encoders.values():
                encoder.add(training)
        self.states = {name: encoder.fit() for name, encoder in self._encoders.items()}
        self.digests = [encoder.digest() for encoder in self._encoders.values()]

    def columns(self, name: str) -> list[str]:
        """Return the names of the features of an encoding."""
        return self._encoders[name].columns()

    def replace(self, rows: pa.Table, features: Mapping[str, pa.Array], is_held_out: np.ndarray) -> dict[str, pa.Array]:
        """Return features in which the encodings of training rows are out of fold.

        Args:
            rows: n clean rows.
            features: float32 arrays (n,) by name.
            is_held_out: (n,) bool.
        """
        import numpy as np
        import pyarrow as pa

        if not self._encoders:
            return dict(features)
        frame = parquet.to_frame(rows.select([name for name in self._names if name in rows.column_names]))
        replaced = dict(features)
        for encoder in self._encoders.values():
            values = encoder.of_training(frame).astype(np.float32)
            for position, name in enumerate(encoder.columns()):
                held_out = features[name].to_numpy(zero_copy_only=False)
                replaced[name] = pa.array(np.where(is_held_out, held_out, values[:, position]), from_pandas=True)
        return replaced


def function(column: str, state: Mapping[str, Any], columns: Sequence[str]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Return the function that encodes rows by the values of all training rows.

    Args:
        column: the category column.
        state: the result of `Encoder.fit`.
        columns: the names of the features.
    """
    import numpy as np

    values = [*state["values"].values(), state["prior"]]
    table = np.array(values, dtype=np.float64)
    index = {category: code for code, category in enumerate(state["values"])}
    unknown = len(index)

    def encode(rows: pd.DataFrame) -> pd.DataFrame:
        import pandas as pd

        codes = [index.get(value, unknown) for value in rows[column].astype(object)]
        return pd.DataFrame(table[codes], columns=list(columns), index=rows.index)

    return encode


def _input_columns(spec: FeatureSpec, columns: Sequence[str]) -> list[str]:
    rule = spec["split"]
    keys = [rule["group"]] if "group" in rule else []
    return list(dict.fromkeys([*split.input_columns(rule), ID, *keys, spec["target"], *columns]))


def _check(item: TargetEncoding, spec: FeatureSpec) -> None:
    """Raise an error for a column that is no category, and for a target with too many classes."""
    label = f"features.derive target of {item.column}"
    names = transform.input_columns(spec)
    categories = [name for name in names if spec["schema"][name]["type"] == "category"]
    if item.column not in names:
        declared = spec["schema"].get(item.column)
        problem = f"{item.column} is of type text" if declared and declared["type"] == "text" else ""
        raise StageError(
            f"{label}: {problem or f'there is no column {item.column} among the features'}",
            f"Name one of {', '.join(sorted(categories)) or 'none'}, or declare its type in schema as category",
        )
    if item.column not in categories:
        raise StageError(
            f"{label}: {item.column} is of type {spec['schema'][item.column]['type']}",
            "Name a column of type category, or declare its type in schema",
        )
    if spec["classes"] and len(spec["classes"]) > MAX_CLASSES:
        raise StageError(
            f"{label}: the target has {len(spec['classes'])} classes, and each class has a feature; at most"
            f" {MAX_CLASSES} are supported",
            "Remove the encoding, or merge rare classes",
        )
