"""Facts about a training for the evaluation report, from the results of its stages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ai_workflow.datasets import split
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.features import transform
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import trace_context

if TYPE_CHECKING:
    from ai_workflow.evaluation.report import TrainingSummary
    from ai_workflow.features.spec import FeatureSpec
    from ai_workflow.stages.feature_engineering import FeatureData
    from ai_workflow.stages.preprocessor import CleanData
    from ai_workflow.stages.trainer import TrainedModel


def of(
    store: Store, spec: FeatureSpec, clean: CleanData, featured: FeatureData, trained: TrainedModel
) -> TrainingSummary:
    """Return the facts about a training from the results of its stages."""
    info = Dataset.load(store, clean).info
    return {
        "pipeline": spec["pipeline"],
        "task": spec["task"],
        "target": spec["target"],
        "classes": spec["classes"],
        "holdout": split.describe(spec["split"]),
        "kind": trained["kind"],
        "library": trained["library"],
        "steps": trained["steps"],
        "hyperparameters": trained["hyperparameters"],
        "period": _period(spec),
        "losses": trained["losses"],
        "training_rows": trained["training_rows"],
        "validation_rows": trained["validation_rows"],
        "reduced": trained["reduced"],
        "adapted": trained["adapted"],
        "left_out": {
            "rejected": clean["rejected"],
            "without_target": clean["without_target"],
            "duplicates": clean["duplicates"],
        },
        "used_columns": transform.input_columns(spec),
        "derived_features": [feature["name"] for feature in spec["features"] if feature.get("derived")],
        "unused_columns": _unused_columns(spec),
        "undeclared": info.get("undeclared", []),
        "stages": info.get("stages", {}),
        "features": featured["features"],
        "columns": len(transform.input_columns(spec)),
        "data": clean["fingerprint"],
        "trace_id": trace_context.current(),
    }


def _unused_columns(spec: FeatureSpec) -> dict[str, str]:
    """Return column -> reason for the columns that are neither a feature nor have a role."""
    roles = {spec["target"], spec["id"], spec["timestamp"]}
    used = {feature["column"] for feature in spec["features"]} | roles
    only_training = spec.get("training_columns", [])
    return {
        name: "needed by the training only" if name in only_training else _reason(declared["type"])
        for name, declared in spec["schema"].items()
        if name not in used
    }


def _reason(kind: str) -> str:
    return "text" if kind == "text" else "no value in the training rows"


def _period(spec: FeatureSpec) -> list[str] | None:
    """Return the first and the last time of the training rows, ISO 8601 in UTC without offset."""
    seen = spec["statistics"].get(spec["timestamp"] or "")
    if seen is None or "min" not in seen:
        return None
    start = datetime(1970, 1, 1, tzinfo=UTC)
    times = [start + timedelta(seconds=seconds) for seconds in (seen["min"], seen["max"])]
    return [moment.replace(tzinfo=None).isoformat(timespec="seconds") for moment in times]
