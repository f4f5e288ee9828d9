"""Drift statistics (PSI, Kolmogorov-Smirnov) with thresholds that depend on the number of rows.

Without drift, PSI follows chi-squared with bins - 1 degrees of freedom, times 1/n + 1/m (Yurdakul 2018), and KS has its
asymptotic limit. A fixed threshold reports false drift for few rows, and misses drift for many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from ai_workflow.datasets.column_profile import ColumnProfile

_BINS = 10
_MAX_CATEGORIES = 20
# Family-wise false-positive rate of one evaluation.
_FALSE_POSITIVE_RATE = 0.01


@dataclass(frozen=True, slots=True)
class Drift:
    """The drift of a column: PSI, KS (None for categories), the number of bins and the rows of both samples."""

    psi: float
    ks: float | None
    bins: int
    rows: int
    reference_rows: int

    def threshold(self, columns: int, floor: float) -> float:
        """Return the PSI threshold for a family of columns, at least the floor."""
        from scipy.stats import chi2

        quantile = float(chi2.ppf(1 - _FALSE_POSITIVE_RATE / columns, max(1, self.bins - 1)))
        return max(floor, quantile * (1 / self.rows + 1 / self.reference_rows))

    def ks_threshold(self, columns: int) -> float:
        """Return the KS threshold for a family of columns."""
        return math.sqrt(-math.log(_FALSE_POSITIVE_RATE / columns / 2) / 2 * (1 / self.rows + 1 / self.reference_rows))


def numeric_drift(values: pd.Series, reference: ColumnProfile) -> Drift | None:
    """Return the drift of numbers from a profile of `column_profile.merge_numbers`; None without rows."""
    import numpy as np

    present = values.dropna().to_numpy("float64")
    if not len(values) or not reference.get("present"):
        return None
    sketch = np.asarray(reference["quantiles"], dtype=float)
    edges = np.unique(np.quantile(sketch, np.linspace(0, 1, _BINS + 1)[1:-1]))
    share = np.bincount(np.searchsorted(edges, sketch), minlength=len(edges) + 1) / len(sketch)
    expected = np.append(share * reference["present"], reference["missing"])
    actual = np.bincount(np.searchsorted(edges, present), minlength=len(edges) + 1)
    actual = np.append(actual, len(values) - len(present))
    ks = _ks(sketch, np.sort(present)) if len(present) else None
    return Drift(psi(expected, actual), ks, int(((expected + actual) > 0).sum()), len(values), int(expected.sum()))


def categorical_drift(
    counts: dict[str, int], reference: dict[str, int], missing: int = 0, reference_missing: int = 0
) -> Drift | None:
    """Return the drift of categories by their counts, with rare ones combined; None without rows."""
    import numpy as np

    common = sorted(reference, key=lambda value: (-reference[value], value))[:_MAX_CATEGORIES]
    samples = []
    for sample, absent in ((reference, reference_missing), (counts, missing)):
        frequent = [sample.get(value, 0) for value in common]
        samples.append(np.array([*frequent, sum(sample.values()) - sum(frequent), absent], dtype=float))
    expected, actual = samples
    if not expected.sum() or not actual.sum():
        return None
    bins = int(((expected + actual) > 0).sum())
    return Drift(psi(expected, actual), None, bins, int(actual.sum()), int(expected.sum()))


def psi(expected: np.ndarray, actual: np.ndarray) -> float:
    """Return the population stability index of two (bins,) arrays of counts.

    Half a row is added to each bin: a bin that is empty in one sample would make the index infinite.
    """
    import numpy as np

    used = (expected + actual) > 0
    p = (expected[used] + 0.5) / (expected + 0.5)[used].sum()
    q = (actual[used] + 0.5) / (actual + 0.5)[used].sum()
    return float(((q - p) * np.log(q / p)).sum())


def _ks(reference: np.ndarray, actual: np.ndarray) -> float:
    """Return the largest distance of two distribution functions; both arrays are sorted."""
    import numpy as np

    points = np.concatenate([reference, actual])
    first, second = (np.searchsorted(sample, points, side="right") / len(sample) for sample in (reference, actual))
    return float(np.abs(first - second).max())
