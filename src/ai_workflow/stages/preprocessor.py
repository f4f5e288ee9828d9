"""Makes rows clean: typed, within their declared bounds, unique; what is not goes to quarantine with a reason."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from ai_workflow.config.settings import Column
from ai_workflow.datasets import cells, coercion, deduplication, fingerprint, parquet, partitions, quarantine
from ai_workflow.datasets.cells import CellRules
from ai_workflow.datasets.deduplication import CleanPartition
from ai_workflow.datasets.partitions import ID, ROW, Dataset, Partition
from ai_workflow.errors import StageError
from ai_workflow.features.row_rules import RowRules
from ai_workflow.runtime import memory_pressure, progress
from ai_workflow.stage_names import stage
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# However many rows may be rejected: with more values against it, a column is not of that type.
_MOST_AGAINST = 0.05
log = logger("preprocessor")
__all__ = ["RowRules", "preprocess"]


@stage("preprocessor")
def preprocess(store: Store, loaded: dict[str, Any], rules: RowRules) -> dict[str, Any]:
    """Return a reference to the clean rows, one partition for each loaded one; columns `__row`, `__id` and the rest.

    Raises:
        StageError: a column is missing or empty, no row is left, or more rows than `reject_limit` are rejected.
    """
    dataset = Dataset.load(store, loaded)
    columns = _resolve(store, dataset, rules)
    rules = rules if rules.closed else rules.model_copy(update={"cells": _cells(dataset, columns, rules)})
    cleaned = []
    for number, part in enumerate(dataset.partitions, 1):
        cleaned.append(_clean(store, part, columns, rules))
        progress.report(number, len(dataset.partitions), "partitions")
    if rules.deduplicate == "rows" or (rules.deduplicate == "id" and rules.id):
        cleaned = deduplication.drop_duplicates(store, cleaned, rules.id if rules.deduplicate == "id" else None)
    kept = tuple(body.part for body in cleaned if body.part.rows)
    rejected = quarantine.write_report(store, [body.rejected for body in cleaned if body.rejected])
    info = {"schema": _described(columns, rules), "cells": rules.cells.model_dump(mode="json"), **dataset.reduced}
    clean = Dataset("clean", kept, info)
    _judge(clean.rows, dataset.rows, rejected, rules)
    for name in columns if not rules.closed else ():
        if not any(body.present[name] for body in cleaned):
            raise _empty_column(name, clean.rows)
    message = f"{clean.rows} records cleaned, {rejected.rows} rejected"
    log.info(message)
    return {
        **clean.save(store),
        "rejected": rejected.rows,
        "message": message,
        "quarantine": rejected.ref.to_json() if rejected.ref else None,
    }


def _cells(dataset: Dataset, columns: dict[str, Column], rules: RowRules) -> CellRules:
    """Return the rule of the source with the kinds of its columns and the target as it is declared."""
    kinds = {column["name"]: column["type"] for column in dataset.info["columns"] if column["name"] in columns}
    target = columns[rules.target] if rules.target else None
    return rules.cells.model_copy(update={"kinds": kinds, "target": target})


def _described(columns: dict[str, Column], rules: RowRules) -> dict[str, Any]:
    """Return the columns as JSON; classes are words from here on, whatever the target was declared as."""
    words = {rules.target: Column(type="category")} if rules.task == "classification" else {}
    return {name: words.get(name, column).model_dump(mode="json") for name, column in columns.items()}


def _judge(kept: int, loaded: int, rejected: quarantine.RejectedRows, rules: RowRules) -> None:
    limit, remedy = rules.reject_limit, "Fix the source or its `schema`"
    if rules.task == "regression" and rules.target and f"{rules.target} is not a number" in rejected.summary:
        remedy = f"If '{rules.target}' holds words, set task: classification; else fix the source or its `schema`"
    if not kept:
        raise StageError(f"no row is left of {loaded}: {rejected.summary}", remedy)
    if rejected.rows > limit * loaded:
        raise StageError(
            f"{rejected.rows} of {loaded} rows ({rejected.rows / loaded:.1%}) were rejected, "
            f"above reject_limit {limit:.1%}: {rejected.summary}",
            f"{remedy}, or raise reject_limit",
        )


def _resolve(store: Store, dataset: Dataset, rules: RowRules) -> dict[str, Column]:
    """Return the columns in the order of the table, those that are not declared typed by their values."""
    found = {column["name"]: column["type"] for column in dataset.info["columns"]}
    if rules.closed:
        _require(rules.columns, found, "the model needs column")
        return dict(rules.columns)
    _require([name for name in (rules.target,) if name], found, "the target column is missing: no column")
    _require(
        [name for name in (rules.id, rules.timestamp) if name],
        found,
        "the id or timestamp column is missing: no column",
    )
    _require(rules.columns, found, "`schema` declares a column that is not there: no column")
    columns = {name: rules.columns.get(name) or _role(name, rules) for name in found}
    open_texts = [name for name, column in columns.items() if column is None and found[name] == "string"]
    told = _told(store, dataset, open_texts, rules.reject_limit)
    resolved = {
        name: column or told.get(name) or Column(type=found[name], nullable=True) for name, column in columns.items()
    }
    _report(resolved, [name for name in found if name not in rules.columns and name != rules.target])
    return {name: column for name, column in resolved.items() if not column.drop}


def _require(names: Any, found: dict[str, str], problem: str) -> None:
    for name in names:
        if name not in found:
            near = difflib.get_close_matches(name, found, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else "Mend the name, or `source.columns`"
            shown = ", ".join(list(found)[:20]) + (", …" if len(found) > 20 else "")
            raise StageError(f"{problem} '{name}'; the table has {shown}", hint)


def _role(name: str, rules: RowRules) -> Column | None:
    if name == rules.target:
        return Column(type="category" if rules.task == "classification" else "number")
    if name == rules.id:
        return Column(type="text")
    return Column(type="datetime") if name == rules.timestamp else None


def _told(store: Store, dataset: Dataset, names: list[str], limit: float) -> dict[str, Column]:
    if not names:
        return {}
    parts: dict[str, list[dict[str, int]]] = {name: [] for name in names}
    for part in dataset.partitions:
        key = fingerprint.of("signs", fingerprint.code_version(coercion.__name__), part.sha256, names)

        def look(_: str, part: Partition = part) -> dict[str, Any]:
            return {name: coercion.count_type_evidence(partitions.read(store, part, [name])[name]) for name in names}

        body = partitions.cached(store, "signs", key, look)
        for name in names:
            parts[name].append(body[name])
    for name, seen in parts.items():
        if not sum(sign["present"] for sign in seen):
            raise _empty_column(name, dataset.rows)
    return {name: coercion.infer_column(seen, min(limit, _MOST_AGAINST)) for name, seen in parts.items()}


def _empty_column(name: str, rows: int) -> StageError:
    return StageError(
        f"column '{name}' has no value in any of {rows} rows",
        f"Mend the source, or leave the column out: schema: {{{name}: {{type: text, drop: true}}}}",
    )


def _report(columns: dict[str, Column], undeclared: list[str]) -> None:
    by_type: dict[str, list[str]] = {}
    for name in undeclared:
        by_type.setdefault(columns[name].type, []).append(name)
    for kind, names in by_type.items():
        shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        left = " (left out of the features)" if kind == "text" else ""
        log.info("%d columns typed by their values as %s%s: %s", len(names), kind, left, shown)


def _clean(store: Store, part: Partition, columns: dict[str, Column], rules: RowRules) -> CleanPartition:
    """Return the clean partition and its rejected rows, both computed once for the same input."""
    roles = (rules.id, rules.target, rules.task)
    code, read_as = fingerprint.code_version(__name__), (rules.cells, rules.known)
    key = fingerprint.of("clean", code, part.sha256, part.source, columns, list(columns), roles, *read_as)

    def compute(stem: str) -> dict[str, Any]:
        def judged(rows: int) -> CleanPartition:
            rejected: list[pa.Table] = []
            present = dict.fromkeys(columns, 0)

            def good(frame: pd.DataFrame) -> pa.Table:
                clean, findings = _judge_rows(frame, columns, rules, part.source)
                rejected.extend([quarantine.table(frame, findings, part.source)] if findings else [])
                present.update({name: present[name] + int(clean[name].notna().sum()) for name in columns})
                return parquet.to_table(clean)

            tables = map(good, partitions.slices(store, part, rows))
            kept = partitions.write(store, f"{stem}-00000.parquet", tables, part.source)
            away = partitions.write(store, f"{stem}-rejected.parquet", rejected, part.source) if rejected else None
            return CleanPartition(kept, away, present)

        return memory_pressure.with_smaller_batches(judged, part.rows).to_json()

    return CleanPartition.from_json(partitions.cached(store, "clean", key, compute))


def _judge_rows(
    frame: pd.DataFrame, columns: dict[str, Column], rules: RowRules, source: str
) -> tuple[pd.DataFrame, list[tuple[str, str, pd.Series]]]:
    """Return the good rows typed, and for each finding the column, the reason and the rows."""
    import pandas as pd

    typed: dict[str, pd.Series] = {ROW: frame[ROW]}
    findings: list[tuple[str, str, pd.Series]] = []
    good = pd.Series(True, index=frame.index)
    for name, column in columns.items():
        typed[name], found = cells.clean(frame[name], column, rules.cells, rules.spelling(name))
        if name == rules.target and rules.task == "classification":
            typed[name], _ = coercion.coerce(typed[name], Column(type="category", nullable=True))
        for reason, rows in found:
            if rows.any():
                findings.append((name, reason, rows))
                good &= ~rows
    rows_as_text = frame[ROW].astype("int64").astype("str")
    typed[ID] = typed[rules.id].astype("str") if rules.id else source + ":" + rows_as_text
    clean = pd.DataFrame(typed)[good].reset_index(drop=True)
    return clean, findings
