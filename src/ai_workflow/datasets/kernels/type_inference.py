"""Inference of the types of undeclared text columns, from one partition or from all of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ai_workflow.datasets import fingerprint, partition_cache, partitions
from ai_workflow.datasets.kernels import clean_column, evidence, plain_text
from ai_workflow.datasets.kernels.loaded_partition import LoadedPartition
from ai_workflow.datasets.kernels.plain_text import Numbers
from ai_workflow.datasets.notation import type_inference
from ai_workflow.datasets.notation.published import PublishedTypes
from ai_workflow.datasets.notation.type_evidence import TextRules, TypeEvidence
from ai_workflow.datasets.notation.type_inference import Inference
from ai_workflow.datasets.partitions import Dataset, Partition
from ai_workflow.runtime import memory_pressure
from ai_workflow.storage.store import Store

_WORDS = ("category", "text")
# Cells whose numbers are read at once, if they are at least as many columns; a call of Arrow takes 20 microseconds.
_CELLS_AT_ONCE, _MIN_COLUMNS = 1 << 17, 8


def count_evidence(loaded: LoadedPartition, names: list[str], rules: TextRules) -> dict[str, TypeEvidence]:
    """Return the evidence of text columns, counted or from the cache; a partition that is counted stays in memory.

    Args:
        loaded: the partition.
        names: text columns.
        rules: the rules of the source for undeclared columns.
    """
    if not names:
        return {}

    def compute(_: str) -> dict[str, TypeEvidence]:
        try:
            _read_short_columns(loaded, names)
            return {name: _count(loaded, name, rules) for name in names}
        except MemoryError:
            loaded.release()
        memory_pressure.release()
        return {name: _count_alone(loaded, name, rules) for name in names}

    part = loaded.part
    key = fingerprint.of("signs", fingerprint.code_version(evidence.__name__), part.sha256, names, list(rules))
    counts = partition_cache.cached(loaded.store, "signs", key, compute)
    return {name: counts[name] for name in names}


def infer_partition(
    counts: Mapping[str, TypeEvidence], limit: float, rules: TextRules, published: PublishedTypes
) -> dict[str, Inference] | None:
    """Return the column declarations that fit one partition; None if its evidence leaves a type open.

    Args:
        counts: the evidence of each column.
        limit: share of values that may contradict a type.
        rules: the rules with which the evidence was counted.
        published: the types of the latest version.
    """
    inferred = {}
    for name, count in counts.items():
        if not count["present"]:
            return None
        inferred[name] = type_inference.infer_column(name, [count], limit, rules, published)
        if inferred[name].column.type in _WORDS and count["distinct"] == evidence.NOT_COUNTED:
            return None
    return inferred


def infer_columns(
    store: Store,
    dataset: Dataset,
    parts: Sequence[Mapping[str, TypeEvidence]],
    limit: float,
    rules: TextRules,
    published: PublishedTypes,
) -> dict[str, Inference]:
    """Return the column declarations that fit the values; a column without any value has none.

    Args:
        store: the store of the partitions and of the cached evidence.
        dataset: loaded partitions.
        parts: the evidence of each partition, with the same columns.
        limit: share of values that may contradict a type.
        rules: the rules with which the evidence was counted.
        published: the types of the latest version.
    """

    def infer(name: str) -> Inference:
        return type_inference.infer_column(name, counts[name], limit, rules, published)

    counts = {name: [part[name] for part in parts] for name in (parts[0] if parts else ())}
    counts = {name: each for name, each in counts.items() if any(count["present"] for count in each)}
    inferred = {name: infer(name) for name in counts}
    words = [name for name, inference in inferred.items() if inference.column.type in _WORDS]
    words = [name for name in words if _can_be_unique(counts[name])]
    for number, part in enumerate(dataset.partitions):
        uncounted = [name for name in words if counts[name][number]["distinct"] == evidence.NOT_COUNTED]
        for name, distinct in _distinct(store, part, uncounted).items():
            counts[name][number] = {**counts[name][number], "distinct": distinct}
    return inferred | {name: infer(name) for name in words}


def _can_be_unique(counts: list[TypeEvidence]) -> bool:
    """Return whether all counted partitions are unique, so that the distinct values of the others matter."""
    counted = [each for each in counts if each["present"] and each["distinct"] != evidence.NOT_COUNTED]
    return all(type_inference.is_unique(each) for each in counted)


def _count(loaded: LoadedPartition, name: str, rules: TextRules) -> TypeEvidence:
    known = loaded.plain.pop(name, None)
    numbers = known if isinstance(known, Numbers) else None
    counted = evidence.count(clean_column.contiguous(loaded.table()[name]), rules, numbers)
    if counted.plain:
        loaded.plain[name] = counted.plain
    return counted.evidence


def _read_short_columns(loaded: LoadedPartition, names: list[str]) -> None:
    """Read the numbers of a table with many columns and few rows, many columns at once."""
    table = loaded.table()
    at_once = _CELLS_AT_ONCE // max(1, table.num_rows)
    if at_once < _MIN_COLUMNS or not table.num_rows:
        return
    for start in range(0, len(names), at_once):
        block = names[start : start + at_once]
        read = plain_text.numbers_of_all([table[name] for name in block])
        loaded.plain |= {name: numbers for name, numbers in zip(block, read, strict=True) if numbers}


def _count_alone(loaded: LoadedPartition, name: str, rules: TextRules) -> TypeEvidence:
    """Return the evidence of a column with no other column in memory."""
    table = partitions.table(loaded.store, loaded.part, [name])
    return evidence.count(clean_column.contiguous(table[name]), rules).evidence


def _distinct(store: Store, part: Partition, names: list[str]) -> dict[str, int]:
    """Return the numbers of distinct values of columns."""
    if not names:
        return {}

    def compute(_: str) -> dict[str, int]:
        table = partitions.table(store, part, names)
        return {name: evidence.count_distinct(table[name]) for name in names}

    key = fingerprint.of("distinct", fingerprint.code_version(evidence.__name__), part.sha256, names)
    return partition_cache.cached(store, "signs", key, compute)
