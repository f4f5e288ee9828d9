"""Column profiles: counts, moments and quantiles per partition, merged over all partitions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

# Points of the quantile sketch of a column; each represents the same share of the values.
POINTS = 513
_MOST_VALUES = 10_000


class ColumnProfile(TypedDict, total=False):
    """Statistics of a column: numbers have moments and quantiles, categories and text have counts.

    `missing` and `std` are of all partitions together, `m2` is of one partition. `has_hours` is of a datetime.
    """

    rows: int
    present: int
    missing: int
    mean: float | None
    m2: float | None
    std: float | None
    min: float
    max: float
    median: float
    quantiles: list[float]
    counts: list[tuple[str, int]]
    has_hours: bool


def profile_numbers(values: pd.Series) -> ColumnProfile:
    """Return the statistics of a numeric column of one partition; `m2` is the sum of squared deviations.

    `mean` and `m2` are None where they overflow.
    """
    return profile_present(values.dropna().astype("float64").to_numpy(), len(values))


def profile_present(present: np.ndarray, rows: int, ordered: np.ndarray | None = None) -> ColumnProfile:
    """Return the statistics of a numeric column with `rows` rows of one partition.

    Args:
        present: the present values, float64, in the order of the rows: the sums depend on it.
        rows: number of rows.
        ordered: the sorted values, whose quantiles are found faster.
    """
    import numpy as np

    body: ColumnProfile = {"rows": rows, "present": len(present)}
    if len(present):
        # Sums of numbers above 1e150 overflow; mean and deviation are then None.
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(present.mean())
            body |= {"mean": _finite(mean), "m2": _finite(((present - mean) ** 2).sum())}
            body["quantiles"] = _quantiles(np.sort(present) if ordered is None else ordered).tolist()
    return body


def _quantiles(ordered: np.ndarray) -> np.ndarray:
    """Return the sketch of sorted values: all of them if they are few, else the points that `np.quantile` gives."""
    import numpy as np

    if len(ordered) <= POINTS:
        return ordered
    at = (len(ordered) - 1) * np.linspace(0, 1, POINTS)
    lower = np.floor(at).astype(np.intp)
    lower[at >= len(ordered) - 1] = -1
    upper = np.where(lower < 0, -1, lower + 1)
    low, high, share = ordered[lower], ordered[upper], at - lower
    step = high - low
    points: np.ndarray = np.where(share >= 0.5, high - step * (1 - share), low + step * share)
    return points


def merge_numbers(parts: list[ColumnProfile]) -> ColumnProfile:
    """Return the statistics of all partitions together (Chan et al. 1979 for the moments).

    Returns:
        rows, present, missing, mean, std, min, max, median and `quantiles` (at most 513 points); mean and std are None
        where they overflow.
    """
    rows, filled = sum(part["rows"] for part in parts), [part for part in parts if part["present"]]
    count = sum(part["present"] for part in filled)
    mean, std = _moments(filled)
    body: ColumnProfile = {"rows": rows, "present": count, "missing": rows - count}
    if not count:
        return body
    quantiles, median = _merge_sketches(filled)
    return body | {
        "mean": mean,
        "std": std,
        "min": min(part["quantiles"][0] for part in filled),
        "max": max(part["quantiles"][-1] for part in filled),
        "median": median,
        "quantiles": quantiles,
    }


def _merge_sketches(parts: list[ColumnProfile]) -> tuple[list[float], float]:
    """Return the sketch and the median of all values of partitions that each have a value."""
    import numpy as np

    sketches = [part["quantiles"] for part in parts]
    if len(parts) == 1:
        middle = len(sketches[0]) // 2
        return sketches[0], (sketches[0][middle] / 2 + sketches[0][~middle] / 2)
    points = np.concatenate([np.asarray(sketch) for sketch in sketches])
    weights = np.concatenate(
        [np.full(len(part["quantiles"]), part["present"] / len(part["quantiles"])) for part in parts]
    )
    quantiles, (median,) = (
        _weighted_quantiles(points, weights, at) for at in (np.linspace(0, 1, min(POINTS, len(points))), [0.5])
    )
    return quantiles, median


def _moments(parts: list[ColumnProfile]) -> tuple[float | None, float | None]:
    """Return mean and standard deviation over partitions that each have a value."""
    count, mean, m2 = 0, 0.0, 0.0
    for part in parts:
        if part["mean"] is None or part["m2"] is None:
            return None, None
        delta, added = part["mean"] - mean, part["present"]
        mean += delta * added / (count + added)
        # A product, because a power of a float raises OverflowError.
        m2 += part["m2"] + delta * delta * count * added / (count + added)
        count += added
    finite_m2 = _finite(m2)
    return _finite(mean), None if finite_m2 is None else math.sqrt(finite_m2 / max(count, 1))


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None


def _weighted_quantiles(points: Any, weights: Any, shares: Any) -> list[float]:
    import numpy as np

    order = np.argsort(points, kind="stable")
    points, weights = points[order], weights[order]
    at = (np.cumsum(weights) - weights / 2) / weights.sum()
    return [float(value) for value in np.interp(shares, at, points)]


def profile_values(values: pd.Series) -> ColumnProfile:
    """Return the counts of a category column of one partition, for the 10 000 most frequent values."""
    import pyarrow as pa

    return count_values(pa.array(values.astype("str"), pa.string(), from_pandas=True))


def count_values(values: pa.ChunkedArray | pa.Array, *, with_counts: bool = True) -> ColumnProfile:
    """Return the counts of a text column of one partition, for the 10 000 most frequent values if `with_counts`."""
    pairs: list[tuple[str, int]] = []
    if with_counts:
        counted = values.drop_null().value_counts()
        pairs = list(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))
        pairs = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:_MOST_VALUES]
    return {"rows": len(values), "present": len(values) - values.null_count, "counts": pairs}


def merge_values(parts: list[ColumnProfile]) -> ColumnProfile:
    """Return rows, present, missing, and `counts` as (value, count), the most frequent first, ties in order of text."""
    rows, present = sum(part["rows"] for part in parts), sum(part["present"] for part in parts)
    total: dict[str, int] = {}
    for part in parts:
        for value, count in part["counts"]:
            total[value] = total.get(value, 0) + count
    pairs = sorted(total.items(), key=lambda pair: (-pair[1], pair[0]))
    return {"rows": rows, "present": present, "missing": rows - present, "counts": pairs}
