"""Features of clean rows as Arrow columns; the numbers are those of `transform.transform`, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ai_workflow.datasets import parquet
from ai_workflow.features import precision, transform
from ai_workflow.features.own_features import OwnFeatures

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from ai_workflow.features.spec import Feature, FeatureSpec


def build(rows: pa.Table, spec: FeatureSpec) -> dict[str, pa.Array]:
    """Return each feature by name.

    Args:
        rows: n clean rows with the input columns of the spec.
        spec: the feature spec.

    Returns:
        float32 arrays (n,), null for a missing value.
    """
    import numpy as np
    import pyarrow as pa

    columns = {}
    derived = _derived(rows, spec)
    # A number beyond float32 becomes an infinity.
    with np.errstate(over="ignore"):
        for feature in spec["features"]:
            if feature["name"] in derived:
                values = transform.of_values(derived[feature["name"]], feature)
                columns[feature["name"]] = pa.array(values.astype(np.float32), from_pandas=True)
                continue
            values = _MAKERS[feature["kind"]](rows[feature["column"]], feature)
            if shift := precision.of_feature(feature):
                values = precision.apply(values, shift)
            columns[feature["name"]] = pa.array(values.astype(np.float32), from_pandas=True)
    return columns


def _derived(rows: pa.Table, spec: FeatureSpec) -> dict[str, np.ndarray]:
    """Return the results of the feature functions of a spec by name."""
    if not spec.get("derived"):
        return {}
    frame = parquet.to_frame(rows.select(transform.input_columns(spec)))
    return OwnFeatures(spec).of_rows(frame)


def with_few_values(spec: FeatureSpec) -> list[str]:
    """Return the features with few distinct values: all but numbers and the days of dates."""
    return [
        feature["name"] for feature in spec["features"] if feature["kind"] != "number" and feature.get("part") != "days"
    ]


def _number(column: pa.ChunkedArray, feature: Feature) -> np.ndarray:
    import pyarrow as pa

    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    values: np.ndarray = column.cast(pa.float64(), safe=False).to_numpy()
    return values


def _category(column: pa.ChunkedArray, feature: Feature) -> np.ndarray:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    vocabulary = pa.array(feature["vocabulary"], column.type)
    codes = pc.fill_null(pc.index_in(column, value_set=vocabulary), len(vocabulary))
    return np.where(column.is_null().to_numpy(), np.nan, codes.to_numpy().astype(np.float64))


def _date(column: pa.ChunkedArray, feature: Feature) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if feature["part"] == "days":
        microseconds = column.cast(pa.timestamp("us")).cast(pa.int64())
        return _number(microseconds, feature) / (precision.SECONDS_PER_DAY * 1e6)
    parts = {"year": pc.year, "month": pc.month, "day": pc.day, "weekday": pc.day_of_week, "hour": pc.hour}
    return _number(parts[feature["part"]](column), feature)


def _missing(column: pa.ChunkedArray, feature: Feature) -> np.ndarray:
    values: np.ndarray = column.is_null(nan_is_null=True).to_numpy()
    return values


_MAKERS = {"number": _number, "boolean": _number, "category": _category, "date": _date, "missing": _missing}
