"""Statistics of the training rows by column, and the shifts of columns whose digits float32 would lose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from ai_workflow.datasets import column_profile, fingerprint, parquet, partition_cache, partitions, split
from ai_workflow.datasets.partitions import SOURCE, Dataset, Partition
from ai_workflow.errors import StageError
from ai_workflow.features import precision
from ai_workflow.features.precision import DistinctCounts, Shift
from ai_workflow.runtime import memory_pressure, partition_threads
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import pyarrow as pa

    from ai_workflow.datasets.column_profile import ColumnProfile
    from ai_workflow.datasets.split import SplitRule
    from ai_workflow.datasets.target_checks import TrainingStatistics

Columns = dict[str, dict[str, Any]]
# Columns in memory at once.
_COLUMNS_AT_ONCE = 32
_MAX_FEW = 16
_MICROSECONDS_PER_DAY = precision.SECONDS_PER_DAY * 1_000_000
log = logger("feature_engineering")


class _PartitionStatistics(TypedDict):
    """Statistics of the training rows of one partition, and of the target in its rows held out.

    `lossy` are the columns with distinct values that are equal in float32, `few` has the distinct values of the columns
    with at most 16, for a comparison between partitions.
    """

    rows: int
    columns: dict[str, ColumnProfile]
    lossy: list[str]
    few: dict[str, list[float]]
    holdout: ColumnProfile


class _ShiftCounts(TypedDict):
    """Distinct counts of a column for each candidate, by column."""

    columns: dict[str, list[tuple[int, int, bool]]]


def compute(
    store: Store, dataset: Dataset, rule: SplitRule, target: str, task: str
) -> tuple[TrainingStatistics, dict[str, Shift]]:
    """Return the statistics of the training rows, merged over the partitions, and the shift of each lossy column.

    Raises:
        StageError: no row is a training row, or none is held out.
    """
    columns = dataset.info["schema"]
    parts = partition_threads.ordered_map(
        lambda part: _cached_statistics(store, part, rule, columns, target, task), dataset.partitions
    )
    rows = sum(part["rows"] for part in parts)
    if not rows:
        raise StageError(
            "every row is held out, so there is no training row",
            "Add rows to the source, lower evaluate.holdout, or change evaluate.split",
        )
    if rows == dataset.rows:
        raise StageError(
            f"none of {rows} rows is held out, so the model cannot be evaluated",
            "Add rows to the source, or change evaluate.split",
        )
    merged = {
        name: _merge_profiles(declared["type"], [part["columns"][name] for part in parts])
        for name, declared in columns.items()
    }
    holdout = column_profile.merge_values([part["holdout"] for part in parts]) if task == "classification" else None
    few = {name: _few(parts, name) for name in columns}
    lossy = [
        name for name in columns if any(name in part["lossy"] for part in parts) or precision.count(few[name]).is_lossy
    ]
    shifts, warnings = _shifts(store, dataset, rule, {name: columns[name] for name in lossy}, merged, few)
    return {"rows": rows, "columns": merged, "holdout": holdout, "warnings": warnings}, shifts


def _cached_statistics(
    store: Store, part: Partition, rule: SplitRule, columns: Columns, target: str, task: str
) -> _PartitionStatistics:
    key = fingerprint.of("statistics", fingerprint.code_version(__name__), part.sha256, rule, columns, target, task)

    def compute(_: str) -> _PartitionStatistics:
        try:
            return _partition_statistics(store, part, columns, rule, target, _COLUMNS_AT_ONCE)
        except MemoryError:
            log.debug("memory is short: the columns of %s are read one by one", part.source)
        memory_pressure.release()
        return _partition_statistics(store, part, columns, rule, target, 1)

    return partition_cache.cached(store, "statistics", key, compute)


def _partition_statistics(
    store: Store, part: Partition, columns: Columns, rule: SplitRule, target: str, at_once: int
) -> _PartitionStatistics:
    """Return the statistics of a partition, with `at_once` columns in memory."""
    import numpy as np

    is_held_out = _is_held_out(store, part, rule)
    profiles: dict[str, ColumnProfile] = {}
    lossy: list[str] = []
    few: dict[str, list[float]] = {}
    holdout: ColumnProfile = {"rows": 0, "present": 0, "counts": []}
    for name, column in _columns(store, part, list(columns), at_once):
        kind = columns[name]["type"]
        if name == target and kind == "category":
            holdout = column_profile.count_values(column.filter(is_held_out))
        training = column.filter(~is_held_out)
        if kind in ("category", "text"):
            # Free text is not a feature, and may be personal data.
            profiles[name] = column_profile.count_values(training, with_counts=kind == "category")
            continue
        present = _numbers(training)
        ordered = np.sort(present)
        profiles[name] = _profile(present, ordered, len(training), kind)
        if kind != "boolean":
            ordered = _in_feature_unit(ordered, kind)
            lossy += [name] if precision.count(ordered).is_lossy else []
            few |= {name: values} if (values := precision.distinct(ordered, _MAX_FEW)) else {}
    return {
        "rows": int((~is_held_out).sum()),
        "columns": {name: profiles[name] for name in columns},
        "lossy": lossy,
        "few": few,
        "holdout": holdout,
    }


def _profile(present: np.ndarray, ordered: np.ndarray, rows: int, kind: str) -> ColumnProfile:
    """Return the profile of the present values of a column, also given in order."""
    if kind != "datetime":
        return column_profile.profile_present(present.astype("float64"), rows, ordered.astype("float64"))
    profile = column_profile.profile_present(present / 1e6, rows, ordered / 1e6)
    return {**profile, "has_hours": bool((present % _MICROSECONDS_PER_DAY != 0).any())}


def _is_held_out(store: Store, part: Partition, rule: SplitRule) -> np.ndarray:
    columns = split.input_columns(rule)
    # A partition of one file has no `__source`, which is then not read.
    columns += [SOURCE] if "files" in rule else []
    return split.is_holdout(partitions.read(store, part, columns), rule, part.source)


def _columns(store: Store, part: Partition, names: list[str], at_once: int) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Yield each column of a partition, `at_once` in memory."""
    with parquet.open_file(store, part.path) as file:
        for table in parquet.column_groups(file, names, at_once):
            for name in table.column_names:
                yield name, table[name]


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """Return the present values: float64, int64, or microseconds since 1970."""
    import numpy as np
    import pyarrow as pa

    present = column.drop_null()
    if pa.types.is_timestamp(present.type):
        present = present.cast(pa.timestamp("us")).cast(pa.int64())
    elif pa.types.is_boolean(present.type):
        present = present.cast(pa.int8())
    values: np.ndarray = present.to_numpy()
    return values[~np.isnan(values)] if values.dtype.kind == "f" else values


def _in_feature_unit(present: np.ndarray, kind: str) -> np.ndarray:
    return present / _MICROSECONDS_PER_DAY if kind == "datetime" else present


def _merge_profiles(kind: str, parts: list[ColumnProfile]) -> ColumnProfile:
    if kind in ("category", "text"):
        return column_profile.merge_values(parts)
    merged = column_profile.merge_numbers(parts)
    if kind != "datetime":
        return merged
    return {**merged, "has_hours": any(part["has_hours"] for part in parts)}


def _few(parts: list[_PartitionStatistics], name: str) -> np.ndarray:
    """Return the sorted values of a column in the partitions that have few distinct ones."""
    import numpy as np

    return np.sort(np.array([value for part in parts for value in part["few"].get(name, ())]))


def _shifts(
    store: Store,
    dataset: Dataset,
    rule: SplitRule,
    columns: Columns,
    seen: dict[str, ColumnProfile],
    few: dict[str, np.ndarray],
) -> tuple[dict[str, Shift], list[str]]:
    """Return the shift that keeps most values of each column distinct, and warnings about values that merge."""
    if not columns:
        return {}, []
    units = {name: precision.SECONDS_PER_DAY if columns[name]["type"] == "datetime" else 1 for name in columns}
    tried = {name: precision.candidates(seen[name], units[name]) for name in columns}
    counted = partition_threads.ordered_map(
        lambda part: _cached_counts(store, part, rule, columns, tried)["columns"], dataset.partitions
    )
    chosen: dict[str, Shift] = {}
    warnings = []
    for name, shifts in tried.items():
        counts = [
            precision.add(
                [precision.count(few[name], shift)] + [DistinctCounts(*part[name][number]) for part in counted]
            )
            for number, shift in enumerate(shifts)
        ]
        shift, best = precision.best(shifts, counts)
        if shift != precision.UNSHIFTED:
            chosen[name] = shift
        if best.is_lossy:
            warnings.append(precision.warning(name, best))
    return chosen, warnings


def _cached_counts(
    store: Store, part: Partition, rule: SplitRule, columns: Columns, tried: dict[str, list[Shift]]
) -> _ShiftCounts:
    def compute(_: str) -> _ShiftCounts:
        import numpy as np

        is_training = ~_is_held_out(store, part, rule)
        counts: dict[str, list[tuple[int, int, bool]]] = {}
        for name, column in _columns(store, part, list(columns), 1):
            values = np.sort(_in_feature_unit(_numbers(column.filter(is_training)), columns[name]["type"]))
            counts[name] = [tuple(precision.count(values, shift)) for shift in tried[name]]  # type: ignore[misc]
        return {"columns": counts}

    key = fingerprint.of("precision", fingerprint.code_version(__name__), part.sha256, rule, columns, tried)
    return partition_cache.cached(store, "statistics", key, compute)
