"""The feature matrix as networks and linear models need it: numbers of one size, categories as columns of 0 and 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ai_workflow.training.protocol import Rows, TrainingData

# So many standard deviations away, a value says no more than that it is far; further out, sums would not be finite.
_FAR = 100.0
# Smaller differences than these, relative to the values, are rounding.
_ROUNDING = 1e-7


@dataclass(frozen=True)
class Inputs:
    """How the feature matrix becomes what a network or a linear model takes: numbers standardised, categories one-hot.

    A category has an input for each value of its vocabulary, one for all others and one for a missing value. A
    missing number becomes the mean; that it is missing is a feature of its own.
    """

    numeric: list[int]
    mean: np.ndarray
    scale: np.ndarray
    categories: list[tuple[int, int]]

    @property
    def width(self) -> int:
        """How many columns `encode` gives."""
        return len(self.numeric) + sum(size + 2 for _, size in self.categories)

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Return (n, width) float32 of the feature matrix (n, features)."""
        out = np.zeros((len(x), self.width), dtype=np.float32)
        start = len(self.numeric)
        values = (x[:, self.numeric] - self.mean) / self.scale
        out[:, :start] = np.nan_to_num(np.clip(values, -_FAR, _FAR))
        for column, size in self.categories:
            codes = x[:, column]
            index = np.where(np.isnan(codes), size + 1, np.clip(np.nan_to_num(codes), 0, size)).astype(np.int64)
            out[np.arange(len(x)), start + index] = 1
            start += size + 2
        return out


def fitted(data: TrainingData) -> tuple[Inputs, float, float]:
    """Go through the training rows once, and return the inputs, and the mean and the deviation of the target.

    For classes, which stay what they are, those are 0 and 1.
    """
    kinds = list(enumerate(data.spec["features"]))
    numeric = [index for index, feature in kinds if feature["kind"] != "category"]
    found = _Moments(len(numeric) + 1)
    for rows in data.training:
        if len(rows):
            found.add(_numbers(rows, numeric))
    categories = [(index, len(feature["vocabulary"])) for index, feature in kinds if feature["kind"] == "category"]
    inputs = Inputs(numeric, found.mean[:-1], found.scale[:-1], categories)
    if data.spec["task"] != "regression":
        return inputs, 0.0, 1.0
    return inputs, float(found.mean[-1]), float(found.scale[-1])


def _numbers(rows: Rows, numeric: list[int]) -> np.ndarray:
    x, y = rows.read()
    return np.column_stack([x[:, numeric], y])


class _Moments:
    """Mean and standard deviation of each column, added up partition by partition; what is not finite is left out."""

    def __init__(self, columns: int) -> None:
        self._count, self.mean, self._squares = np.zeros((3, columns))

    def add(self, values: np.ndarray) -> None:
        """Take in (n, columns) more rows; Chan, Golub and LeVeque's sum of two parts."""
        known = np.isfinite(values)
        count = known.sum(axis=0)
        mean = np.where(known, values, 0).sum(axis=0, dtype=np.float64) / np.maximum(count, 1)
        squares = (np.where(known, values - mean, 0) ** 2).sum(axis=0)
        total = self._count + count
        apart, whole = mean - self.mean, np.maximum(total, 1)
        self._squares += squares + apart**2 * self._count * count / whole
        self.mean += apart * count / whole
        self._count = total

    @property
    def scale(self) -> np.ndarray:
        """The standard deviation, or 1 for a column that does not vary."""
        deviation: np.ndarray = np.sqrt(self._squares / np.maximum(self._count, 1))
        return np.where(deviation > _ROUNDING * np.abs(self.mean), deviation, 1.0)
