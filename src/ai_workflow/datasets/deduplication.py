"""Deduplication across partitions: a repeated row is moved from the later partition to a list of duplicates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypedDict

from ai_workflow.datasets import fingerprint, hashing, parquet, partition_cache, partitions, quarantine
from ai_workflow.datasets.partitions import ID, ROW, SOURCE, Partition, PartitionRecord
from ai_workflow.runtime import memory_pressure, partition_threads
from ai_workflow.storage.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


class CleanedRecord(TypedDict):
    """A `CleanPartition` as JSON."""

    part: PartitionRecord
    rejected: PartitionRecord | None
    present: dict[str, int]
    without_target: int
    duplicates: PartitionRecord | None


@dataclass(frozen=True, slots=True)
class CleanPartition:
    """A cleaned partition: accepted rows, rejected rows, and the number of present values per column.

    `without_target` counts rows that are in neither, because their target is missing; `duplicates` lists rows that
    repeat an earlier row.
    """

    part: Partition
    rejected: Partition | None
    present: dict[str, int]
    without_target: int = 0
    duplicates: Partition | None = None

    def to_json(self) -> CleanedRecord:
        """Return the partition as JSON types."""
        return {
            "part": self.part.to_json(),
            "rejected": self.rejected.to_json() if self.rejected else None,
            "present": self.present,
            "without_target": self.without_target,
            "duplicates": self.duplicates.to_json() if self.duplicates else None,
        }

    @classmethod
    def from_json(cls, body: CleanedRecord) -> CleanPartition:
        """Return the partition that `to_json` converted."""
        rejected = Partition(**body["rejected"]) if body["rejected"] else None
        duplicates = Partition(**body["duplicates"]) if body["duplicates"] else None
        return cls(Partition(**body["part"]), rejected, body["present"], body["without_target"], duplicates)


def drop_duplicates(store: Store, cleaned: list[CleanPartition], id_column: str | None) -> list[CleanPartition]:
    """Return the partitions without repeated rows; only partitions with such rows are written again.

    Rows are compared by a 64-bit hash (8 bytes a row in memory): at 10 million rows the chance of one false
    duplicate is about 3 in a million.

    Args:
        store: where the partitions are.
        cleaned: the partitions, in order: the first of several equal rows stays.
        id_column: the column with unique values; None compares whole rows.
    """
    import numpy as np
    import pandas as pd

    if not cleaned:
        return cleaned
    hashes = partition_threads.ordered_map(lambda body: _hashes(store, body.part, id_column is not None), cleaned)
    repeated = pd.Series(np.concatenate(hashes)).duplicated().to_numpy()
    if not repeated.any():
        return cleaned
    out, start = [], 0
    for body in cleaned:
        repeats = repeated[start : start + body.part.rows]
        start += body.part.rows
        out.append(_drop(store, body, repeats, id_column) if repeats.any() else body)
    return out


def _hashes(store: Store, part: Partition, by_id: bool) -> np.ndarray:
    import numpy as np
    import pandas as pd

    if by_id:
        return hashing.of(partitions.read(store, part, [ID])[ID])

    origin = [ROW, SOURCE, ID]

    def of_rows(at_once: int) -> np.ndarray:
        frames = (frame.drop(columns=origin, errors="ignore") for frame in partitions.slices(store, part, at_once))
        return np.concatenate([pd.util.hash_pandas_object(frame, index=False).to_numpy() for frame in frames])

    return memory_pressure.with_smaller_batches(of_rows, part.rows)


def _drop(store: Store, body: CleanPartition, repeats: np.ndarray, id_column: str | None) -> CleanPartition:
    import numpy as np

    part, rejected = body.part, body.rejected
    code = fingerprint.code_version(__name__)
    rejects = (rejected.sha256 if rejected else None, body.without_target)
    key = fingerprint.of("unique", code, part.sha256, rejects, np.flatnonzero(repeats).tolist())

    def compute(stem: str) -> CleanedRecord:
        def split(at_once: int) -> CleanPartition:
            dropped: list[pa.Table] = []
            name = id_column or "(whole row)"
            good = _good_rows(store, part, repeats, name, dropped, at_once)
            kept = partitions.write(store, f"{stem}-00000.parquet", good, part.source)
            duplicates = partitions.write(store, f"{stem}-duplicates.parquet", dropped, part.source)
            return replace(body, part=kept, duplicates=duplicates)

        return memory_pressure.with_smaller_batches(split, part.rows).to_json()

    return CleanPartition.from_json(partition_cache.cached(store, "clean", key, compute))


def _good_rows(
    store: Store, part: Partition, repeats: np.ndarray, name: str, dropped: list[pa.Table], at_once: int
) -> Iterator[pa.Table]:
    """Yield the rows that repeat no earlier row, one slice at a time, and append the others to `dropped`."""
    import pandas as pd

    start = 0
    for frame in partitions.slices(store, part, at_once):
        rows = pd.Series(repeats[start : start + len(frame)], index=frame.index)
        start += len(frame)
        if rows.any():
            dropped.append(quarantine.table(frame, [(name, "repeats an earlier row", rows)], part.source))
        yield parquet.to_table(frame[~rows].reset_index(drop=True))
