"""Encoding of the feature matrix for networks and linear models: standardized numbers, one-hot categories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ai_workflow.training.protocol import Rows, TrainingData

# Values are clipped at this number of standard deviations, so that sums stay finite.
_MAX_DEVIATIONS = 100.0
# Relative differences below this value are rounding errors.
_ROUNDING = 1e-7


@dataclass(frozen=True)
class FeatureEncoder:
    """Encoder of the feature matrix: standardized numbers, one-hot categories.

    A category has an input for each value of its vocabulary, one for other values and one for a missing value. A
    missing number becomes the mean; its `__missing` feature has the information.
    """

    numeric: list[int]
    mean: np.ndarray
    scale: np.ndarray
    categories: list[tuple[int, int]]

    @property
    def width(self) -> int:
        """Number of columns of the encoded matrix."""
        return len(self.numeric) + sum(size + 2 for _, size in self.categories)

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Encode a feature matrix (n, features) as (n, width) float32."""
        out = np.zeros((len(x), self.width), dtype=np.float32)
        start = len(self.numeric)
        values = (x[:, self.numeric] - self.mean) / self.scale
        out[:, :start] = np.nan_to_num(np.clip(values, -_MAX_DEVIATIONS, _MAX_DEVIATIONS))
        for column, size in self.categories:
            codes = x[:, column]
            index = np.where(np.isnan(codes), size + 1, np.clip(np.nan_to_num(codes), 0, size)).astype(np.int64)
            out[np.arange(len(x)), start + index] = 1
            start += size + 2
        return out


def fit_encoder(data: TrainingData) -> tuple[FeatureEncoder, float, float]:
    """Read the training rows once, and return the encoder and mean and standard deviation of the target.

    Classes are not scaled: their mean is 0 and their deviation 1.
    """
    kinds = list(enumerate(data.spec["features"]))
    numeric = [index for index, feature in kinds if feature["kind"] != "category"]
    # The deviation of a target far from 0 is exact only for differences from its centre.
    center = data.spec.get("target_center", 0.0)
    moments = _RunningMoments(len(numeric) + 1)
    for rows in data.training:
        if len(rows):
            moments.add(_columns(rows, numeric, center))
    categories = [(index, len(feature["vocabulary"])) for index, feature in kinds if feature["kind"] == "category"]
    encoder = FeatureEncoder(numeric, moments.mean[:-1], moments.scale[:-1], categories)
    if data.spec["task"] != "regression":
        return encoder, 0.0, 1.0
    return encoder, center + float(moments.mean[-1]), float(moments.scale[-1])


def _columns(rows: Rows, numeric: list[int], center: float) -> np.ndarray:
    x, y = rows.read()
    return np.column_stack([x[:, numeric], y - center])


class _RunningMoments:
    """Mean and standard deviation of each column, updated partition by partition; non-finite values are ignored."""

    def __init__(self, columns: int) -> None:
        self._count, self.mean, self._squares = np.zeros((3, columns))

    def add(self, values: np.ndarray) -> None:
        """Add (n, columns) values by the pairwise update of Chan, Golub and LeVeque."""
        is_finite = np.isfinite(values)
        count = is_finite.sum(axis=0)
        mean = np.where(is_finite, values, 0).sum(axis=0, dtype=np.float64) / np.maximum(count, 1)
        squares = (np.where(is_finite, values - mean, 0) ** 2).sum(axis=0)
        total = self._count + count
        delta = mean - self.mean
        divisor = np.maximum(total, 1)
        self._squares += squares + delta**2 * self._count * count / divisor
        self.mean += delta * count / divisor
        self._count = total

    @property
    def scale(self) -> np.ndarray:
        """Standard deviation, or 1 for a constant column."""
        deviation: np.ndarray = np.sqrt(self._squares / np.maximum(self._count, 1))
        return np.where(deviation > _ROUNDING * np.abs(self.mean), deviation, 1.0)
