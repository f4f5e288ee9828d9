"""Inference of the types of undeclared text columns from all partitions of a dataset."""

from __future__ import annotations

from ai_workflow.config.settings import Column
from ai_workflow.datasets import coercion, fingerprint, partition_cache, partitions
from ai_workflow.datasets.kernels import clean_column, evidence
from ai_workflow.datasets.partitions import Dataset, Partition
from ai_workflow.storage.store import Store


def infer_columns(store: Store, dataset: Dataset, names: list[str], limit: float) -> dict[str, Column | None]:
    """Return the column declarations that fit the values; None for a column without any value.

    Args:
        store: the store of the partitions and of the cached evidence.
        dataset: loaded partitions.
        names: text columns.
        limit: share of values that may contradict a type.
    """
    parts = [_evidence(store, part, names) for part in dataset.partitions] if names else []
    counts = {name: [part[name] for part in parts] for name in names}
    columns: dict[str, Column | None] = {
        name: coercion.infer_column(each, limit) if any(count["present"] for count in each) else None
        for name, each in counts.items()
    }
    words = [name for name, column in columns.items() if column and column.type in ("category", "text")]
    for number, part in enumerate(dataset.partitions):
        uncounted = [name for name in words if counts[name][number]["distinct"] == evidence.NOT_COUNTED]
        for name, distinct in _distinct(store, part, uncounted).items():
            counts[name][number] = {**counts[name][number], "distinct": distinct}
    return columns | {name: coercion.infer_column(counts[name], limit) for name in words}


def _evidence(store: Store, part: Partition, names: list[str]) -> dict[str, dict[str, int]]:
    def compute(_: str) -> dict[str, dict[str, int]]:
        table = partitions.table(store, part, names)
        return {name: evidence.count(clean_column.contiguous(table[name])) for name in names}

    key = fingerprint.of("signs", fingerprint.code_version(evidence.__name__), part.sha256, names)
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
