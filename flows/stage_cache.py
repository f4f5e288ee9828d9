"""Says whether the cached result of a stage can be believed: itself whole, and all files it refers to as recorded."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from prefect import Task
from prefect.results import ResultStore, get_result_store
from prefect.transactions import get_transaction

from ai_workflow import json_text, logs, partitions
from ai_workflow.store import Store

_SEAL = "seal"


def sealed(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result with its own checksum: Prefect's result file has none, and a changed number would be believed."""
    return {**result, _SEAL: _seal(result)}


def keep_nothing() -> None:
    """Cache no result of the task at hand: Prefect would cache a returned failure too, and answer a retry with it."""
    if transaction := get_transaction():
        transaction.write_on_commit = False


async def is_damaged(store: Store, task: Task[..., Any], key: str) -> bool:
    """Say whether a result is cached that must not be used, and warn; none cached is no damage."""
    results = await get_result_store().aupdate_for_task(task)
    try:
        cached = (await results.aread(key)).result
        broken = await asyncio.to_thread(partitions.broken, store, cached) if cached[_SEAL] == _seal(cached) else [None]
    except Exception:
        broken = [None] if await _is_there(results, key) else []
    if broken:
        what = store.url(broken[0]) if broken[0] else f"the cached result {key}"
        logs.logger(task.name).warning("%s is missing or damaged: the stage runs again", what)
    return bool(broken)


def _seal(result: dict[str, Any]) -> str:
    body = {name: value for name, value in result.items() if name != _SEAL}
    return hashlib.sha256(json_text.line(body, ensure_ascii=True).encode()).hexdigest()


async def _is_there(results: ResultStore, key: str) -> bool:
    try:
        return results.result_storage is not None and await results.result_storage.read_path(key) is not None
    except Exception:
        return False
