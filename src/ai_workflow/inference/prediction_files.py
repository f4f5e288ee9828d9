"""Files of stored predictions: `predictions/<pipeline>/<version>/<fingerprint>/`, verified by their manifest."""

from __future__ import annotations

import contextlib
import math
from datetime import UTC, datetime
from typing import Any

from ai_workflow.datasets import partition_cache, partitions
from ai_workflow.datasets.partitions import Partition
from ai_workflow.errors import StoreError
from ai_workflow.storage.store import Store

FOLDER = "predictions"


def rows_of(store: Store, pipeline: str, version: str, since: datetime) -> int:
    """Return the number of rows that a version predicted since a time; damaged files do not count.

    Args:
        store: the store with the predictions.
        pipeline: the name of the pipeline.
        version: the name of the version.
        since: the time, with a time zone. A batch counts if it was stored since then.
    """
    folder, rows = f"{FOLDER}/{pipeline}/{version}", 0
    for name in store.names(folder):
        path = f"{folder}/{name}/manifest.json"
        with contextlib.suppress(StoreError, FileNotFoundError):
            # No row is newer than its manifest.
            if store.modified(path) >= since:
                rows += _rows_since(store, store.read_record(path), since)
    return rows


def _rows_since(store: Store, body: dict[str, Any], since: datetime) -> int:
    """Return the number of rows of a manifest; `first` is the Unix timestamp of its oldest row."""
    if body.get("first", math.inf) >= since.timestamp():
        return int(body["rows"])
    import pyarrow.compute as pc

    start = since.astimezone(UTC).replace(tzinfo=None)
    tables = (partitions.table(store, Partition(**part), ["time"]) for part in body["partitions"])
    return sum(pc.sum(pc.greater_equal(table["time"], start)).as_py() or 0 for table in tables)


def read(store: Store, stored: dict[str, Any]) -> Any:
    """Return all predictions of a result as one frame; without columns if there is none.

    Raises:
        StoreError: a file is missing or damaged.
    """
    import pandas as pd

    body = store.read_record(stored["record"]["path"])
    damaged = partition_cache.find_corrupt(store, body)
    if damaged:
        raise StoreError(f"{store.url(damaged[0])} is missing or damaged; run the scoring flow again")
    if not body["partitions"]:
        return pd.DataFrame()
    return pd.concat(
        [partitions.read(store, partitions.Partition(**part)) for part in body["partitions"]], ignore_index=True
    )
