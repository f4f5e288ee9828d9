"""Makes do with less memory: what does not fit is tried again with half as many rows at once, down to a floor."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import TypeVar

from ai_workflow import logs, trace
from ai_workflow.errors import StageError

T = TypeVar("T")
# With fewer rows of a partition at once than these, it is not the rows that take the memory.
FLOOR = 1000
_REMEDY = "Give the process more memory, or let it hold less at once: source.partition_rows, model.batch_size"


def fitting(work: Callable[[int], T], rows: int, floor: int = FLOOR) -> T:
    """Return `work(rows)`; where memory runs out, that of half as many rows at once, and so on.

    Raises:
        StageError: memory runs out at the floor, too.
    """
    while True:
        try:
            return work(rows)
        except MemoryError as error:
            rows = fewer(rows, floor, error)
        release()


def fewer(rows: int, floor: int, error: MemoryError) -> int:
    """Return half as many rows, but not less than the floor, and say so.

    Raises:
        StageError: there are no more than the floor already.
    """
    if rows <= floor:
        raise StageError(f"memory ran out with {rows} rows at once{_why(error)}", _REMEDY) from error
    smaller = max(floor, rows // 2)
    logs.logger(trace.current_stage() or "memory").warning(
        "Data batch size reduced from %d to %d due to memory pressure", rows, smaller
    )
    return smaller


def release() -> None:
    """Give back to the system what nobody uses any more; the error that told of it must be forgotten by then."""
    gc.collect()
    if arrow := sys.modules.get("pyarrow"):
        arrow.default_memory_pool().release_unused()


def explained(work: Callable[[], T]) -> T:
    """Return `work()`.

    Raises:
        StageError: memory ran out in it, where nothing could be made smaller.
    """
    try:
        return work()
    except MemoryError as error:
        raise StageError(f"memory ran out{_why(error)}", _REMEDY) from error


def _why(error: MemoryError) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return f" ({text})" if text else ""
