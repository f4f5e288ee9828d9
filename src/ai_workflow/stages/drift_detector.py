"""Drift detection stage: feature drift and prediction drift of each version against its training data."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, TypedDict

from ai_workflow.config.settings import ConfigModel, Settings
from ai_workflow.datasets import column_profile, parquet, partitions
from ai_workflow.datasets.partitions import Partition
from ai_workflow.errors import AiWorkflowError
from ai_workflow.features import transform
from ai_workflow.features.cell_reader import CellReader
from ai_workflow.inference.stored_predictions import BATCH
from ai_workflow.quality import drift
from ai_workflow.quality.drift import Drift
from ai_workflow.registry.registry import Registry, Version
from ai_workflow.stage_names import stage
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    import pandas as pd

    from ai_workflow.evaluation.report import EvaluationReport
    from ai_workflow.features.spec import FeatureSpec
    from ai_workflow.stages.label_joiner import LabelJoinResult

# Key of the prediction among the columns; no column has this name in a message.
_PREDICTION = "(prediction)"
_MAX_SHOWN_COLUMNS = 5
log = logger("drift_detector")


class DriftDetectorOptions(ConfigModel):
    """The folder of the versions, and the smallest PSI that counts as drift."""

    folder: str
    floor: float

    @classmethod
    def of(cls, settings: Settings) -> DriftDetectorOptions:
        """Return the options of the settings."""
        return cls(folder=settings.models, floor=settings.evaluation.drift_floor)


class PredictionDrift(TypedDict):
    """Drift of the predictions of a version; None if there is nothing to compare."""

    psi: float | None


class ColumnDrift(PredictionDrift):
    """Drift of one column; `ks` is None for a category."""

    ks: float | None


class VersionDrift(TypedDict):
    """Drift of one version, with the thresholds of PSI and KS for its number of rows."""

    features: dict[str, ColumnDrift]
    prediction: PredictionDrift
    threshold: float | None
    ks_threshold: float | None
    rows: int


class DriftResult(TypedDict):
    """Result of `detect`: the drift by version."""

    drift: dict[str, VersionDrift]
    message: str


@stage("drift_detector")
def detect(store: Store, joined: LabelJoinResult, options: DriftDetectorOptions) -> DriftResult:
    """Compare the recent predictions of each version with the statistics of its training.

    Columns are compared if the service stores values (`service.prediction_log.values`); predictions are always
    compared. Dates are excluded, because they move on with time. No column exceeds `threshold` by chance in 99 of 100
    evaluations, so a small number of rows does not cause a false alert.

    Raises:
        StoreError: the list of recent predictions is damaged.
    """
    registry = Registry(store, options.folder)
    result: dict[str, VersionDrift] = {}
    texts: list[str] = []
    for version in registry.versions():
        result[version] = _describe({}, 0, options.floor)
        if version not in joined["latest"]:
            continue
        recent = partitions.read(store, Partition(**joined["latest"][version]))
        try:
            spec, report = _references(registry, registry.get(version))
        except (AiWorkflowError, ValueError) as error:
            log.warning("drift of %s cannot be computed: %s", version, error)
            continue
        measured, rows = _column_drift(store, recent, spec)
        if prediction := _prediction_drift(recent["prediction"], report):
            measured[_PREDICTION] = prediction
            rows = max(rows, prediction.rows)
        result[version] = _describe(measured, rows, options.floor)
        texts += [f"{version}: {text}" for text in _columns_above_threshold(result[version])]
    more = " and more" if len(texts) > _MAX_SHOWN_COLUMNS else ""
    message = f"drift in {', '.join(texts[:_MAX_SHOWN_COLUMNS])}{more}" if texts else "no drift"
    (log.warning if texts else log.info)(message)
    return {"drift": result, "message": message}


def _references(registry: Registry, version: Version) -> tuple[FeatureSpec, EvaluationReport]:
    """Return the feature spec and the evaluation report of a version, which hold the reference statistics."""
    spec: FeatureSpec = json.loads(registry.read(version, "features.json"))
    report: EvaluationReport = json.loads(registry.read(version, "card.json"))
    return spec, report


def _describe(measured: dict[str, Drift], rows: int, floor: float) -> VersionDrift:
    count = len(measured)
    prediction = measured.get(_PREDICTION)
    return {
        "features": {
            name: {"psi": column.psi, "ks": column.ks} for name, column in measured.items() if name != _PREDICTION
        },
        "prediction": {"psi": prediction.psi if prediction else None},
        "threshold": max((column.threshold(count, floor) for column in measured.values()), default=None),
        "ks_threshold": max((column.ks_threshold(count) for column in measured.values()), default=None),
        "rows": rows,
    }


def _columns_above_threshold(version: VersionDrift) -> list[str]:
    """Return the columns whose PSI exceeds the threshold as text, the largest PSI first."""
    threshold = version["threshold"]
    columns: dict[str, PredictionDrift] = {**version["features"], _PREDICTION: version["prediction"]}
    psi = {name: column["psi"] for name, column in columns.items() if column["psi"] is not None}
    above = {name: value for name, value in psi.items() if threshold is not None and value > threshold}
    return [f"{name} (PSI {above[name]:.2f})" for name in sorted(above, key=lambda name: -above[name])]


def _column_drift(store: Store, recent: pd.DataFrame, spec: FeatureSpec) -> tuple[dict[str, Drift], int]:
    """Return the drift of each column that can be compared, and the number of rows with values."""
    rows = _stored_rows(store, recent)
    reader = CellReader(spec)
    measured: dict[str, Drift] = {}
    for name in transform.input_columns(spec):
        reference, column = spec["statistics"].get(name), reader.columns[name]
        if not rows or not reference or column.type == "datetime":
            continue
        values, _ = reader.of_json(name, [_single(row.get(name)) for row in rows])
        if column.type == "category":
            counts = Counter(values.dropna().tolist())
            missing = int(values.isna().sum())
            column_drift = drift.categorical_drift(counts, dict(reference["counts"]), missing, reference["missing"])
        else:
            column_drift = drift.numeric_drift(values.astype("Float64").astype("float64"), reference)
        if column_drift:
            measured[name] = column_drift
    return measured, len(rows)


def _single(value: Any) -> Any:
    """Return a value, or None for a list or mapping, which a model rejects."""
    return None if isinstance(value, list | dict) else value


def _stored_rows(store: Store, recent: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of the recent predictions as the service received them, if their values are stored."""
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = []
    for path, row_numbers in recent.groupby("path")["row"]:
        with parquet.open_file(store, str(path)) as file:
            if "values" not in pq.read_schema(file).names:
                continue
            start = 0
            for table in parquet.batches(file, BATCH, ["values"]):
                end = start + table.num_rows
                in_batch = row_numbers[(row_numbers >= start) & (row_numbers < end)] - start
                texts = table["values"].take(in_batch.tolist()).to_pylist()
                rows += [row for text in texts if text and isinstance(row := json.loads(text), dict)]
                start = end
    return rows


def _prediction_drift(predictions: pd.Series, report: EvaluationReport) -> Drift | None:
    """Return the drift of predictions from the predictions on the holdout of the evaluation."""
    import pandas as pd

    present = predictions.dropna()
    if classes := report.get("classes"):
        holdout = [sum(column) for column in zip(*report["scores"]["confusion"], strict=True)]
        return drift.categorical_drift(Counter(present.tolist()), dict(zip(classes, holdout, strict=True)))
    sample = pd.Series([prediction for _, prediction in report.get("sample", [])], dtype="float64")
    reference = column_profile.merge_numbers([column_profile.profile_numbers(sample)])
    return drift.numeric_drift(pd.to_numeric(present, errors="coerce").astype("float64"), reference)
