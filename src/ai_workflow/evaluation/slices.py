"""Slices of the holdout in which a classification is less accurate than overall."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypedDict

from ai_workflow.evaluation import scores

if TYPE_CHECKING:
    import numpy as np

    from ai_workflow.features.spec import Feature, FeatureSpec

MAX_FEATURES = 20
_MAX_VALUES = 50
_MIN_ROWS = 20
_MAX_SLICES = 5


class Slice(TypedDict):
    """Rows of the holdout with one value or range of a column, and their accuracy with its 95 % bounds."""

    slice: str
    rows: int
    accuracy: float
    lower: float
    upper: float


def features_of(spec: FeatureSpec, important: list[str]) -> list[Feature]:
    """Return the features that give slices, the most important first, at most MAX_FEATURES.

    Args:
        spec: the feature spec.
        important: names of features in the order of their importance; those of the spec follow.
    """
    by_name = {feature["name"]: feature for feature in spec["features"] if feature["kind"] != "date"}
    order = dict.fromkeys([*important, *by_name])
    return [by_name[name] for name in order if name in by_name][:MAX_FEATURES]


def worst(
    spec: FeatureSpec, features: list[Feature], batches: Iterable[tuple[np.ndarray, np.ndarray]], accuracy: float
) -> list[Slice]:
    """Return the slices whose upper bound is below the accuracy of all rows, those with the lowest bound first.

    Args:
        spec: the feature spec.
        features: the features that give slices.
        batches: pairs of (n, features) values of these features and (n,) bool, whether the prediction is correct.
        accuracy: the accuracy of all rows.
    """
    counts: dict[str, tuple[int, int]] = {}
    for x, is_correct in batches:
        for index, feature in enumerate(features):
            for name, rows in _members(spec, feature, x[:, index]):
                count, correct = counts.get(name, (0, 0))
                counts[name] = count + int(rows.sum()), correct + int(is_correct[rows].sum())
    found = [_slice(name, rows, correct) for name, (rows, correct) in counts.items() if rows >= _MIN_ROWS]
    # The upper bound of an accuracy of 1 may be less than 1 by rounding.
    low = [each for each in found if max(each["upper"], each["accuracy"]) < accuracy]
    return sorted(low, key=lambda each: (each["upper"], each["slice"]))[:_MAX_SLICES]


def _slice(name: str, rows: int, correct: int) -> Slice:
    lower, upper = scores.wilson_interval(correct / rows, rows)
    return {"slice": name, "rows": rows, "accuracy": correct / rows, "lower": lower, "upper": upper}


def _members(spec: FeatureSpec, feature: Feature, values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name of each slice of a feature with a mask of its rows."""
    column, kind = feature["column"], feature["kind"]
    if kind == "missing":
        yield f"{column} is missing", values == 1
    elif kind == "boolean":
        yield f"{column} = true", values == 1
        yield f"{column} = false", values == 0
    elif kind == "category":
        for code, name in enumerate(feature["vocabulary"][:_MAX_VALUES]):
            yield f"{column} = {name}", values == code
    elif len(quantiles := spec["statistics"].get(column, {}).get("quantiles", [])) > 2:
        yield from _thirds(feature, quantiles, values)


def _thirds(feature: Feature, quantiles: list[float], values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the lower, middle and upper third of a number, by the training rows."""
    import numpy as np

    low, high = (float(value) for value in np.quantile(quantiles, [1 / 3, 2 / 3]))
    column = feature["column"]
    center, scale = feature.get("center", 0.0), feature.get("scale", 1.0)
    is_low, is_high = values < (low - center) / scale, values >= (high - center) / scale
    yield f"{column} < {low:g}", is_low
    yield f"{low:g} <= {column} < {high:g}", ~is_low & ~is_high & ~np.isnan(values)
    yield f"{column} >= {high:g}", is_high
