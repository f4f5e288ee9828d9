"""Memory pressure: work that does not fit is repeated with half the rows at once, down to a minimum."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

from ai_workflow.errors import StageError
from ai_workflow.storage import memory_errors
from ai_workflow.telemetry import logs, trace_context

T = TypeVar("T")
# With fewer rows of a partition at once, it is not the rows that take the memory.
MIN_ROWS = 1000
# The same for the rows that a model learns from, or answers, at once.
MIN_BATCH_ROWS = 8
MORE_MEMORY = "Give the process more memory"
_REMEDY = f"{MORE_MEMORY}, or let it hold less at once: source.partition_rows below {MIN_ROWS}, or fewer columns"


class OutOfMemoryError(MemoryError):
    """A MemoryError that says what ran out of memory, and what helps there."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}. {remedy}")
        self.problem, self.remedy = problem, remedy


class MemoryExhaustedError(StageError):
    """A stage ran out of memory with as few rows at once as it may have."""


class BatchSplitter:
    """Splits rows into blocks that fit into memory. A size that did not fit is not tried again.

    Args:
        rows: of a block at first; None: all rows are one block.
        floor: rows of the smallest block.
        remedy: what helps where that does not fit either.
    """

    def __init__(self, rows: int | None, floor: int, remedy: str) -> None:
        self.rows, self._floor, self._remedy = rows, floor, remedy

    def each(self, count: int, work: Callable[[int, int], T]) -> list[T]:
        """Return `work(start, end)` of each block of `count` rows in order; of 0 rows, that of one empty block.

        Raises:
            OutOfMemoryError: memory runs out with a block of the minimum size, too.
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
        MemoryExhaustedError: memory runs out at the floor, too.
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
    """Return half as many rows, but not less than the floor, and log a warning.

    Args:
        rows: how many did not fit.
        floor: the minimum.
        error: what was raised.
        remedy: what helps at the floor; an `OutOfMemoryError` has its own.
        where: the place for the message, as "at step 3".

    Raises:
        OutOfMemoryError: there are no more than the floor already.
    """
    if rows <= floor:
        raise to_memory_error(error, f" with {rows} rows at once{where and f' {where}'}", remedy) from error
    smaller = max(floor, rows // 2)
    logs.logger(trace_context.current_stage() or "memory").warning(
        "Data batch size reduced from %d to %d due to memory pressure", rows, smaller
    )
    return smaller


def release() -> None:
    """Return unused memory to the system; the MemoryError must be forgotten by then, because it holds frames."""
    gc.collect()
    if arrow := sys.modules.get("pyarrow"):
        arrow.default_memory_pool().release_unused()


def wrap_memory_error(work: Callable[[], T]) -> T:
    """Return `work()`.

    Raises:
        MemoryExhaustedError: memory ran out in it, where nothing could be made smaller.
    """
    with memory_errors_wrapped():
        return work()


@contextlib.contextmanager
def memory_errors_wrapped() -> Iterator[None]:
    """Replace the errors of memory that ran out within the context, those of libraries that are loaded among them.

    Raises:
        MemoryExhaustedError: memory ran out.
    """
    try:
        yield
    except (MemoryError, OSError, ImportError) as error:
        if (found := shortage(error)) is None:
            raise
        raise to_stage_error(found) from error


def shortage(error: BaseException) -> MemoryError | None:
    """Return the MemoryError that an error stands for; None if it is about something else."""
    if isinstance(error, OutOfMemoryError):
        return error
    if not memory_errors.is_shortage(error):
        return None
    name = memory_errors.library(error)
    if name is None and isinstance(error, MemoryError):
        return error
    return to_memory_error(error, f" while loading {name}" if name else "", MORE_MEMORY)


def to_stage_error(error: MemoryError) -> MemoryExhaustedError:
    """Return the error that ends a stage because of a MemoryError."""
    found = to_memory_error(error, "", _REMEDY)
    return MemoryExhaustedError(found.problem, found.remedy)


def to_memory_error(error: BaseException, what: str, remedy: str) -> OutOfMemoryError:
    """Return an error as a MemoryError with problem and remedy; one that has them already stays as it is."""
    if isinstance(error, OutOfMemoryError):
        return error
    text = " ".join(str(error).split()).rstrip(".")
    return OutOfMemoryError(f"memory ran out{what}{f' ({text})' if text else ''}", remedy)
