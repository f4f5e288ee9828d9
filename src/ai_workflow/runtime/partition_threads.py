"""Threads over partitions: results are in the order of the partitions, whatever the number of threads."""

from __future__ import annotations

import contextlib
import contextvars
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, TypeVar

from ai_workflow.runtime import memory_pressure, progress
from ai_workflow.runtime.memory_pressure import MemoryExhaustedError
from ai_workflow.telemetry import logs, trace_context

Item = TypeVar("Item")
Result = TypeVar("Result")
IN_CACHE_KEY = False
# Each thread holds a partition in memory.
MAX_DEFAULT_THREADS = 4
_threads: ContextVar[int | None] = ContextVar("aiw_threads", default=None)


def default_threads() -> int:
    """Return the number of CPUs that this process may use, at most 4; 1 if its address space is limited.

    Arrow aborts the process if another thread takes the memory that it is about to use.
    """
    try:
        import resource

        is_limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    except ImportError:
        is_limited = False
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    return 1 if is_limited else min(cpus, MAX_DEFAULT_THREADS)


def call(threads: int | None, work: Callable[..., Result], *args: Any, **options: Any) -> Result:
    """Return `work(*args, **options)`, whose partitions are computed by `threads` threads; None: the default."""
    token = _threads.set(threads)
    try:
        return work(*args, **options)
    finally:
        _threads.reset(token)


def count() -> int:
    """Return the number of threads that compute at once."""
    return _threads.get() or default_threads()


def ordered_map(work: Callable[[Item], Result], items: Sequence[Item], unit: str | None = None) -> list[Result]:
    """Return `work(item)` of each item in order, computed by several threads with the context of the caller.

    After an error no further item starts; the error of the first item in order is raised. If memory runs out, or no
    thread can start, the items that are left are computed one at a time.

    Args:
        work: a function that several threads can call at once, with the same result in any order.
        items: partitions, for example.
        unit: the unit of the progress that is reported; None: no report.
    """
    done: list[Result] = []
    # Closed on an error of the report too, so that no thread outlives this call.
    with contextlib.closing(results(work, items)) as computed:
        for result in computed:
            done.append(result)
            if unit is not None:
                progress.report(len(done), len(items), unit)
    return done


def results(work: Callable[[Item], Result], items: Sequence[Item]) -> Generator[Result, None, None]:
    """Yield what `ordered_map` returns, each result as soon as it and those before it are there; close it after use."""
    memory_pressure.use_jemalloc()
    threads = min(count(), len(items))
    if threads <= 1:
        yield from map(work, items)
        return
    futures, start = [], 0
    stop = threading.Event()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="partition")
    try:
        futures = _submit(pool, work, items, stop)
        for future in futures:
            try:
                result = future.result()
            except Exception as error:
                if not _is_retried(error):
                    raise
                break
            start += 1
            yield result
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
    if start < len(items):
        yield from _alone(work, items[start:], futures[start:])


def stream_map(work: Callable[[Item], Result], items: Iterable[Item]) -> Generator[tuple[Item, Result], None, None]:
    """Yield each item with `work(item)`, in order; threads work on the next items while the caller uses a result.

    There are at most `count()` items ahead. If memory runs out for an item, or no thread can start, the caller's thread
    computes it. Close the generator after use.

    Args:
        work: a function that several threads can call at once, with the same result in any order.
        items: read by the thread of the caller.
    """
    memory_pressure.use_jemalloc()
    threads = count()
    if threads <= 1:
        yield from ((item, work(item)) for item in items)
        return
    ahead: deque[tuple[Item, Future[Result] | None]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="partition")
    try:
        for item in items:
            ahead.append((item, _started(pool, work, item)))
            if len(ahead) > threads:
                yield _finished(work, *ahead.popleft())
        while ahead:
            yield _finished(work, *ahead.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _started(pool: ThreadPoolExecutor, work: Callable[[Item], Result], item: Item) -> Future[Result] | None:
    def run() -> Result:
        memory_pressure.set_shared()
        return work(item)

    try:
        return pool.submit(contextvars.copy_context().run, run)
    except RuntimeError:
        return None


def _finished(work: Callable[[Item], Result], item: Item, future: Future[Result] | None) -> tuple[Item, Result]:
    try:
        if future:
            return item, future.result()
    except Exception as error:
        if not _is_retried(error):
            raise
    return item, work(item)


def _submit(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Sequence[Item], stop: threading.Event
) -> list[Future[Result]]:
    """Return a future for each item, in order; fewer if the system starts no further thread."""

    def run(item: Item) -> Result:
        if stop.is_set():
            raise CancelledError
        memory_pressure.set_shared()
        try:
            return work(item)
        except BaseException:
            # Items start in order: those that are left come after this one.
            stop.set()
            raise

    futures: list[Future[Result]] = []
    try:
        futures.extend(pool.submit(contextvars.copy_context().run, run, item) for item in items)
    except RuntimeError:
        stop.set()
    return futures


def _is_retried(error: Exception) -> bool:
    """Return whether an item is computed again without other threads."""
    is_shortage = isinstance(error, MemoryExhaustedError) or memory_pressure.shortage(error) is not None
    return is_shortage or isinstance(error, CancelledError)


def _alone(
    work: Callable[[Item], Result], items: Sequence[Item], futures: Sequence[Future[Result]]
) -> Iterator[Result]:
    """Yield the results of the items that are left, one computed at a time."""
    log = logs.logger(trace_context.current_stage() or "memory")
    log.warning("Partitions are computed one at a time due to memory pressure or a limit of threads")
    memory_pressure.release()
    for number, item in enumerate(items):
        future = futures[number] if number < len(futures) else None
        error = future.exception() if future and not future.cancelled() else None
        if future is None or future.cancelled() or (isinstance(error, Exception) and _is_retried(error)):
            yield work(item)
        else:
            yield future.result()
