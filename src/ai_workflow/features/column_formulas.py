"""Features that a pipeline file derives from columns without code: ratio, difference, logarithm, bins and encodings.

A version keeps the declaration with its edges, and the number of the formula's definition: the formula of a number
never changes, so that a later release computes the same features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ai_workflow.errors import StageError
from ai_workflow.features.encodings import target_encoding

if TYPE_CHECKING:
    import pandas as pd

    from ai_workflow.config.settings import DerivedFeature
    from ai_workflow.datasets.column_profile import ColumnProfile
    from ai_workflow.features.spec import OwnFunction

# Number of the definitions below.
DEFINITION = "formula-1"
_DAY_SECONDS = 86_400.0
_NUMBERS, _DATES = ("integer", "number"), ("datetime",)


def label(formula: Mapping[str, Any]) -> str:
    """Return the name of a formula for messages, such as `ratio of debt and income`."""
    columns = [formula[key] for key in ("column", "divisor", "minus") if formula.get(key)]
    return f"{formula['kind']} of {' and '.join(columns)}"


def fit(
    feature: DerivedFeature, schema: Mapping[str, Mapping[str, Any]], statistics: Mapping[str, ColumnProfile]
) -> dict[str, Any]:
    """Return the formula that a version keeps: the declaration, with the edges of its bins.

    Args:
        feature: the declaration.
        schema: column -> its declaration, of the columns that a formula may use.
        statistics: column -> its profile in the training rows.

    Raises:
        StageError: a column does not exist, is no feature, or has another type than the formula takes.
    """
    formula = {key: value for key, value in feature.model_dump(mode="json").items() if value is not None}
    formula["name"] = feature.feature
    kinds = _NUMBERS + (_DATES if feature.kind == "difference" else ())
    for name in feature.columns:
        if name not in schema:
            raise StageError(
                f"features.derive {label(formula)}: there is no column {name} among the features",
                f"Name one of {', '.join(sorted(schema)) or 'none'}",
            )
        if schema[name]["type"] not in kinds:
            raise StageError(
                f"features.derive {label(formula)}: {name} is of type {schema[name]['type']}",
                f"Name a column of type {', '.join(kinds)}, or declare its type in schema",
            )
    if len({schema[name]["type"] in _DATES for name in feature.columns}) > 1:
        raise StageError(
            f"features.derive {label(formula)}: only one of them is a date", "Name two dates or two numbers"
        )
    if feature.kind == "bins" and feature.edges is None:
        formula["edges"] = _quantiles(statistics[feature.column], int(feature.count or 0))
    return formula


def definition(formula: Mapping[str, Any]) -> str:
    """Return the number of the definition of a formula."""
    return target_encoding.DEFINITION if formula["kind"] == "target" else DEFINITION


def function(own: OwnFunction) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Return the function that computes the formula of a version for rows; an infinite result is missing."""
    formula = own["formula"]
    if formula["kind"] == "target":
        return target_encoding.function(formula["column"], own["state"], own["columns"])
    return lambda rows: _values(formula, rows).rename(formula["name"]).to_frame()


def _quantiles(profile: ColumnProfile, count: int) -> list[float]:
    """Return the inner edges of bins with equal shares of the training rows, each once."""
    import numpy as np

    quantiles = np.asarray(profile["quantiles"], dtype=float)
    places = np.arange(1, count) / count * (len(quantiles) - 1)
    edges = np.unique(np.interp(places, np.arange(len(quantiles)), quantiles))
    return [float(edge) for edge in edges]


def _values(formula: Mapping[str, Any], rows: pd.DataFrame) -> pd.Series:
    import numpy as np
    import pandas as pd

    kind, column = formula["kind"], rows[formula["column"]]
    with np.errstate(all="ignore"):
        if kind == "ratio":
            return pd.Series(column / rows[formula["divisor"]])
        if kind == "difference":
            found = column - rows[formula["minus"]]
            is_time = pd.api.types.is_timedelta64_dtype(found)
            return pd.Series(found.dt.total_seconds() / _DAY_SECONDS if is_time else found)
        if kind == "bins":
            values = column.to_numpy(dtype=float)
            places = np.searchsorted(np.asarray(formula["edges"], dtype=float), values, side="right")
            return pd.Series(np.where(np.isnan(values), np.nan, places), index=rows.index)
        return pd.Series(np.log(column) if kind == "log" else np.log1p(column), index=rows.index)
