"""Cleaning of a dataset whose partitions are read once: each is cleaned with the types that its own values suggest.

When all partitions are known, the types of the table are decided, and only partitions of other types are cleaned again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ai_workflow.cleaning import clean_partition
from ai_workflow.cleaning.column_types import ColumnTypes
from ai_workflow.config.settings import Column
from ai_workflow.datasets.deduplication import CleanPartition
from ai_workflow.datasets.kernels import type_inference
from ai_workflow.datasets.kernels.loaded_partition import LoadedPartition
from ai_workflow.datasets.notation.type_evidence import TypeEvidence
from ai_workflow.datasets.partitions import Dataset, Partition
from ai_workflow.runtime import progress
from ai_workflow.storage.store import Store


class CleanedDataset(NamedTuple):
    """The clean partitions in order, the declarations of their columns, and warnings about inferred types."""

    partitions: list[CleanPartition]
    columns: dict[str, Column]
    warnings: list[str]


class _FirstRead(NamedTuple):
    """Type evidence of a partition; if it was counted now, the partition cleaned with the declarations it suggests."""

    evidence: Mapping[str, TypeEvidence]
    columns: dict[str, Column] | None = None
    cleaned: CleanPartition | None = None


def clean(store: Store, dataset: Dataset, types: ColumnTypes) -> CleanedDataset:
    """Return the clean rows of a loaded dataset.

    Raises:
        StageError: an undeclared column has no value.
    """
    total = len(dataset.partitions)
    first_reads = []
    for number, part in enumerate(dataset.partitions, 1):
        first_reads.append(_read(store, part, types))
        progress.report(number, total, "partitions")
    evidence = [each.evidence for each in first_reads]
    inferences = type_inference.infer_columns(store, dataset, evidence, types.limit, types.text_rules)
    columns = types.decide(inferences, dataset.rows)
    rules = types.rules_with(columns)
    cleaned = []
    for number, (part, first) in enumerate(zip(dataset.partitions, first_reads, strict=True), 1):
        if first.cleaned and first.columns == columns:
            cleaned.append(first.cleaned)
            continue
        cleaned.append(clean_partition.clean(LoadedPartition(store, part), columns, rules))
        progress.report(number, total, "partitions, with the types of the whole table")
    warnings = [text for each in inferences.values() for text in each.warnings]
    return CleanedDataset(cleaned, columns, [*types.warnings, *warnings])


def _read(store: Store, part: Partition, types: ColumnTypes) -> _FirstRead:
    """Count the type evidence of a partition, and clean it while it is in memory."""
    loaded = LoadedPartition(store, part)
    evidence = type_inference.count_evidence(loaded, types.inferred, types.text_rules)
    if types.inferred and not loaded.is_in_memory:
        return _FirstRead(evidence)
    inferences = type_inference.infer_partition(evidence, types.limit, types.text_rules)
    if inferences is None:
        return _FirstRead(evidence)
    columns = types.resolve(inferences)
    return _FirstRead(evidence, columns, clean_partition.clean(loaded, columns, types.rules_with(columns)))
