"""Feature engineering stage: fit the feature spec on the training rows, then transform each partition by it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from ai_workflow import json_text
from ai_workflow.config.settings import ConfigModel, FeatureOptions, Settings, Split
from ai_workflow.datasets import fingerprint, parquet, partition_cache, partitions, split, target_checks
from ai_workflow.datasets.notation import class_names, epochs
from ai_workflow.datasets.partitions import (
    ID,
    RESERVED,
    ROW,
    SOURCE,
    Dataset,
    DatasetRecord,
    Partition,
    PartitionRecord,
)
from ai_workflow.errors import StageError
from ai_workflow.features import (
    feature_columns,
    function_fit,
    own_features,
    split_rule,
    training_statistics,
    transform,
)
from ai_workflow.features.encodings.target_encoding import TargetEncoders
from ai_workflow.runtime import memory_pressure, partition_threads
from ai_workflow.stage_names import stage
from ai_workflow.storage.file_ref import FileRecord
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    import pyarrow as pa

    from ai_workflow.features.spec import FeatureSpec
    from ai_workflow.stages.preprocessor import CleanData

# Columns beside the features: class index or value of the target, and whether the row is held out.
TARGET, HOLDOUT = f"{RESERVED}target", f"{RESERVED}holdout"
# Group of each row, of a split by groups only.
GROUP = f"{RESERVED}group"
# Weight of each row, of a training with trainer.weight only.
WEIGHT = f"{RESERVED}weight"
UNKNOWN_CLASS = -1
log = logger("feature_engineering")


class ColumnRoles(ConfigModel):
    """Roles of the columns, whether the target is in `schema`, and the rows that are held out."""

    pipeline: str
    task: str
    target: str
    id: str | None
    timestamp: str | None
    holdout: float
    split: Split | None = None
    weight: str | None = None
    is_target_declared: bool = False

    @classmethod
    def of(cls, settings: Settings) -> ColumnRoles:
        """Return the options of the settings."""
        names = ("pipeline", "task", "target", "id", "timestamp")
        options = settings.evaluate
        values = {name: getattr(settings, name) for name in names}
        is_declared = settings.target in settings.columns
        values |= {"holdout": options.holdout, "split": options.split, "weight": settings.trainer.weight}
        return cls(is_target_declared=is_declared, **values)


class FeatureData(DatasetRecord):
    """Result of `fit` and `apply`: the feature partitions, number of features, spec, and warnings about columns."""

    features: int
    spec: FileRecord
    message: str
    warnings: list[str]


@stage("feature_engineering")
def fit(store: Store, clean: CleanData, roles: ColumnRoles, options: FeatureOptions) -> FeatureData:
    """Fit the spec on the training rows of all partitions, and transform every partition by it.

    Raises:
        StageError: there is no training row, no feature, no column that varies, one class or too many, a class that
            appears only after the cutoff, or a target too large to compute with.
    """
    dataset = Dataset.load(store, clean)
    rule = split_rule.fit(store, dataset, roles.split, roles.holdout, roles.target, roles.timestamp)
    only_training = split_rule.training_columns(rule, roles.weight, (roles.target, roles.id, roles.timestamp))
    statistics, shifts = training_statistics.compute(store, dataset, rule, roles.target, roles.task)
    columns = dataset.info["schema"]
    inputs = {name: declared for name, declared in columns.items() if name not in only_training}
    features = transform.build_features(
        inputs, statistics["columns"], roles.model_dump(), options.max_categories, options.min_count, shifts
    )
    if not features:
        raise StageError(
            "no column gives a feature", "Declare a number, category, boolean or datetime column under `schema`"
        )
    target_checks.varies({feature["column"]: statistics["columns"][feature["column"]] for feature in features})
    classes = target_checks.check(statistics, roles.task, roles.target, rule["cutoff"])
    spec: FeatureSpec = {
        "version": transform.VERSION,
        "pipeline": roles.pipeline,
        "task": roles.task,
        "target": roles.target,
        "id": roles.id,
        "timestamp": roles.timestamp,
        "split": rule,
        "schema": columns,
        "cells": dataset.info.get("cells", {}),
        "classes": classes,
        "features": features,
        "statistics": statistics["columns"],
        "training_rows": statistics["rows"],
    }
    if roles.weight:
        target_checks.weights(statistics["columns"].get(roles.weight), roles.weight)
        spec["weight"] = roles.weight
    if only_training:
        spec["training_columns"] = only_training
    if roles.target in shifts:
        spec["target_center"] = shifts[roles.target].center
    warnings = [*statistics["warnings"], *_doubts(spec, is_target_declared=roles.is_target_declared)]
    encoders = TargetEncoders(store, dataset, spec, options.encodings)
    if options.derive:
        spec = function_fit.add(
            store, dataset, spec, options.derive, options.max_categories, options.min_count, encoders
        )
    for warning in warnings:
        log.warning("%s", warning)
    return _transform_all(store, dataset, spec, warnings, encoders)


def _doubts(spec: FeatureSpec, *, is_target_declared: bool) -> list[str]:
    """Return warnings of classes that may be one, and of integers that may be timestamps."""
    classes = spec["classes"] if not is_target_declared else None
    used = {feature["column"] for feature in spec["features"]}
    integers = [name for name in spec.get("cells", {}).get("inferred", ()) if name in used]
    return [
        *(class_names.warnings(spec["target"], classes) if classes else []),
        *epochs.warnings(spec["statistics"], integers),
    ]


@stage("feature_engineering")
def apply(store: Store, clean: CleanData, spec: FeatureSpec) -> FeatureData:
    """Transform clean rows by a spec that was fitted earlier.

    Raises:
        BrokenVersionError: a feature function is missing, or has other code than in the training.
    """
    own_features.OwnFeatures(spec)
    return _transform_all(store, Dataset.load(store, clean), spec, [])


def read_spec(store: Store, featured: FeatureData) -> FeatureSpec:
    """Return the feature spec of a result of this stage.

    Raises:
        StoreError: it is missing or damaged.
    """
    spec: FeatureSpec = json.loads(store.read(featured["spec"]["path"], featured["spec"]["sha256"]))
    return spec


def _transform_all(
    store: Store, dataset: Dataset, spec: FeatureSpec, warnings: list[str], encoders: TargetEncoders | None = None
) -> FeatureData:
    """Transform all partitions; with `encoders` the target encodings of the training rows are out of fold."""
    data = json_text.document(spec)
    spec_fingerprint = hashlib.sha256(data).hexdigest()[: fingerprint.LENGTH]
    ref = store.write(f"{partitions.FOLDER}/features/spec-{spec_fingerprint}.json", data)
    parts = partition_threads.ordered_map(
        lambda part: _transform(store, part, spec, spec_fingerprint, encoders), dataset.partitions, "partitions"
    )
    message = f"{len(spec['features'])} features generated"
    log.info(message)
    result = Dataset("features", tuple(parts), {"spec": spec_fingerprint, **dataset.reduced}).save(store)
    features = len(spec["features"])
    return {**result, "features": features, "spec": ref.to_json(), "message": message, "warnings": warnings}


def _transform(
    store: Store, part: Partition, spec: FeatureSpec, spec_fingerprint: str, encoders: TargetEncoders | None
) -> Partition:
    own = own_features.references_of(spec)
    training = encoders.digests if encoders else []
    key = fingerprint.of("features", fingerprint.code_version(__name__, *own), part.sha256, spec_fingerprint, *training)

    def compute(stem: str) -> PartitionRecord:
        def write(rows: int) -> Partition:
            tables = (
                to_features(table, spec, part.source, encoders) for table in partitions.table_slices(store, part, rows)
            )
            few = [SOURCE, *feature_columns.with_few_values(spec)]
            return partitions.write(store, f"{stem}-00000.parquet", tables, part.source, dictionary=few)

        return memory_pressure.with_smaller_batches(write, part.rows).to_json()

    return Partition(**partition_cache.cached(store, "features", key, compute))


def to_features(
    rows: pa.Table, spec: FeatureSpec, source: str = "", encoders: TargetEncoders | None = None
) -> pa.Table:
    """Return features with `__row`, `__source` and `__id`; with `__target` and `__holdout` if there is a target.

    A split by groups adds `__group`, a column of weights `__weight`. `source` is the file of rows without `__source`.
    With `encoders` the target encodings of training rows are out of fold.
    """
    import pyarrow as pa

    columns = {name: rows[name] for name in (ROW, SOURCE, ID) if name in rows.column_names}
    features = feature_columns.build(rows, spec)
    if spec["target"] in rows.column_names:
        rule = spec["split"]
        names = [*split.input_columns(rule), *(name for name in (SOURCE,) if name in rows.column_names)]
        frame = parquet.to_frame(rows.select(names))
        columns[TARGET] = _target(rows[spec["target"]], spec["classes"])
        if weight := spec.get("weight"):
            columns[WEIGHT] = rows[weight].cast(pa.float64())
        is_held_out = split.is_holdout(frame, rule, source)
        columns[HOLDOUT] = pa.array(is_held_out)
        if encoders:
            features = encoders.replace(rows, features, is_held_out)
        if "group" in rule:
            columns[GROUP] = pa.array(split.group_keys(frame, rule), pa.string())
    return pa.table({**columns, **features})


def _target(values: pa.ChunkedArray, classes: list[str] | None) -> pa.ChunkedArray:
    """Return the (n,) float64 target: its numbers, or the index of each class."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if classes is not None:
        values = pc.index_in(values, value_set=pa.array(classes, values.type))
        values = pc.fill_null(values, UNKNOWN_CLASS)
    return values.cast(pa.float64(), safe=False)
