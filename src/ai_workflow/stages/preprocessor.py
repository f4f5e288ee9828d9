"""Preprocessing stage: type, check and deduplicate rows; rejected rows go to quarantine with a reason."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from ai_workflow.config.settings import Column
from ai_workflow.datasets import (
    absent_columns,
    coercion,
    deduplication,
    fingerprint,
    parquet,
    partition_cache,
    partitions,
    quarantine,
)
from ai_workflow.datasets.cells import CellRules
from ai_workflow.datasets.deduplication import CleanedRecord, CleanPartition
from ai_workflow.datasets.kernels import clean_column, index_column, type_inference
from ai_workflow.datasets.notation import notations
from ai_workflow.datasets.notation.type_evidence import TextRules
from ai_workflow.datasets.partitions import ID, ROW, SOURCE, Dataset, DatasetInfo, DatasetRecord, Partition
from ai_workflow.datasets.row_counts import LeftOut, RowCounts
from ai_workflow.errors import EmptySourceError, StageError
from ai_workflow.features.row_rules import RowRules
from ai_workflow.runtime import memory_pressure, progress
from ai_workflow.stage_names import stage
from ai_workflow.storage.file_ref import FileRecord
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from ai_workflow.stages.data_loader import LoadedData

# Largest share of values that may contradict the inferred type of a column, even if reject_limit is higher.
_MAX_CONTRADICTING = 0.05
log = logger("preprocessor")
__all__ = ["RowRules", "preprocess"]


class _RowLists(TypedDict):
    """Files of the rejected rows and of the removed duplicates."""

    quarantine: FileRecord | None
    duplicate_rows: FileRecord | None


class CleanData(DatasetRecord, LeftOut, _RowLists):
    """Result of `preprocess`: the clean rows, the numbers of the others, and the files that list these.

    `warnings` are doubts about undeclared columns, each with the setting that settles it.
    """

    message: str
    warnings: list[str]


@stage("preprocessor")
def preprocess(store: Store, loaded: LoadedData, rules: RowRules) -> CleanData:
    """Clean the loaded rows, partition by partition; the result has `__row`, `__source`, `__id` and the columns.

    Raises:
        EmptySourceError: there is no row to train with; a scoring without rows gives no predictions.
        StageError: a column is missing or empty, no row is left, or more rows than `reject_limit` are rejected.
    """
    dataset = Dataset.load(store, loaded)
    if not dataset.rows and not rules.closed:
        raise EmptySourceError("the source has no rows", "Give a source with rows")
    columns, warnings = _resolve(store, dataset, rules)
    for warning in warnings:
        log.warning("%s", warning)
    rules = rules if rules.closed else rules.model_copy(update={"cells": _cells(dataset, columns, rules)})
    cleaned = []
    for number, part in enumerate(dataset.partitions, 1):
        cleaned.append(_clean(store, part, columns, rules))
        progress.report(number, len(dataset.partitions), "partitions")
    if rules.deduplicate == "rows" or (rules.deduplicate == "id" and rules.id):
        cleaned = deduplication.drop_duplicates(store, cleaned, rules.id if rules.deduplicate == "id" else None)
    kept = tuple(body.part for body in cleaned if body.part.rows)
    info: DatasetInfo = {
        "schema": _schema_json(columns, rules),
        "cells": rules.cells.model_dump(mode="json"),
        **dataset.reduced,
        # Later stages show them, so that their results depend on them.
        **({"warnings": warnings} if warnings else {}),
    }
    clean = Dataset("clean", kept, info)
    counts, lists = _count(store, cleaned, dataset.rows, rules)
    for name in columns if not rules.closed else ():
        if not any(body.present[name] for body in cleaned):
            raise _empty_column_error(name, clean.rows)
    log.info(counts.message)
    return {**clean.save(store), **counts.left_out, **lists, "message": counts.message, "warnings": warnings}


def _count(store: Store, cleaned: list[CleanPartition], loaded: int, rules: RowRules) -> tuple[RowCounts, _RowLists]:
    """Return the numbers of rows, and the lists of those that are rejected and repeated.

    Raises:
        StageError: no row is left, or too many are rejected.
    """
    rejected = quarantine.write_report(store, [body.rejected for body in cleaned if body.rejected])
    repeated = quarantine.write_report(store, [body.duplicates for body in cleaned if body.duplicates], "duplicates")
    clean, without_target = sum(body.part.rows for body in cleaned), sum(body.without_target for body in cleaned)
    counts = RowCounts(loaded, clean, rejected.rows, without_target, repeated.rows)
    remedy = _remedy(rejected.summary, rules)
    counts.check(rules.target, rules.limit_key, rules.reject_limit, rejected.summary, remedy)
    if rules.closed and rejected.rows:
        log.warning("%d of %d rows are rejected and not scored: %s", rejected.rows, loaded, rejected.summary)
    if repeated.ref:
        log.info("the duplicates are in %s", store.url(repeated.ref.path))
    return counts, {
        "quarantine": rejected.ref.to_json() if rejected.ref else None,
        "duplicate_rows": repeated.ref.to_json() if repeated.ref else None,
    }


def _cells(dataset: Dataset, columns: dict[str, Column], rules: RowRules) -> CellRules:
    """Return the cell rule of the source, with the kinds of its columns and the declared target."""
    kinds = {column["name"]: column["type"] for column in dataset.info["columns"] if column["name"] in columns}
    target = columns[rules.target] if rules.target else None
    inferred = [name for name, column in columns.items() if column.type == "integer" and name not in rules.columns]
    return rules.cells.model_copy(update={"kinds": kinds, "target": target, "inferred": tuple(inferred)})


def _schema_json(columns: dict[str, Column], rules: RowRules) -> dict[str, dict[str, Any]]:
    """Return the columns as JSON; the target of a classification is a category in clean data."""
    targets = {rules.target: Column(type="category")} if rules.task == "classification" else {}
    return {name: targets.get(name, column).model_dump(mode="json") for name, column in columns.items()}


def _remedy(summary: str, rules: RowRules) -> str:
    if rules.task == "regression" and rules.target and f"{rules.target} is not a number" in summary:
        return f"If '{rules.target}' holds words, set task: classification; else fix the source or its `schema`"
    return "Fix the source or its `schema`"


def _resolve(store: Store, dataset: Dataset, rules: RowRules) -> tuple[dict[str, Column], list[str]]:
    """Return the columns in the order of the table, and warnings about those whose type is inferred from values."""
    kinds = {column["name"]: column["type"] for column in dataset.info["columns"]}
    absent, roles = dataset.info.get("absent", {}), [name for name in (rules.target, rules.id, rules.timestamp) if name]
    if rules.closed:
        _require(rules.columns, kinds, "the model needs column")
        absent_columns.check(absent, rules.columns, roles, is_closed=True)
        return dict(rules.columns), []
    _require([name for name in (rules.target,) if name], kinds, "the target column is missing: no column")
    _require(
        [name for name in (rules.id, rules.timestamp) if name],
        kinds,
        "the id or timestamp column is missing: no column",
    )
    declared = [name for name, column in rules.columns.items() if not column.drop]
    _require(declared, kinds, "`schema` declares a column that is not there: no column")
    undeclared = [name for name in kinds if name not in rules.columns and name not in roles]
    indexes, doubts = index_column.find(store, dataset, undeclared)
    kinds, absent = ({name: each[name] for name in each if name not in indexes} for each in (kinds, absent))
    absent_columns.check(absent, rules.columns, roles, is_closed=False)
    columns = {name: rules.columns.get(name) or _role_column(name, rules) for name in kinds}
    open_texts = [
        name for name in kinds if kinds[name] == "string" and name not in rules.columns and _is_inferred(columns[name])
    ]
    text_rules = TextRules(rules.decimal, rules.thousands, rules.cells.default_missing)
    limit = min(rules.reject_limit, _MAX_CONTRADICTING)
    inferred = type_inference.infer_columns(store, dataset, open_texts, limit, text_rules)
    for name in open_texts:
        if name not in inferred and columns[name] is None:
            raise _empty_column_error(name, dataset.rows)
    resolved = {}
    for name, column in columns.items():
        kind = inferred[name].column.type if name in inferred else kinds[name]
        typed = column or Column(type=kind, nullable=True)
        if name in inferred:
            typed = _with_notation(typed, inferred[name].column)
        resolved[name] = notations.with_defaults(typed, rules.decimal, rules.thousands)
    _log_inferred(resolved, [name for name in kinds if name not in rules.columns and name != rules.target])
    warnings = doubts + [warning for inference in inferred.values() for warning in inference.warnings]
    return {name: column for name, column in resolved.items() if not column.drop}, warnings


def _require(names: Iterable[str], present: Mapping[str, str], problem: str) -> None:
    """Raise StageError if a column is missing."""
    for name in names:
        if name not in present:
            similar = difflib.get_close_matches(name, present, n=1)
            hint = f"Did you mean '{similar[0]}'?" if similar else "Fix the name, or `source.columns`"
            shown = ", ".join(list(present)[:20]) + (", …" if len(present) > 20 else "")
            raise StageError(f"{problem} '{name}'; the table has {shown}", hint)


def _role_column(name: str, rules: RowRules) -> Column | None:
    if name == rules.target:
        return Column(type="category" if rules.task == "classification" else "number")
    if name == rules.id:
        return Column(type="text")
    return Column(type="datetime") if name == rules.timestamp else None


def _is_inferred(role: Column | None) -> bool:
    """Return whether the values of an undeclared column are read to infer its type, or the notation of its role."""
    return role is None or role.type in ("number", "datetime")


def _with_notation(role: Column, inferred: Column) -> Column:
    """Return a column with the notation that its values have, if they have the type of its role."""
    if inferred.type != role.type:
        return role
    return inferred.model_copy(update={"nullable": role.nullable})


def _empty_column_error(name: str, rows: int) -> StageError:
    return StageError(
        f"column '{name}' has no value in any of {rows} rows",
        f"Fix the source, or leave the column out: schema: {{{name}: {{type: text, drop: true}}}}",
    )


def _log_inferred(columns: dict[str, Column], undeclared: list[str]) -> None:
    by_type: dict[str, list[str]] = {}
    for name in undeclared:
        by_type.setdefault(columns[name].type, []).append(name)
    for kind, names in by_type.items():
        shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        left = " (left out of the features)" if kind == "text" else ""
        log.info("%d columns typed by their values as %s%s: %s", len(names), kind, left, shown)


def _clean(store: Store, part: Partition, columns: dict[str, Column], rules: RowRules) -> CleanPartition:
    """Return the clean partition and its rejected rows, computed or from the cache."""
    roles = (rules.id, rules.target, rules.task)
    code = fingerprint.code_version(__name__)
    inputs = (part.sha256, part.source, columns, list(columns), roles, rules.cells, rules.known)
    key = fingerprint.of("clean", code, *inputs)

    def compute(stem: str) -> CleanedRecord:
        def write(rows: int) -> CleanPartition:
            rejected: list[pa.Table] = []
            present = dict.fromkeys(columns, 0)
            without_target: list[int] = []

            def to_clean(table: pa.Table) -> pa.Table:
                clean, findings, unlabelled = _clean_rows(table, columns, rules, part.source)
                without_target.append(unlabelled)
                rejected.extend([quarantine.of_table(table, findings, part.source)] if findings else [])
                present.update({name: present[name] + len(clean) - clean[name].null_count for name in columns})
                return clean

            tables = map(to_clean, partitions.table_slices(store, part, rows))
            clean_part = partitions.write(store, f"{stem}-00000.parquet", tables, part.source)
            if not rejected:
                return CleanPartition(clean_part, None, present, sum(without_target))
            rejected_part = partitions.write(store, f"{stem}-rejected.parquet", rejected, part.source)
            return CleanPartition(clean_part, rejected_part, present, sum(without_target))

        return memory_pressure.with_smaller_batches(write, part.rows).to_json()

    return CleanPartition.from_json(partition_cache.cached(store, "clean", key, compute))


def _clean_rows(
    table: pa.Table, columns: dict[str, Column], rules: RowRules, source: str
) -> tuple[pa.Table, list[tuple[str, str, np.ndarray]], int]:
    """Return the typed rows that pass all checks, the findings in the others, and the number of rows without target.

    A finding is column, reason and mask of rejected rows; a row without target has none.
    """
    import numpy as np
    import pyarrow as pa

    typed: dict[str, Any] = {name: table[name] for name in (ROW, SOURCE) if name in table.column_names}
    findings: list[tuple[str, str, np.ndarray]] = []
    unlabelled = np.zeros(table.num_rows, dtype=bool)
    for name, column in columns.items():
        is_target = name == rules.target
        declared = column.model_copy(update={"nullable": False}) if is_target else column
        typed[name], found = clean_column.clean(table[name], declared, rules.cells, rules.spelling(name))
        if is_target:
            unlabelled = next((rows for reason, rows in found if reason == coercion.IS_MISSING), unlabelled)
        if is_target and rules.task == "classification":
            typed[name] = clean_column.to_category(typed[name])
        findings += [(name, reason, rejected) for reason, rejected in found]
    labelled = [(name, reason, rejected & ~unlabelled) for name, reason, rejected in findings]
    findings = [finding for finding in labelled if finding[2].any()]
    good = np.logical_and.reduce([~unlabelled, *(~rejected for _, _, rejected in findings)])
    typed[ID] = clean_column.to_text(typed[rules.id]) if rules.id else clean_column.row_ids(table, source)
    clean = parquet.with_frame_types(pa.table(typed))
    return (clean if good.all() else clean.filter(pa.array(good))), findings, int(unlabelled.sum())
