"""Preprocessing stage: type, check and deduplicate rows; rejected rows go to quarantine with a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from ai_workflow.cleaning import column_types, single_read
from ai_workflow.cleaning.column_types import ColumnTypes
from ai_workflow.config.settings import Column
from ai_workflow.datasets import deduplication, quarantine
from ai_workflow.datasets.deduplication import CleanPartition
from ai_workflow.datasets.notation.published import NO_TYPES, PublishedTypes
from ai_workflow.datasets.partitions import Dataset, DatasetInfo, DatasetRecord
from ai_workflow.datasets.row_counts import LeftOut, RowCounts
from ai_workflow.errors import EmptySourceError
from ai_workflow.features.row_rules import RowRules
from ai_workflow.stage_names import stage
from ai_workflow.storage.file_ref import FileRecord
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    from ai_workflow.stages.data_loader import LoadedData

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
def preprocess(store: Store, loaded: LoadedData, rules: RowRules, published: PublishedTypes = NO_TYPES) -> CleanData:
    """Clean the loaded rows, partition by partition; the result has `__row`, `__source`, `__id` and the columns.

    Args:
        store: the store of the rows.
        loaded: the loaded rows.
        rules: columns, roles and limits.
        published: types of the latest version for undeclared columns, kept unless the values contradict them.

    Raises:
        EmptySourceError: there is no row to train with; a scoring without rows gives no predictions.
        StageError: a column is missing or empty, no row is left, or more rows than `reject_limit` are rejected.
    """
    dataset = Dataset.load(store, loaded)
    if not dataset.rows and not rules.closed:
        raise EmptySourceError("the source has no rows", "Give a source with rows")
    types = ColumnTypes.of(store, dataset, rules, published)
    cleaned, columns, warnings = single_read.clean(store, dataset, types)
    for warning in warnings:
        log.warning("%s", warning)
    rules = types.rules_with(columns)
    if rules.deduplicate == "rows" or (rules.deduplicate == "id" and rules.id):
        cleaned = deduplication.drop_duplicates(store, cleaned, rules.id if rules.deduplicate == "id" else None)
    kept = tuple(body.part for body in cleaned if body.part.rows)
    info: DatasetInfo = {
        "schema": _schema_json(columns, rules),
        "cells": rules.cells.model_dump(mode="json"),
        **dataset.reduced,
        **({"undeclared": types.inferred} if types.inferred else {}),
        **({"stages": dataset.info["stages"]} if "stages" in dataset.info else {}),
        # Later stages show them, so that their results depend on them.
        **({"warnings": warnings} if warnings else {}),
    }
    clean = Dataset("clean", kept, info)
    counts, lists = _count(store, cleaned, dataset.rows, rules)
    for name in columns if not rules.closed else ():
        if not any(body.present[name] for body in cleaned):
            raise column_types.empty_column_error(name, clean.rows)
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


def _schema_json(columns: dict[str, Column], rules: RowRules) -> dict[str, dict[str, Any]]:
    """Return the columns as JSON; the target of a classification is a category in clean data."""
    targets = {rules.target: Column(type="category")} if rules.task == "classification" else {}
    return {name: targets.get(name, column).model_dump(mode="json") for name, column in columns.items()}


def _remedy(summary: str, rules: RowRules) -> str:
    if rules.task == "regression" and rules.target and f"{rules.target} is not a number" in summary:
        return f"If '{rules.target}' holds words, set task: classification; else fix the source or its `schema`"
    return "Fix the source or its `schema`"
