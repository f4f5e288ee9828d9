"""Calibrated probabilities, equal bit by bit in evaluation, scoring and service.

They are computed in plain Python: the worker process of the service imports no NumPy, whose `exp` may differ from that
of the C library in the last digit.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.features.spec import Calibration, ClassCalibration, FeatureSpec

# Distance from 0 and 1 of probabilities whose log-odds are taken.
LIMIT = 1e-15
# Tolerance for rounding of probabilities at 0 and 1.
_ROUNDING = 1e-5


class Calibrator:
    """Function from the probabilities of a model to calibrated ones.

    Of two classes the second is calibrated. Of more, each is calibrated against the rest, and the results are
    normalized; where all of them are 0, the classes are equally probable (scikit-learn, `CalibratedClassifierCV`).

    Args:
        calibration: what the training has fitted.
        width: number of classes.
    """

    def __init__(self, calibration: Calibration, width: int) -> None:
        self._functions = [_function(each) for each in calibration["classes"]]
        self._width = width

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Return (n, classes) float64 calibrated probabilities; NaN for a row that has an invalid one."""
        import numpy as np

        values = self.calibrate(probabilities.astype("float64").ravel().tolist())
        return np.frombuffer(values, dtype="float64").reshape(-1, self._width)

    def calibrate(self, outputs: Sequence[float]) -> array[float]:
        """Return calibrated probabilities of n rows; NaN for a row that has an invalid one.

        Args:
            outputs: n x classes probabilities, row by row.
        """
        calibrated = self._two if len(self._functions) == 1 else self._several
        results = array("d")
        for row in zip(*[iter(outputs)] * self._width, strict=True):
            results.extend(calibrated(row))
        return results

    def _two(self, probabilities: Sequence[float]) -> Sequence[float]:
        first, second = probabilities
        if not (_is_probability(first) and _is_probability(second)):
            return math.nan, math.nan
        positive = self._functions[0](second)
        return 1 - positive, positive

    def _several(self, probabilities: Sequence[float]) -> Sequence[float]:
        if not all(map(_is_probability, probabilities)):
            return [math.nan] * self._width
        values = [function(value) for function, value in zip(self._functions, probabilities, strict=True)]
        total = math.fsum(values)
        return [value / total for value in values] if total > 0 else [1 / self._width] * self._width


def _is_probability(value: float) -> bool:
    return -_ROUNDING <= value <= 1 + _ROUNDING


def of(spec: FeatureSpec) -> Calibrator | None:
    """Return the calibrator of a published version; None if its model is not calibrated."""
    calibration, classes = spec.get("calibration"), spec["classes"]
    return Calibrator(calibration, len(classes)) if calibration and classes else None


def _function(fitted: ClassCalibration) -> Callable[[float], float]:
    """Return the function from the probability of a class to the calibrated one."""
    return _isotonic(fitted["x"], fitted["y"]) if "x" in fitted else _sigmoid(fitted["slope"], fitted["intercept"])


def _sigmoid(slope: float, intercept: float) -> Callable[[float], float]:
    """Return the sigmoid of `slope * log-odds + intercept` (Platt 1999)."""

    def calibrated(probability: float) -> float:
        limited = min(max(probability, LIMIT), 1 - LIMIT)
        value = slope * math.log(limited / (1 - limited)) + intercept
        # exp of a positive number might overflow.
        power = math.exp(-abs(value))
        return 1 / (1 + power) if value >= 0 else power / (1 + power)

    return calibrated


def _isotonic(x: Sequence[float], y: Sequence[float]) -> Callable[[float], float]:
    """Return the linear interpolation of the rising points (x, y), which is constant outside of them."""

    def calibrated(probability: float) -> float:
        after = bisect_right(x, probability)
        if after in (0, len(x)):
            return y[min(after, len(x) - 1)]
        low, high = y[after - 1], y[after]
        share = (probability - x[after - 1]) / (x[after] - x[after - 1])
        return min(low + (high - low) * share, high)

    return calibrated
