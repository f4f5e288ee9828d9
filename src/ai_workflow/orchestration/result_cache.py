"""Integrity of cached results: the result has its checksum, and all its files are as recorded."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any

from prefect import Task
from prefect.results import ResultStore, get_result_store
from prefect.transactions import get_transaction

from ai_workflow import json_text
from ai_workflow.datasets import partition_cache
from ai_workflow.errors import StoreError
from ai_workflow.runtime import process_limit
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import logs

_SEAL = "seal"


def sealed(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result with its own checksum, because Prefect's result file has none."""
    return {**result, _SEAL: _seal(result)}


def disable_caching() -> None:
    """Cache no result of the current task: Prefect would cache a returned failure too, and reuse it on a retry."""
    if transaction := get_transaction():
        transaction.write_on_commit = False


async def is_damaged(store: Store, task: Task[..., Any], key: str) -> bool:
    """Return whether a cached result must not be used, and log the reason.

    Raises:
        ProcessLimitError: no thread can be started to read it.
    """
    results = await get_result_store().aupdate_for_task(task)
    try:
        with process_limit.limit_errors_wrapped():
            cached = (await results.aread(key)).result
            is_whole = cached[_SEAL] == _seal(cached)
            broken = await asyncio.to_thread(partition_cache.find_corrupt, store, cached) if is_whole else [None]
    except process_limit.ProcessLimitError:
        raise
    except Exception:
        broken = [None] if await _exists(results, key) else []
    if broken:
        path = broken[0]
        reason = await asyncio.to_thread(_reason, store, path) if path else f"the cached result {key} is damaged"
        logs.logger(task.name).warning("%s: the stage runs again", reason)
    return bool(broken)


def _reason(store: Store, path: str) -> str:
    """Return the reason why a file differs from a cached result; results do not record their store."""
    if path.startswith("/"):
        return f"{path} was moved, removed or changed since it was loaded"
    try:
        is_missing = not store.exists(path)
    except StoreError as error:
        return str(error)
    if is_missing:
        return f"{store.url(path)} does not exist, because it was deleted or the cached result is of another store"
    return f"{store.url(path)} is damaged, or the cached result is of another store"


def _seal(result: Mapping[str, Any]) -> str:
    body = {name: value for name, value in result.items() if name != _SEAL}
    return hashlib.sha256(json_text.line(body, ensure_ascii=True).encode()).hexdigest()


async def _exists(results: ResultStore, key: str) -> bool:
    try:
        return results.result_storage is not None and await results.result_storage.read_path(key) is not None
    except Exception:
        return False
