"""Binned rows of LightGBM, built from partitions without a copy of all raw rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np

from ai_workflow.errors import StageError
from ai_workflow.runtime import memory_pressure
from ai_workflow.training.families.lightgbm_errors import translated_memory_errors
from ai_workflow.training.families.lightgbm_params import Params

if TYPE_CHECKING:
    from ai_workflow.features.spec import FeatureSpec
    from ai_workflow.training.protocol import Rows

LESS_DATA = "fewer rows or columns, or lower trainer.params.max_bin"
# Rows per call of LightGBM's binning, as float64.
_BINNING_ROWS = 65_536


class _Dataset(lightgbm.Dataset):
    """A dataset with all parameters; LightGBM's own drops tree parameters that its binning reads."""

    def get_params(self) -> Params:
        """Return the parameters of the binning."""
        return dict(self.params or {})


class _Batches(lightgbm.Sequence):
    """Rows of one partition as a LightGBM sequence; the last partition stays in memory."""

    def __init__(self, rows: Rows, last: dict[str, Any], batch_size: int) -> None:
        self._rows = rows
        self._last = last
        self.batch_size = batch_size

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> np.ndarray:
        if self._last.get("rows") is not self._rows:
            self._last.update(rows=self._rows, x=self._rows.read()[0])
        x: np.ndarray = self._last["x"]
        return np.asarray(x[index], dtype=np.float64)


def check_splits(dataset: lightgbm.Dataset, spec: FeatureSpec, rows: int) -> None:
    """Raise StageError if no feature can be split; LightGBM's own check names a C++ location only."""
    if any(dataset.feature_num_bin(index) for index in range(len(spec["features"]))):
        return
    raise StageError(
        f"no feature of {len(spec['features'])} can be split in {rows} training rows: each has one value, "
        "or too few rows with another one",
        "Give columns that vary or more rows, or lower trainer.params.min_data_in_leaf and min_data_in_bin",
    )


def build(
    parts: Sequence[Rows],
    spec: FeatureSpec,
    params: Params,
    center: float,
    reference: lightgbm.Dataset | None = None,
    *,
    is_weighted: bool = False,
) -> lightgbm.Dataset:
    """Bin rows partition by partition, in smaller batches if memory is short.

    Args:
        parts: partitions; empty ones are skipped.
        spec: kinds of the features.
        params: parameters of LightGBM.
        center: number that is subtracted from each target.
        reference: dataset whose bins are used.
        is_weighted: whether the rows have weights.
    """
    filled = [rows for rows in parts if len(rows)]
    categories = [index for index, feature in enumerate(spec["features"]) if feature["kind"] == "category"]

    def create(batch_size: int) -> lightgbm.Dataset:
        last: dict[str, Any] = {}
        with translated_memory_errors():
            return _Dataset(
                [_Batches(rows, last, batch_size) for rows in filled],
                np.concatenate([rows.read()[1] for rows in filled]) - center,
                reference=reference,
                weight=np.concatenate([rows.weights() for rows in filled]) if is_weighted else None,
                params=params,
                # A column name may have characters that the model text cannot represent.
                feature_name=[f"f{index}" for index in range(len(spec["features"]))],
                categorical_feature=categories,
            ).construct()

    return memory_pressure.with_smaller_batches(
        create, _BINNING_ROWS, remedy=f"{memory_pressure.MORE_MEMORY}, or give it {LESS_DATA}"
    )
