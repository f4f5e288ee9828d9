"""Exact sums of values by group: equal bits in any order and for any division into parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

# Sums are whole numbers in units of 2 ** -_UNIT_BITS; the smallest float64 is 2 ** -1074, and a mantissa has 53 bits.
_UNIT_BITS, _MANTISSA_BITS, _LOW_BITS = 1128, 53, 27
_EXPONENTS = 4096
# Sums of this many halves of mantissas are exact in float64.
_MAX_ROWS = 2**26


class GroupSums:
    """Number of rows and exact sum of their values, by group; groups are non-negative integers."""

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.totals: dict[int, int] = {}

    def add(self, groups: np.ndarray, values: np.ndarray) -> None:
        """Add finite values.

        Args:
            groups: (n,) int64, of at most 2 ** 26 rows.
            values: (n,) float64.
        """
        import numpy as np

        if len(groups) > _MAX_ROWS:
            raise ValueError(f"{len(groups)} rows at once, at most {_MAX_ROWS}")
        found, number = np.unique(groups, return_counts=True)
        for group, count in zip(found.tolist(), number.tolist(), strict=True):
            self.counts[group] = self.counts.get(group, 0) + count
        mantissas, exponents = np.frexp(values)
        whole = np.ldexp(mantissas, _MANTISSA_BITS).astype(np.int64)
        # Mantissas of a group are added up by exponent; the exponents of float64 are -1073 to 1024.
        keys, place = np.unique(groups * _EXPONENTS + (exponents + _EXPONENTS // 2), return_inverse=True)
        place = place.reshape(-1)
        high = np.bincount(place, weights=whole >> _LOW_BITS)
        low = np.bincount(place, weights=whole & ((1 << _LOW_BITS) - 1))
        for key, upper, lower in zip(keys.tolist(), high.tolist(), low.tolist(), strict=True):
            group, exponent = divmod(key, _EXPONENTS)
            bits = exponent - _EXPONENTS // 2 - _MANTISSA_BITS + _UNIT_BITS
            total = ((int(upper) << _LOW_BITS) + int(lower)) << bits
            self.totals[group] = self.totals.get(group, 0) + total


def as_float(total: int) -> float:
    """Return a sum of `GroupSums.totals` as the nearest float64."""
    return total / (1 << _UNIT_BITS)
