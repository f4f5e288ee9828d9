"""Partitions for tests: frames written into a store, as the stages would."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ai_workflow.datasets import partitions
from ai_workflow.datasets.partitions import ID, ROW, Dataset, Partition
from ai_workflow.storage.store import Store


def part(
    store: Store, name: str, columns: dict[str, Any], first_row: int = 1, ids: list[str] | None = None
) -> Partition:
    """Write a clean partition `data/test/<name>.parquet`, its rows numbered from `first_row`."""
    frame = pd.DataFrame(columns)
    frame.insert(0, ROW, range(first_row, first_row + len(frame)))
    frame.insert(1, ID, ids or [f"{name}.csv:{row}" for row in frame[ROW]])
    return partitions.write(store, f"data/test/{name}.parquet", frame, f"{name}.csv")


def dataset(*parts: Partition) -> Dataset:
    """Return a dataset of partitions."""
    return Dataset("test", parts, {})


def damage(store: Store, path: str, kind: str) -> None:
    """Do to a file what disks and people do to files."""
    file = store.local(path)
    data = file.read_bytes()
    if kind == "deleted":
        file.unlink()
        return
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    file.write_bytes({"empty": b"", "cut short": data[:middle], "a bit flipped": flipped}[kind])


DAMAGES = ("deleted", "empty", "cut short", "a bit flipped")
