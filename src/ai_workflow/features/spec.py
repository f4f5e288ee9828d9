"""Type of the feature spec: the JSON that a training fits and that a version keeps in `features.json`."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from ai_workflow.datasets.column_profile import ColumnProfile
from ai_workflow.datasets.split import SplitRule

IN_CACHE_KEY = False


class Feature(TypedDict):
    """One column of the feature matrix; `vocabulary` of a category, `part` of a date, `derived` by a function.

    A number or date with `center` and `scale` is `(value - center) / scale`, computed in float64.
    """

    name: str
    column: str
    kind: str
    vocabulary: NotRequired[list[str]]
    part: NotRequired[str]
    center: NotRequired[float]
    scale: NotRequired[float]
    derived: NotRequired[bool]


class OwnFunction(TypedDict):
    """A function of features: own code with its path and the digest of its code, or a `formula` of columns.

    `columns` are the features that it returns, `state` is what a fitted function has learned from the training rows.
    """

    path: str
    code: str
    columns: list[str]
    formula: NotRequired[dict[str, Any]]
    state: NotRequired[Any]


class Threshold(TypedDict):
    """Class of two that is predicted if its probability is at least `value`."""

    class_index: int
    value: float


class ClassCalibration(TypedDict, total=False):
    """Calibration of one class: `slope` and `intercept` on the log-odds, or points (`x`, `y`) of a rising function."""

    slope: float
    intercept: float
    x: list[float]
    y: list[float]


class Calibration(TypedDict):
    """Calibration of the second of two classes, or of each of more."""

    method: str
    classes: list[ClassCalibration]


class FeatureSpec(TypedDict):
    """Conversion of clean rows to numbers, and the statistics of the training rows; `transform` describes the keys.

    `training_columns` are needed by the training only, such as the group of a split. `threshold` and
    `calibration` are of a published version. `target_center` is a constant near the values of a regression target whose
    distinct values float32 would merge.
    """

    version: int
    pipeline: str
    task: str
    target: str
    target_center: NotRequired[float]
    id: str | None
    timestamp: str | None
    split: SplitRule
    schema: dict[str, dict[str, Any]]
    cells: NotRequired[dict[str, Any]]
    training_columns: NotRequired[list[str]]
    weight: NotRequired[str]
    classes: list[str] | None
    threshold: NotRequired[Threshold]
    calibration: NotRequired[Calibration]
    features: list[Feature]
    derived: NotRequired[list[OwnFunction]]
    statistics: dict[str, ColumnProfile]
    training_rows: int
