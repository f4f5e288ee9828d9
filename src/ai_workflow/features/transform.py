"""Feature spec: plain JSON fitted on training rows, and the transform of clean rows to the feature matrix.

    {"version": 2, "pipeline", "task", "target", "classes", "id", "timestamp", "split",
     "schema":     {column: its declaration},
     "cells":      rules for raw cells, see `cells.CellRules`; version 1 had none
     "features":   [{"name", "column", "kind", ...}],   in the order of the matrix
     "statistics": {column: profile of the training rows}}   the reference for drift

`derived`, if there are feature functions, has their paths, the digests of their code and the names of their features.

Kinds: `number`, `boolean`, `category` (index in `vocabulary`; rare or unseen values share the index after it; missing
is NaN), `date` (one `part` of a timestamp) and `missing` (1 if the column has no value). A number or the days of a date
may have `center` and `scale`, see `precision`; `target_center` of a spec is that of a regression target. Training,
scoring and the service all use `transform`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ai_workflow.features import precision

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from ai_workflow.datasets.column_profile import ColumnProfile
    from ai_workflow.features.precision import Shift
    from ai_workflow.features.spec import Feature, FeatureSpec

VERSION = 2
DATE_PARTS = ("days", "year", "month", "day", "weekday", "hour")
_EPOCH = "1970-01-01"


def build_features(
    schema: dict[str, dict[str, Any]],
    statistics: dict[str, ColumnProfile],
    roles: dict[str, Any],
    max_categories: int,
    min_count: int,
    shifts: Mapping[str, Shift] | None = None,
) -> list[Feature]:
    """Return the features of the columns, in the order of the schema.

    Args:
        schema: column -> its declaration.
        statistics: column -> its profile in the training rows.
        roles: `target`, `id` and `timestamp` columns (or None).
        max_categories: the number of most frequent category values with an index of their own.
        min_count: rarer values share the index of unseen values.
        shifts: column -> centre and scale of its number or days.
    """
    features: list[Feature] = []
    for column, declared in schema.items():
        if column in (roles["target"], roles["id"]) or declared["type"] == "text":
            continue
        seen = statistics[column]
        if not seen["present"]:
            continue
        features += _of_column(column, declared["type"], seen, column == roles["timestamp"], max_categories, min_count)
        if seen["missing"]:
            features.append({"name": f"{column}__missing", "column": column, "kind": "missing"})
    return [_with_shift(feature, (shifts or {}).get(feature["column"])) for feature in _with_unique_names(features)]


def _with_shift(feature: Feature, shift: Shift | None) -> Feature:
    if shift and (feature["kind"] == "number" or feature.get("part") == "days"):
        return {**feature, "center": shift.center, "scale": shift.scale}
    return feature


def _with_unique_names(features: list[Feature]) -> list[Feature]:
    """Return the features with a number after each generated name that is also the name of another feature."""
    used = {feature["name"] for feature in features if feature["name"] == feature["column"]}
    unique: list[Feature] = []
    for feature in features:
        stem = name = feature["name"]
        if name != feature["column"]:
            number = 2
            while name in used:
                name, number = f"{stem}_{number}", number + 1
            used.add(name)
        unique.append({**feature, "name": name})
    return unique


def _of_column(
    column: str, kind: str, seen: ColumnProfile, is_timestamp: bool, max_categories: int, min_count: int
) -> list[Feature]:
    if kind == "category":
        vocabulary = [value for value, count in seen["counts"][:max_categories] if count >= min_count]
        return [{"name": column, "column": column, "kind": "category", "vocabulary": vocabulary}]
    if kind == "datetime":
        # Days and year of the timestamp only grow, so a tree that splits on them overfits the past.
        parts = [part for part in DATE_PARTS if not (is_timestamp and part in ("days", "year"))]
        parts = [part for part in parts if part != "hour" or seen["has_hours"]]
        return [{"name": f"{column}__{part}", "column": column, "kind": "date", "part": part} for part in parts]
    return [{"name": column, "column": column, "kind": "boolean" if kind == "boolean" else "number"}]


def names(spec: FeatureSpec) -> list[str]:
    """Return the names of the features, in the order of the matrix."""
    return [feature["name"] for feature in spec["features"]]


def input_columns(spec: FeatureSpec) -> list[str]:
    """Return the input columns of the features."""
    return list(dict.fromkeys(feature["column"] for feature in spec["features"] if not feature.get("derived")))


def coerce_columns(rows: pd.DataFrame, spec: FeatureSpec) -> pd.DataFrame:
    """Return the input columns of a spec, typed as in the training; values that do not fit are missing."""
    import pandas as pd

    from ai_workflow.config.settings import Column
    from ai_workflow.datasets import coercion
    from ai_workflow.datasets.cells import CellRules

    cells = CellRules.of_spec(spec)
    known = {name: cells.accepted(name, Column(**spec["schema"][name])) for name in input_columns(spec)}
    return pd.DataFrame({name: coercion.coerce(rows[name], column)[0] for name, column in known.items()})


def read(rows: Sequence[dict[str, Any]], spec: FeatureSpec) -> tuple[np.ndarray, list[str]]:
    """Return the feature matrix of request rows, and a message for each rejected value.

    The numbers of a row do not depend on other rows.

    Args:
        rows: n mappings with the columns of `input_columns(spec)` as JSON values.
        spec: the feature spec.

    Returns:
        float32 array of shape (n, features), and problems such as `rows[2].months is below the minimum 0: -1`.
    """
    from ai_workflow.features.cell_reader import CellReader

    frame, problems = CellReader(spec).read(rows)
    return transform(frame, spec), problems


def transform(frame: pd.DataFrame, spec: FeatureSpec) -> np.ndarray:
    """Return the feature matrix of clean rows.

    Args:
        frame: n clean rows with the columns of `input_columns(spec)`, typed by `coercion.coerce`.
        spec: the feature spec.

    Returns:
        float32 array of shape (n, features); NaN for a missing value.
    """
    import numpy as np

    derived = _derived(frame, spec)
    matrix = np.empty((len(frame), len(spec["features"])), dtype=np.float32)
    # A number beyond float32 becomes an infinity.
    with np.errstate(over="ignore"):
        for index, feature in enumerate(spec["features"]):
            if feature["name"] in derived:
                matrix[:, index] = of_values(derived[feature["name"]], feature)
                continue
            values = _MAKERS[feature["kind"]](frame[feature["column"]], feature)
            shift = precision.of_feature(feature)
            matrix[:, index] = precision.apply(values, shift) if shift else values
    return matrix


def of_values(values: np.ndarray, feature: Feature) -> np.ndarray:
    """Return the float64 of a derived feature: its numbers, or the index of its texts in the vocabulary."""
    import numpy as np

    if feature["kind"] != "category":
        return values
    index = {value: float(position) for position, value in enumerate(feature["vocabulary"])}
    unseen = float(len(index))
    return np.array([np.nan if value is None else index.get(value, unseen) for value in values], dtype=np.float64)


def _derived(frame: pd.DataFrame, spec: FeatureSpec) -> dict[str, np.ndarray]:
    """Return the results of the feature functions of a spec by name."""
    if not spec.get("derived"):
        return {}
    from ai_workflow.features.own_features import OwnFeatures

    return OwnFeatures(spec).of_rows(frame)


def _number(values: pd.Series, feature: Feature) -> np.ndarray:
    import numpy as np

    return values.to_numpy(dtype="float64", na_value=np.nan)


def _category(values: pd.Series, feature: Feature) -> np.ndarray:
    import numpy as np

    index = {value: float(position) for position, value in enumerate(feature["vocabulary"])}
    codes = values.map(index).to_numpy(dtype="float64", na_value=np.nan)
    return np.where(np.isnan(codes) & values.notna().to_numpy(), float(len(index)), codes)


def _date(values: pd.Series, feature: Feature) -> np.ndarray:
    import numpy as np
    import pandas as pd

    part = feature["part"]
    if part == "days":
        return ((values - pd.Timestamp(_EPOCH)) / pd.Timedelta(days=1)).to_numpy(dtype="float64", na_value=np.nan)
    return getattr(values.dt, "day_of_week" if part == "weekday" else part).to_numpy(dtype="float64", na_value=np.nan)  # type: ignore[no-any-return]


def _missing(values: pd.Series, feature: Feature) -> np.ndarray:
    return values.isna().to_numpy()


_MAKERS = {"number": _number, "boolean": _number, "category": _category, "date": _date, "missing": _missing}
