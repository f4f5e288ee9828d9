"""Memory pressure: a computation that runs out of memory is repeated with half the rows, down to a minimum."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache
from typing import TypeVar

from ai_workflow.errors import StageError
from ai_workflow.storage import memory_errors
from ai_workflow.telemetry import logs, trace_context

T = TypeVar("T")
# Minimum rows of a partition: with fewer rows, something other than the rows takes the memory.
MIN_ROWS = 1000
# Minimum rows of one training or prediction batch.
MIN_BATCH_ROWS = 8
MORE_MEMORY = "Give the process more memory"
HOLDOUT_REMEDY = f"{MORE_MEMORY}, or hold out fewer rows: evaluate.holdout"
_REMEDY = f"{MORE_MEMORY}, or let it hold less at once: source.partition_rows below {MIN_ROWS}, or fewer columns"


# Whether other threads compute partitions at the same time.
_is_shared: ContextVar[bool] = ContextVar("aiw_shared_memory", default=False)


class OutOfMemoryError(MemoryError):
    """A MemoryError with its problem and remedy."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}. {remedy}")
        self.problem, self.remedy = problem, remedy


class MemoryExhaustedError(StageError):
    """A stage ran out of memory with the minimum number of rows at once."""


class BatchSplitter:
    """Splitter of rows into batches that fit into memory; a size that did not fit is not tried again.

    Args:
        rows: initial rows of a batch; None: all rows are one batch.
        floor: rows of the smallest batch.
        remedy: the remedy if the smallest batch does not fit.
    """

    def __init__(self, rows: int | None, floor: int, remedy: str) -> None:
        self.rows, self._floor, self._remedy = rows, floor, remedy

    def each(self, count: int, work: Callable[[int, int], T]) -> list[T]:
        """Return `work(start, end)` of each batch of `count` rows in order; 0 rows are one empty batch.

        Raises:
            OutOfMemoryError: a batch of the minimum size does not fit.
        """
        results: list[T] = []
        start = 0
        while not results or start < count:
            end = min(count, start + (self.rows or count))
            try:
                results.append(work(start, end))
                start = end
                continue
            except MemoryError as error:
                self.rows = halve(end - start, self._floor, error, self._remedy)
            release()
        return results


def with_smaller_batches(work: Callable[[int], T], rows: int, floor: int = MIN_ROWS, remedy: str = _REMEDY) -> T:
    """Return `work(rows)`; repeat it with half as many rows on MemoryError, down to `floor`.

    Raises:
        MemoryExhaustedError: `floor` rows do not fit.
    """
    while True:
        try:
            return work(rows)
        except MemoryError as error:
            try:
                rows = halve(rows, floor, error, remedy)
            except OutOfMemoryError as last:
                raise MemoryExhaustedError(last.problem, last.remedy) from error
        release()


def halve(rows: int, floor: int, error: MemoryError, remedy: str = _REMEDY, where: str = "") -> int:
    """Return half as many rows, at least `floor`, and log a warning.

    Args:
        rows: the number of rows that did not fit.
        floor: the minimum.
        error: the error that was raised.
        remedy: the remedy at the floor; an `OutOfMemoryError` has its own.
        where: the location for the message, as "at step 3".

    Raises:
        OutOfMemoryError: `rows` is the minimum already.
        MemoryError: other threads take memory too; the rows are tried again without them.
    """
    if _is_shared.get():
        raise error
    if rows <= floor:
        raise to_memory_error(error, f" with {rows} rows at once{where and f' {where}'}", remedy) from error
    smaller = max(floor, rows // 2)
    logs.logger(trace_context.current_stage() or "memory").warning(
        "Data batch size reduced from %d to %d due to memory pressure", rows, smaller
    )
    return smaller


def set_shared() -> None:
    """Mark this context as one of several threads that compute partitions at the same time."""
    _is_shared.set(True)


@cache
def use_jemalloc() -> None:
    """Let Arrow allocate with jemalloc where it has it: large arrays take fewer system calls and less memory.

    The variable ARROW_DEFAULT_MEMORY_POOL of Arrow takes precedence.
    """
    import pyarrow as pa

    if "ARROW_DEFAULT_MEMORY_POOL" not in os.environ:
        with contextlib.suppress(NotImplementedError):
            pa.set_memory_pool(pa.jemalloc_memory_pool())


def release() -> None:
    """Return unused memory to the system. Drop references to the MemoryError first, because it keeps frames alive."""
    gc.collect()
    if arrow := sys.modules.get("pyarrow"):
        arrow.default_memory_pool().release_unused()


def wrap_memory_error(work: Callable[[], T]) -> T:
    """Return `work()`, which cannot be split into smaller batches.

    Raises:
        MemoryExhaustedError: memory ran out.
    """
    with memory_errors_wrapped():
        return work()


@contextlib.contextmanager
def memory_errors_wrapped() -> Iterator[None]:
    """Replace out-of-memory errors within the context, including those of libraries being loaded.

    Raises:
        MemoryExhaustedError: memory ran out.
    """
    try:
        yield
    except (MemoryError, OSError, ImportError) as error:
        if (memory_error := shortage(error)) is None:
            raise
        raise to_stage_error(memory_error) from error


def shortage(error: BaseException) -> MemoryError | None:
    """Return the MemoryError that an error means; None if it has another reason."""
    if isinstance(error, OutOfMemoryError):
        return error
    if not memory_errors.is_shortage(error):
        return None
    name = memory_errors.library(error)
    if name is None and isinstance(error, MemoryError):
        return error
    return to_memory_error(error, f" while loading {name}" if name else "", MORE_MEMORY)


def to_stage_error(error: MemoryError) -> MemoryExhaustedError:
    """Return the stage error for a MemoryError."""
    memory_error = to_memory_error(error, "", _REMEDY)
    return MemoryExhaustedError(memory_error.problem, memory_error.remedy)


def to_memory_error(error: BaseException, context: str, remedy: str) -> OutOfMemoryError:
    """Return an error as OutOfMemoryError with problem and remedy; an OutOfMemoryError is returned unchanged."""
    if isinstance(error, OutOfMemoryError):
        return error
    text = " ".join(str(error).split()).rstrip(".")
    return OutOfMemoryError(f"memory ran out{context}{f' ({text})' if text else ''}", remedy)
