"""A map over partitions by several threads: order, context, errors and shortage of memory or threads."""

from __future__ import annotations

import contextvars
import resource
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from ai_workflow.errors import RunInterruptedError, StageError
from ai_workflow.runtime import memory_pressure, partition_threads, progress
from ai_workflow.runtime.memory_pressure import MemoryExhaustedError

WORD: contextvars.ContextVar[str] = contextvars.ContextVar("word", default="none")


def ordered(work: Callable[[int], Any], count: int, threads: int, unit: str | None = None) -> list[Any]:
    return partition_threads.call(threads, partition_threads.ordered_map, work, range(count), unit)


def running() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("partition")]


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_results_and_progress_are_in_order_of_items(threads: int) -> None:
    second_started = threading.Event()
    shown: list[tuple[int, int, str]] = []

    def work(item: int) -> int:
        if item == 1:
            second_started.set()
        if item == 0 and threads > 1:
            assert second_started.wait(60)
        return item * item

    progress.set_receiver(lambda done, total, note: shown.append((done, total, note)))
    try:
        assert ordered(work, 9, threads, "partitions") == [item * item for item in range(9)]
    finally:
        progress.set_receiver(None)
    assert shown == [(number, 9, "partitions") for number in range(1, 10)]


def test_no_more_items_than_threads_are_computed_at_once() -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def work(_: int) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        with lock:
            now[0] -= 1

    ordered(work, 50, 2)
    assert most[0] <= 2


def test_one_thread_is_that_of_caller() -> None:
    assert ordered(lambda _: threading.current_thread(), 3, 1) == [threading.current_thread()] * 3


def test_threads_have_context_of_caller() -> None:
    token = WORD.set("trace")
    try:
        assert set(ordered(lambda _: WORD.get(), 8, 4)) == {"trace"}
    finally:
        WORD.reset(token)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_error_of_first_item_that_fails_is_raised_and_no_other_starts(threads: int) -> None:
    third_failed = threading.Event()
    started: list[int] = []

    def work(item: int) -> int:
        started.append(item)
        if item == 2 and threads > 1:
            assert third_failed.wait(60)
        if item >= 2:
            third_failed.set()
            raise StageError(f"item {item}", "Fix it")
        return item

    with pytest.raises(StageError, match="item 2"):
        ordered(work, 400, threads) if threads == 1 else ordered(lambda item: work(min(item, 3)), 400, threads)
    assert len(started) < 20
    assert not running()


def test_interrupt_of_caller_ends_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(progress, "report", interrupt)
    first_done = threading.Event()

    def work(item: int) -> int:
        started.append(item)
        if item:
            assert first_done.wait(60)
        first_done.set()
        return item

    with pytest.raises(KeyboardInterrupt):
        ordered(work, 400, 2, "partitions")
    assert not running()


def test_stop_request_in_thread_interrupts_run() -> None:
    def work(item: int) -> int:
        raise RunInterruptedError(f"interrupted at {item}")

    with pytest.raises(RunInterruptedError, match="interrupted at 0"):
        ordered(work, 9, 2)


@pytest.mark.parametrize("error", [MemoryError(), MemoryExhaustedError("memory ran out", "Give more")])
def test_items_are_computed_one_at_a_time_after_memory_runs_out(error: Exception) -> None:
    main, threads_of_2 = threading.current_thread(), []

    def work(item: int) -> int:
        if item == 2:
            threads_of_2.append(threading.current_thread())
            if threading.current_thread() is not main:
                raise error
        return item

    assert ordered(work, 6, 3) == list(range(6))
    assert len(threads_of_2) == 2
    assert threads_of_2[-1] is main


def test_batches_are_halved_only_after_threads_are_given_up(caplog: pytest.LogCaptureFixture) -> None:
    main = threading.current_thread()
    tried: list[tuple[bool, int]] = []

    def batch(rows: int) -> int:
        tried.append((threading.current_thread() is main, rows))
        if rows > 2000:
            raise MemoryError
        return rows

    assert ordered(lambda _: memory_pressure.with_smaller_batches(batch, 4000), 2, 2) == [2000, 2000]
    assert {rows for is_main, rows in tried if not is_main} == {4000}
    assert [rows for is_main, rows in tried if is_main] == [4000, 2000] * 2
    assert "computed one at a time" in caplog.text


def test_items_are_computed_without_threads_if_none_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert ordered(lambda item: item + 1, 4, 2) == [1, 2, 3, 4]


def streamed(work: Callable[[int], Any], items: Iterable[int], threads: int) -> list[Any]:
    return partition_threads.call(threads, lambda: list(partition_threads.stream_map(work, items)))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_streamed_results_are_in_order_and_few_items_are_ahead(threads: int) -> None:
    read, yielded, ahead = [0], [0], [0]

    def items() -> Iterator[int]:
        for item in range(40):
            read[0] += 1
            ahead[0] = max(ahead[0], read[0] - yielded[0])
            yield item

    def consume() -> list[tuple[int, int]]:
        results = []
        for each in partition_threads.stream_map(lambda item: item * item, items()):
            yielded[0] += 1
            results.append(each)
        return results

    assert partition_threads.call(threads, consume) == [(item, item * item) for item in range(40)]
    assert ahead[0] <= threads + 1
    assert running() == []


def test_streamed_error_is_that_of_first_item_and_ends_threads() -> None:
    def work(item: int) -> int:
        if item in (3, 4):
            raise StageError(f"item {item}", "none")
        return item

    with pytest.raises(StageError, match="item 3"):
        streamed(work, range(9), 2)
    assert running() == []


def test_streamed_item_is_computed_by_caller_after_memory_runs_out() -> None:
    main = threading.current_thread()

    def work(item: int) -> int:
        if item == 2 and threading.current_thread() is not main:
            raise MemoryError
        return item

    assert streamed(work, range(6), 3) == [(item, item) for item in range(6)]


def test_streamed_items_are_computed_by_caller_if_no_thread_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert streamed(lambda item: item + 1, range(4), 2) == [(item, item + 1) for item in range(4)]


def test_limited_address_space_gives_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {True: (10**9, 10**9), False: (resource.RLIM_INFINITY, resource.RLIM_INFINITY)}
    monkeypatch.setattr(partition_threads.os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    for is_limited, threads in ((True, 1), (False, 4)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limits[is_limited]: limit)
        assert partition_threads.default_threads() == threads
