"""Threads over partitions: a map that yields results in order, whatever the number of threads."""

from __future__ import annotations

import contextvars
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from ai_workflow.runtime import memory_pressure
from ai_workflow.runtime.memory_pressure import MemoryExhaustedError

Item = TypeVar("Item")
Result = TypeVar("Result")
IN_CACHE_KEY = False
# Each thread holds a partition in memory.
MAX_THREADS = 4


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def ordered_map(work: Callable[[Item], Result], items: Sequence[Item], threads: int | None = None) -> Iterator[Result]:
    """Yield `work(item)` of each item in order, computed by several threads with the context of the caller.

    If memory runs out, or no thread can start, the remaining items are computed one at a time.

    Args:
        work: a function that several threads can call at once, with the same result in any order.
        items: n items.
        threads: number of threads; the usable CPUs, at most `MAX_THREADS`, if not given.
    """
    count = min(threads or min(usable_cpus(), MAX_THREADS), len(items))
    done = 0
    if count > 1:
        pool = ThreadPoolExecutor(count, thread_name_prefix="partition")
        try:
            for future in _submit(pool, work, items):
                result = future.result()
                done += 1
                yield result
        except (MemoryError, MemoryExhaustedError):
            # Repeated below, when no other thread takes memory.
            pass
        finally:
            pool.shutdown(cancel_futures=True)
        if done < len(items):
            memory_pressure.release()
    yield from map(work, items[done:])


def _submit(pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Future[Result]]:
    """Return a future for each item, in order; none if the system starts no thread."""
    try:
        return [pool.submit(contextvars.copy_context().run, work, item) for item in items]
    except RuntimeError:
        return []
