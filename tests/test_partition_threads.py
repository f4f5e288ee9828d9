"""A map over partitions by several threads: order, context, errors and shortage of memory or threads."""

from __future__ import annotations

import contextvars
import threading
from typing import Any

import pytest

from ai_workflow.errors import RunInterruptedError
from ai_workflow.runtime import partition_threads
from ai_workflow.runtime.memory_pressure import MemoryExhaustedError

WORD: contextvars.ContextVar[str] = contextvars.ContextVar("word", default="none")


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_results_are_in_order_of_items(threads: int) -> None:
    second_started = threading.Event()

    def work(item: int) -> int:
        if item == 1:
            second_started.set()
        if item == 0 and threads > 1:
            assert second_started.wait(60)
        return item * item

    assert list(partition_threads.ordered_map(work, range(9), threads)) == [item * item for item in range(9)]


def test_threads_have_context_of_caller() -> None:
    token = WORD.set("trace")
    try:
        assert set(partition_threads.ordered_map(lambda _: WORD.get(), range(8), 4)) == {"trace"}
    finally:
        WORD.reset(token)


def test_error_of_first_item_that_fails_is_raised_after_earlier_results() -> None:
    def work(item: int) -> int:
        if item >= 2:
            raise RunInterruptedError(f"interrupted at {item}")
        return item

    results: list[int] = []
    with pytest.raises(RunInterruptedError, match="interrupted at 2"):
        results.extend(partition_threads.ordered_map(work, range(9), 2))
    assert results == [0, 1]
    assert not [each for each in threading.enumerate() if each.name.startswith("partition")]


@pytest.mark.parametrize("error", [MemoryError(), MemoryExhaustedError("memory ran out", "Give more")])
def test_items_are_computed_one_at_a_time_after_memory_runs_out(error: Exception) -> None:
    main, threads_of_2 = threading.current_thread(), []

    def work(item: int) -> int:
        if item == 2:
            threads_of_2.append(threading.current_thread())
            if threading.current_thread() is not main:
                raise error
        return item

    assert list(partition_threads.ordered_map(work, range(6), 3)) == list(range(6))
    assert threads_of_2[-1] is main


def test_items_are_computed_without_threads_if_none_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert list(partition_threads.ordered_map(lambda item: item + 1, range(4), 2)) == [1, 2, 3, 4]
