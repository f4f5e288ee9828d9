"""Cleaning of one partition, computed once for each set of column declarations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ai_workflow.cleaning import row_checks
from ai_workflow.config.settings import Column
from ai_workflow.datasets import fingerprint, partition_cache, partitions, quarantine
from ai_workflow.datasets.deduplication import CleanedRecord, CleanPartition
from ai_workflow.datasets.kernels.loaded_partition import LoadedPartition
from ai_workflow.features.row_rules import RowRules
from ai_workflow.runtime import memory_pressure

if TYPE_CHECKING:
    import pyarrow as pa


def clean(loaded: LoadedPartition, columns: dict[str, Column], rules: RowRules) -> CleanPartition:
    """Return the clean partition and its rejected rows, computed or from the cache.

    Args:
        loaded: the partition, which is read if it is not in memory.
        columns: the declarations of the columns that are kept.
        rules: the rules of the rows, with the kinds of these columns.
    """
    part = loaded.part
    roles = (rules.id, rules.target, rules.task)
    code = fingerprint.code_version(__name__)
    inputs = (part.sha256, part.source, columns, list(columns), roles, rules.cells, rules.known)
    key = fingerprint.of("clean", code, *inputs)

    def compute(stem: str) -> CleanedRecord:
        def write(rows: int) -> CleanPartition:
            try:
                return _write(stem, loaded, columns, rules, rows)
            except MemoryError:
                loaded.release()
                raise

        return memory_pressure.with_smaller_batches(write, part.rows).to_json()

    return CleanPartition.from_json(partition_cache.cached(loaded.store, "clean", key, compute))


def _write(
    stem: str, loaded: LoadedPartition, columns: dict[str, Column], rules: RowRules, at_once: int
) -> CleanPartition:
    """Write the clean and the rejected rows, of at most `at_once` rows in memory."""
    store, source = loaded.store, loaded.part.source
    rejected: list[pa.Table] = []
    present = dict.fromkeys(columns, 0)
    without_target = 0

    def clean_tables() -> Iterator[pa.Table]:
        nonlocal without_target
        for table in loaded.slices(at_once):
            checked = row_checks.check(table, columns, rules, source, loaded.plain)
            without_target += checked.without_target
            if checked.findings:
                rejected.append(quarantine.of_table(table, checked.findings, source))
            for name in columns:
                present[name] += len(checked.clean) - checked.clean[name].null_count
            yield checked.clean

    part = partitions.write(store, f"{stem}-00000.parquet", clean_tables(), source)
    if not rejected:
        return CleanPartition(part, None, present, without_target)
    rejected_part = partitions.write(store, f"{stem}-rejected.parquet", rejected, source)
    return CleanPartition(part, rejected_part, present, without_target)
