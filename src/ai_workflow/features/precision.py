"""Centre and scale of columns whose distinct values float32 would merge.

float32 has 24 significant bits: 1,000,000,000,001 and 1,000,000,000,002 are one number. Their distances from a centre
are distinct, so a feature of such a column is `(value - center) / scale`, computed in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.datasets.column_profile import ColumnProfile

SECONDS_PER_DAY = 86_400
# Among millions of random float64 numbers a few pairs always merge, which no model notices. Whole numbers merge only if
# their digits are lost.
_TOLERATED_SHARE = 0.01
# Largest and smallest distance from the centre that float32 represents with all its bits.
_LARGEST, _SMALLEST = 2.0**126, 2.0**-100


class Shift(NamedTuple):
    """Centre and scale of a column."""

    center: float
    scale: float


class DistinctCounts(NamedTuple):
    """Number of distinct values, how many of them stay distinct in float32, and whether all are whole numbers."""

    exact: int
    float32: int
    whole: bool

    @property
    def is_lossy(self) -> bool:
        """Whether float32 merges more values than random numbers of the same spread would."""
        return self.exact - self.float32 > (0 if self.whole else _TOLERATED_SHARE * self.exact)


UNSHIFTED = Shift(0.0, 1.0)


def count(values: np.ndarray, shift: Shift = UNSHIFTED) -> DistinctCounts:
    """Return the distinct counts of sorted values (n,), int64 or float64, after a shift."""
    import numpy as np

    if not len(values):
        return DistinctCounts(0, 0, whole=True)
    numbers = values.astype("float64")
    with np.errstate(over="ignore", invalid="ignore"):
        shifted = apply(numbers, shift).astype(np.float32)
    is_whole = values.dtype.kind == "i" or bool((np.floor(numbers) == numbers).all())
    return DistinctCounts(_distinct(values), _distinct(shifted), is_whole)


def distinct(values: np.ndarray, most: int) -> list[float]:
    """Return the distinct ones of sorted values, none if there are more than `most`."""
    import numpy as np

    if not len(values) or _distinct(values) > most:
        return []
    unique: list[float] = np.unique(values).tolist()
    return unique


def add(counts: Sequence[DistinctCounts]) -> DistinctCounts:
    """Return the sums over partitions."""
    return DistinctCounts(
        sum(part.exact for part in counts), sum(part.float32 for part in counts), all(part.whole for part in counts)
    )


def candidates(seen: ColumnProfile, unit: float = 1.0) -> list[Shift]:
    """Return the shifts that may keep the values of a column distinct: by the middle of its range, and by its median.

    Args:
        seen: the profile of the column.
        unit: the number of units of the profile in one unit of the feature, such as seconds in a day.
    """
    low, high, median = seen["min"] / unit, seen["max"] / unit, seen["median"] / unit
    shifts = []
    for center in (0.0, low / 2 + high / 2, median):
        spread = max(high - center, center - low)
        scale = 1.0
        if math.isfinite(spread) and spread and not _SMALLEST < spread < _LARGEST:
            # A power of two, so that a division rounds nothing.
            scale = 2.0 ** max(-1021, min(math.frexp(spread)[1], 1023))
        shifts.append(Shift(center, scale))
    return list(dict.fromkeys(shifts))


def best(shifts: Sequence[Shift], counts: Sequence[DistinctCounts]) -> tuple[Shift, DistinctCounts]:
    """Return the shift with the most distinct values in float32 and its counts, the first one of equals."""
    return max(zip(shifts, counts, strict=True), key=lambda pair: pair[1].float32)


def apply(values: np.ndarray, shift: Shift) -> np.ndarray:
    """Return float64 values after a shift."""
    return (values - shift.center) / shift.scale


def of_feature(feature: Any) -> Shift | None:
    """Return the shift of a feature, None if it has none."""
    return Shift(feature["center"], feature["scale"]) if "center" in feature else None


def warning(name: str, counts: DistinctCounts) -> str:
    """Return the text of a warning about a column whose values are merged although they are shifted."""
    merged = counts.exact - counts.float32
    return (
        f"column {name!r}: {merged} of {counts.exact} distinct values are not distinct in float32, in which models "
        "compute, and no centre separates them. Split the column, or subtract a constant from it in the source"
    )


def _distinct(values: np.ndarray) -> int:
    import numpy as np

    return 1 + int(np.count_nonzero(values[1:] != values[:-1]))
