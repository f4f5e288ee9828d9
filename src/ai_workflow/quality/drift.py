"""How far what a version is asked lies from what it was trained on: PSI and Kolmogorov-Smirnov, and what chance does.

Both are compared with what rows of the very same kind would show by chance: PSI then follows chi-squared with bins - 1
degrees of freedom, times 1/n + 1/m (Yurdakul 2018), and KS its well-known limit. A threshold that does not know n
calls chance drift where rows are few, and sees nothing where they are many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from ai_workflow.datasets.column_profile import ColumnProfile

_BINS, _VALUES = 10, 20
# How often chance alone may reach a threshold, among all features of one evaluation.
_BY_CHANCE = 0.01


@dataclass(frozen=True, slots=True)
class Drift:
    """How far a column has drifted: PSI, KS (None for categories), and its bins and the rows of both sides."""

    psi: float
    ks: float | None
    bins: int
    rows: int
    reference_rows: int

    def threshold(self, among: int, floor: float) -> float:
        """Return the PSI that chance reaches in one of a hundred evaluations of `among` columns, at least the floor."""
        from scipy.stats import chi2

        by_chance = float(chi2.ppf(1 - _BY_CHANCE / among, max(1, self.bins - 1)))
        return max(floor, by_chance * (1 / self.rows + 1 / self.reference_rows))

    def ks_threshold(self, among: int) -> float:
        """Return the KS that chance reaches in one of a hundred evaluations of `among` columns."""
        return math.sqrt(-math.log(_BY_CHANCE / among / 2) / 2 * (1 / self.rows + 1 / self.reference_rows))


def of_numbers(values: pd.Series, seen: ColumnProfile) -> Drift | None:
    """Return the drift of numbers from what `statistics.merge_numbers` says of the reference; None without rows."""
    import numpy as np

    present = values.dropna().to_numpy("float64")
    if not len(values) or not seen.get("present"):
        return None
    sketch = np.asarray(seen["quantiles"], dtype=float)
    edges = np.unique(np.quantile(sketch, np.linspace(0, 1, _BINS + 1)[1:-1]))
    share = np.bincount(np.searchsorted(edges, sketch), minlength=len(edges) + 1) / len(sketch)
    expected = np.append(share * seen["present"], seen["missing"])
    found = np.bincount(np.searchsorted(edges, present), minlength=len(edges) + 1)
    found = np.append(found, len(values) - len(present))
    ks = _ks(sketch, np.sort(present)) if len(present) else None
    return Drift(psi(expected, found), ks, int(((expected + found) > 0).sum()), len(values), int(expected.sum()))


def of_values(counts: dict[str, int], known: dict[str, int], missing: int = 0, known_missing: int = 0) -> Drift | None:
    """Return the drift of categories by their counts; the rare ones are taken together. None without rows."""
    import numpy as np

    common = sorted(known, key=lambda value: (-known[value], value))[:_VALUES]
    sides = []
    for side, absent in ((known, known_missing), (counts, missing)):
        named = [side.get(value, 0) for value in common]
        sides.append(np.array([*named, sum(side.values()) - sum(named), absent], dtype=float))
    expected, found = sides
    if not expected.sum() or not found.sum():
        return None
    return Drift(psi(expected, found), None, int(((expected + found) > 0).sum()), int(found.sum()), int(expected.sum()))


def psi(expected: np.ndarray, found: np.ndarray) -> float:
    """Return the population stability index of two (bins,) arrays of counts; half a row is added to each bin.

    Without that a bin that is empty on one side would make it infinite.
    """
    import numpy as np

    used = (expected + found) > 0
    p, q = (expected[used] + 0.5) / (expected + 0.5)[used].sum(), (found[used] + 0.5) / (found + 0.5)[used].sum()
    return float(((q - p) * np.log(q / p)).sum())


def _ks(reference: np.ndarray, found: np.ndarray) -> float:
    """Return the largest distance of two distribution functions; both arrays are sorted."""
    import numpy as np

    at = np.concatenate([reference, found])
    sides = [np.searchsorted(side, at, side="right") / len(side) for side in (reference, found)]
    return float(np.abs(sides[0] - sides[1]).max())
