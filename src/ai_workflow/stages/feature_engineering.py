"""Turns clean rows into numbers: fits a spec on the training rows, then transforms each partition by it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ai_workflow import json_text
from ai_workflow.config.settings import ConfigModel, FeatureOptions, Settings
from ai_workflow.datasets import column_profile, fingerprint, parquet, partitions, split, target_checks
from ai_workflow.datasets.partitions import ID, RESERVED, ROW, Dataset, Partition
from ai_workflow.errors import StageError
from ai_workflow.features import transform
from ai_workflow.runtime import memory_pressure, progress
from ai_workflow.stage_names import stage
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    import pandas as pd

# Columns of a feature partition beside the features: class index or value, and whether the row is held out.
TARGET, HOLDOUT = f"{RESERVED}target", f"{RESERVED}holdout"
UNKNOWN_CLASS = -1
log = logger("feature_engineering")


class Roles(ConfigModel):
    """What the columns stand for, and which rows are held out."""

    pipeline: str
    task: str
    target: str
    id: str | None
    timestamp: str | None
    holdout: float

    @classmethod
    def of(cls, settings: Settings) -> Roles:
        """Return the roles that the settings describe."""
        names = ("pipeline", "task", "target", "id", "timestamp")
        return cls(holdout=settings.evaluate.holdout, **{name: getattr(settings, name) for name in names})


@stage("feature_engineering")
def fit(store: Store, clean: dict[str, Any], roles: Roles, options: FeatureOptions) -> dict[str, Any]:
    """Fit the spec on the training rows of all partitions, transform every partition, and return references to both.

    Raises:
        StageError: no training row, no feature, no column that varies, one class or too many, a class that only the
            future knows, or a target too large to compute with.
    """
    dataset = Dataset.load(store, clean)
    cut = split.cutoff(store, dataset, roles.timestamp, roles.holdout) if roles.timestamp else None
    parting = {"holdout": roles.holdout, "timestamp": roles.timestamp, "cutoff": cut}
    seen = _statistics(store, dataset, parting, roles.target, roles.task)
    columns = dataset.info["schema"]
    described = transform.build_features(
        columns, seen["columns"], roles.model_dump(), options.max_categories, options.min_count
    )
    if not described:
        raise StageError(
            "no column gives a feature", "Declare a number, category, boolean or datetime column under `schema`"
        )
    target_checks.varies({name: seen["columns"][name] for name in {feature["column"] for feature in described}})
    if roles.task == "regression":
        target_checks.numbers(seen["columns"][roles.target], roles.target)
    spec = {
        "version": transform.VERSION,
        "pipeline": roles.pipeline,
        "task": roles.task,
        "target": roles.target,
        "id": roles.id,
        "timestamp": roles.timestamp,
        "split": parting,
        "schema": columns,
        "cells": dataset.info.get("cells", {}),
        "classes": target_checks.classes(seen, roles.target, cut) if roles.task == "classification" else None,
        "features": described,
        "statistics": seen["columns"],
        "training_rows": seen["rows"],
    }
    return _transform_all(store, dataset, spec)


@stage("feature_engineering")
def apply(store: Store, clean: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """Transform clean rows by a spec fitted earlier, and return references to the features and the spec."""
    return _transform_all(store, Dataset.load(store, clean), spec)


def read_spec(store: Store, featured: dict[str, Any]) -> dict[str, Any]:
    """Return the spec that a result of this stage refers to.

    Raises:
        StoreError: it is missing or damaged.
    """
    spec: dict[str, Any] = json.loads(store.read(featured["spec"]["path"], featured["spec"]["sha256"]))
    return spec


def _transform_all(store: Store, dataset: Dataset, spec: dict[str, Any]) -> dict[str, Any]:
    data = json_text.document(spec)
    stamp = fingerprint.of(spec)
    ref = store.write(f"{partitions.FOLDER}/features/spec-{stamp}.json", data)
    parts = []
    for number, part in enumerate(dataset.partitions, 1):
        parts.append(_transform(store, part, spec, stamp))
        progress.report(number, len(dataset.partitions), "partitions")
    message = f"{len(spec['features'])} features generated"
    log.info(message)
    result = Dataset("features", tuple(parts), {"spec": stamp, **dataset.reduced}).save(store)
    return {**result, "features": len(spec["features"]), "spec": ref.to_json(), "message": message}


def _transform(store: Store, part: Partition, spec: dict[str, Any], stamp: str) -> Partition:
    key = fingerprint.of("features", fingerprint.code_version(__name__), part.sha256, stamp)

    def compute(stem: str) -> dict[str, Any]:
        def made(rows: int) -> Partition:
            frames = partitions.slices(store, part, rows)
            tables = (parquet.to_table(to_features(frame, spec)) for frame in frames)
            return partitions.write(store, f"{stem}-00000.parquet", tables, part.source)

        return asdict(memory_pressure.with_smaller_batches(made, part.rows))

    return Partition(**partitions.cached(store, "features", key, compute))


def to_features(frame: pd.DataFrame, spec: dict[str, Any]) -> pd.DataFrame:
    """Return features with `__row` and `__id`, and `__target` and `__holdout` where the target is there."""
    import pandas as pd

    made = pd.DataFrame(transform.transform(frame, spec), columns=transform.names(spec))
    made.insert(0, ROW, frame[ROW])
    made.insert(1, ID, frame[ID])
    if spec["target"] in frame:
        target = frame[spec["target"]]
        if spec["classes"] is not None:
            target = target.map({name: index for index, name in enumerate(spec["classes"])}).fillna(UNKNOWN_CLASS)
        made.insert(2, TARGET, target.astype("float64"))
        made.insert(3, HOLDOUT, split.is_holdout(frame, spec["split"]))
    return made


def _statistics(store: Store, dataset: Dataset, parting: dict[str, Any], target: str, task: str) -> dict[str, Any]:
    """Return what the training rows hold: `rows`, `columns`, and for classes their counts in training and holdout."""
    columns = dataset.info["schema"]
    parts: list[dict[str, Any]] = []
    for part in dataset.partitions:
        key = fingerprint.of(
            "statistics", fingerprint.code_version(__name__), part.sha256, parting, columns, target, task
        )

        def look(_: str, part: Partition = part) -> dict[str, Any]:
            return _of_partition(store, part, columns, parting, target)

        parts.append(partitions.cached(store, "statistics", key, look))
    rows = sum(part["rows"] for part in parts)
    if not rows:
        raise StageError("every row is held out, none is left to train on", "Give more rows, or lower evaluate.holdout")
    if rows == dataset.rows:
        raise StageError(
            f"none of {rows} rows is held out, so nothing could judge the model",
            "Give more rows",
        )
    merged = {
        name: _merge(declared["type"], [part["columns"][name] for part in parts]) for name, declared in columns.items()
    }
    held = column_profile.merge_values([part["held"] for part in parts]) if task == "classification" else None
    return {"rows": rows, "columns": merged, "held": held}


def _of_partition(
    store: Store, part: Partition, columns: dict[str, Any], parting: dict[str, Any], target: str
) -> dict[str, Any]:
    """Return what one partition holds; one column is in memory at a time."""
    keys = [ID, parting["timestamp"]] if parting["cutoff"] else [ID]
    held = split.is_holdout(partitions.read(store, part, keys), parting)

    def column(name: str) -> pd.Series:
        return partitions.read(store, part, [name])[name]

    body = {name: _of_column(column(name)[~held], declared["type"]) for name, declared in columns.items()}
    return {"rows": int((~held).sum()), "columns": body, "held": column_profile.profile_values(column(target)[held])}


def _of_column(values: pd.Series, kind: str) -> dict[str, Any]:
    if kind in ("category", "text"):
        body = column_profile.profile_values(values)
        # Free text is not kept: it is no feature, and may be personal.
        return body | {"counts": []} if kind == "text" else body
    if kind == "datetime":
        body = column_profile.profile_numbers(values.astype("int64").where(values.notna()) / 1e6)
        present = values.dropna()
        return body | {"has_hours": bool((present != present.dt.normalize()).any())}
    return column_profile.profile_numbers(values.astype("Float64"))


def _merge(kind: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    if kind in ("category", "text"):
        return column_profile.merge_values(parts)
    merged = column_profile.merge_numbers(parts)
    return merged | {"has_hours": any(part["has_hours"] for part in parts)} if kind == "datetime" else merged
