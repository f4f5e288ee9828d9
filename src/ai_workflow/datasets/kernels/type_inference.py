"""Inference of the types of undeclared text columns from all partitions of a dataset."""

from __future__ import annotations

from ai_workflow.datasets import fingerprint, partition_cache, partitions
from ai_workflow.datasets.kernels import clean_column, evidence
from ai_workflow.datasets.notation import type_inference
from ai_workflow.datasets.notation.type_evidence import TextRules, TypeEvidence
from ai_workflow.datasets.notation.type_inference import Inference
from ai_workflow.datasets.partitions import Dataset, Partition
from ai_workflow.storage.store import Store


def infer_columns(
    store: Store, dataset: Dataset, names: list[str], limit: float, rules: TextRules
) -> dict[str, Inference]:
    """Return the column declarations that fit the values; a column without any value has none.

    Args:
        store: the store of the partitions and of the cached evidence.
        dataset: loaded partitions.
        names: text columns.
        limit: share of values that may contradict a type.
        rules: the rules of the source for undeclared columns.
    """
    parts = [_evidence(store, part, names, rules) for part in dataset.partitions] if names else []
    counts = {name: [part[name] for part in parts] for name in names}
    counts = {name: each for name, each in counts.items() if any(count["present"] for count in each)}
    inferred = {name: type_inference.infer_column(name, each, limit, rules) for name, each in counts.items()}
    words = [name for name, inference in inferred.items() if inference.column.type in ("category", "text")]
    for number, part in enumerate(dataset.partitions):
        uncounted = [name for name in words if counts[name][number]["distinct"] == evidence.NOT_COUNTED]
        for name, distinct in _distinct(store, part, uncounted).items():
            counts[name][number] = {**counts[name][number], "distinct": distinct}
    return inferred | {name: type_inference.infer_column(name, counts[name], limit, rules) for name in words}


def _evidence(store: Store, part: Partition, names: list[str], rules: TextRules) -> dict[str, TypeEvidence]:
    def compute(_: str) -> dict[str, TypeEvidence]:
        table = partitions.table(store, part, names)
        return {name: evidence.count(clean_column.contiguous(table[name]), rules) for name in names}

    key = fingerprint.of("signs", fingerprint.code_version(evidence.__name__), part.sha256, names, list(rules))
    return partition_cache.cached(store, "signs", key, compute)


def _distinct(store: Store, part: Partition, names: list[str]) -> dict[str, int]:
    """Return the numbers of distinct values of columns."""
    if not names:
        return {}

    def compute(_: str) -> dict[str, int]:
        table = partitions.table(store, part, names)
        return {name: evidence.count_distinct(table[name]) for name in names}

    key = fingerprint.of("distinct", fingerprint.code_version(evidence.__name__), part.sha256, names)
    return partition_cache.cached(store, "signs", key, compute)
