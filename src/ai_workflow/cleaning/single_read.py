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
from ai_workflow.runtime import partition_threads
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
    first_reads = _read_all(store, dataset, types)
    evidence = [each.evidence for each in first_reads]
    inferences = type_inference.infer_columns(store, dataset, evidence, types.limit, types.text_rules, types.published)
    columns = types.decide(inferences, dataset.rows)
    rules = types.rules_with(columns)
    known = {number: first.cleaned for number, first in enumerate(first_reads) if first.columns == columns}
    others = [(number, part) for number, part in enumerate(dataset.partitions) if known.get(number) is None]

    def clean_again(other: tuple[int, Partition]) -> tuple[int, CleanPartition]:
        number, part = other
        return number, clean_partition.clean(LoadedPartition(store, part), columns, rules)

    again = partition_threads.ordered_map(clean_again, others, "partitions, with the types of the whole table")
    by_number = {**known, **dict(again)}
    cleaned = [body for _, body in sorted(by_number.items()) if body]
    warnings = [text for each in inferences.values() for text in each.warnings]
    return CleanedDataset(cleaned, columns, [*types.warnings, *warnings])


def _read_all(store: Store, dataset: Dataset, types: ColumnTypes) -> list[_FirstRead]:
    """Return the evidence of each partition; of several with the same content the first one is cleaned."""
    distinct = {part.sha256: part for part in reversed(dataset.partitions)}
    parts = [part for part in dataset.partitions if distinct[part.sha256] is part]
    read = partition_threads.ordered_map(lambda part: _read(store, part, types), parts, "partitions")
    by_content = {part.sha256: first for part, first in zip(parts, read, strict=True)}
    return [
        by_content[part.sha256] if distinct[part.sha256] is part else _FirstRead(by_content[part.sha256].evidence)
        for part in dataset.partitions
    ]


def _read(store: Store, part: Partition, types: ColumnTypes) -> _FirstRead:
    """Count the type evidence of a partition, and clean it while it is in memory."""
    loaded = LoadedPartition(store, part)
    evidence = type_inference.count_evidence(loaded, types.inferred, types.text_rules)
    if types.inferred and not loaded.is_in_memory:
        return _FirstRead(evidence)
    inferences = type_inference.infer_partition(evidence, types.limit, types.text_rules, types.published)
    if inferences is None:
        return _FirstRead(evidence)
    columns = types.resolve(inferences)
    return _FirstRead(evidence, columns, clean_partition.clean(loaded, columns, types.rules_with(columns)))
