"""Cache of computed partitions: a verified record for each key refers to the files that were computed from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from ai_workflow.datasets.partitions import FOLDER
from ai_workflow.datasets.text_ranges import text_range
from ai_workflow.errors import StoreError
from ai_workflow.runtime import cancellation
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

Record = TypeVar("Record", bound=Mapping[str, Any])
log = logger("partitions")


def cached(store: Store, stage: str, key: str, compute: Callable[[str], Record]) -> Record:
    """Return the cached result of `compute(stem)` for `key`; compute it if it is missing or damaged.

    Args:
        store: the store of the record and its files.
        stage: folder below `data/`.
        key: fingerprint of all inputs of the result.
        compute: writes files whose names start with the stem, and returns JSON that refers to them.
    """
    stem = f"{FOLDER}/{stage}/{key}"
    body: Record | None = None
    try:
        body = store.read_record(f"{stem}.json")
        damaged = find_corrupt(store, body)
    except StoreError as error:
        damaged = [str(error)] if store.exists(f"{stem}.json") else []
    if body and not damaged:
        log.debug("cache hit: %s", stem)
        return body
    log.debug("cache miss: %s", stem)
    cancellation.check()
    if damaged:
        log.warning("%s does not match its record and is computed again", damaged[0])
    body = compute(stem)
    store.write_record(f"{stem}.json", body)
    return body


def find_corrupt(store: Store, result: Any) -> list[str]:
    """Return the files of a result, also through a dataset, that are missing or do not match their checksum.

    The path of a source file with a range of rows is absolute.
    """
    damaged = []
    for ref in _references(result):
        if not store.matches(ref["path"], ref["sha256"]):
            damaged.append(ref["path"])
        elif (place := ref.get("place")) and place["file"] and not text_range.is_intact(place):
            damaged.append(place["file"])
        elif ref["path"].startswith(f"{FOLDER}/datasets/"):
            damaged += find_corrupt(store, store.read_record(ref["path"]))
    return damaged


def _references(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if isinstance(value.get("path"), str) and isinstance(value.get("sha256"), str):
            yield value
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)
