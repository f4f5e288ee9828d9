"""One version and its process: rows that wait go together, and only a model's own failures count against it."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ai_workflow.inference import model_worker
from ai_workflow.serving.attempt_metrics import Attempts, Outcome
from ai_workflow.serving.exemplars import Examples
from ai_workflow.serving.routing import job_queue, loaded_model, recovery
from ai_workflow.serving.routing.job_queue import Answers
from ai_workflow.serving.routing.served_model import Slot
from tests.serving import shop
from tests.serving.running import HERE, children, lives

pytestmark = pytest.mark.integration

PATIENCE = 0.5


@asynccontextmanager
async def started(root: Path, queue: int = 1000) -> AsyncIterator[Slot]:
    """A slot of latest, with its process."""
    version = await asyncio.to_thread(loaded_model.load, shop.registry(root), "latest")
    slot = Slot(version, Attempts(shop.PIPELINE, version.name, Examples(shop.PIPELINE)), queue, PATIENCE, 20)
    try:
        await slot.start()
        yield slot
    finally:
        slot.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each question to a process had, filled as they are asked."""
    sizes: list[int] = []
    ask = model_worker.ModelWorker.ask
    monkeypatch.setattr(
        model_worker.ModelWorker, "ask", lambda self, rows, data: (sizes.append(rows), ask(self, rows, data))
    )
    return sizes


@pytest.fixture
def failing(faults: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that says how the model of `model_v1.1` fails."""
    command = (sys.executable, "-P", str(HERE / "faulty_worker.py"), str(faults))
    monkeypatch.setattr(model_worker, "COMMAND", command)
    return faults / "model_v1.1"


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 60))


def data(rows: int, seed: int = 0) -> bytes:
    return shop.matrix(shop.rows(rows, seed)).tobytes()


def answer(slot: Slot, rows: int, seed: int = 0, seconds: float = 5.0, *, expires: bool = False) -> Answers:
    sent = data(rows, seed)
    found = slot.answer(sent, rows, asyncio.get_running_loop().time() + seconds, expires=expires)
    assert isinstance(found, asyncio.Future), found
    return found


def test_requests_that_wait_go_together_and_each_gets_its_own_answers(root: Path, asked: list[int]) -> None:
    async def work() -> None:
        async with started(root) as slot:
            asked.clear()
            futures = [answer(slot, 1 + seed % 3, seed) for seed in range(60)]
            for seed, future in enumerate(futures):
                known = [value for row in shop.answers(1, shop.rows(1 + seed % 3, seed)) for value in row]
                assert list(await future) == pytest.approx(known, rel=1e-12)
            assert sum(asked) == 120
            assert len(asked) == 2, "the first at once, the others as one while it was busy"

    run(work)


def test_a_large_request_travels_as_one_and_is_answered_as_the_library_answers(root: Path, asked: list[int]) -> None:
    async def work() -> None:
        async with started(root) as slot:
            asked.clear()
            found = await answer(slot, 5000)
            known = [value for row in shop.answers(1, shop.rows(5000)) for value in row]
            assert list(found) == pytest.approx(known, rel=1e-12)
            assert asked == [5000]

    run(work)


def test_short_deadlines_of_callers_do_not_count_against_a_version(root: Path, failing: Path) -> None:
    async def work() -> None:
        async with started(root) as slot:
            failing.write_text("hang")
            asked = [answer(slot, 1, seconds=0.001, expires=True) for _ in range(20)]
            # Held back once, these have waited for much less than an attempt may take.
            assert set(await asyncio.gather(*asked)) <= {Outcome.EXPIRED, Outcome.STALLED}
            assert slot.condition == "ok"
            late = [answer(slot, 1, seconds=2 * PATIENCE, expires=True) for _ in range(20)]
            assert set(await asyncio.gather(*late)) & {Outcome.TIMEOUT, Outcome.HUNG}
            # It hangs, whatever the deadlines of the callers were: soon it gets no requests.
            while slot.condition == "ok":
                await asyncio.sleep(0.01)

    run(work)


def test_who_goes_away_counts_neither_for_nor_against_a_version(root: Path, failing: Path) -> None:
    async def work() -> None:
        async with started(root) as slot:
            failing.write_text("slow")
            for _ in range(20):
                answer(slot, 1).cancel()
            failing.unlink()
            await answer(slot, 1)
            assert slot.condition == "ok"
            assert slot.waiting == 0

    run(work)


def test_what_is_of_no_use_any_more_is_not_asked(
    root: Path, failing: Path, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # However late a busy machine lets timers fire, the service counts as running.
    monkeypatch.setattr(job_queue, "_LATE", math.inf)

    async def work() -> None:
        async with started(root) as slot:
            asked.clear()
            failing.write_text("held")
            first = answer(slot, 1)
            late = [answer(slot, 1, seconds=0.05) for _ in range(3)]
            assert [await each for each in late] == [Outcome.TIMEOUT] * 3
            failing.unlink()
            await first
            await answer(slot, 1)
            assert asked == [1, 1]

    run(work)


def test_a_service_that_stood_still_does_not_blame_the_version(root: Path, failing: Path) -> None:
    async def work() -> None:
        async with started(root) as slot:
            failing.write_text("held")
            late = [answer(slot, 1, seconds=0.05) for _ in range(3)]
            # The event loop is blocked until all of them are late by more than their own time.
            time.sleep(0.3)
            assert [await each for each in late] == [Outcome.STALLED] * 3
            failing.unlink()
            assert not isinstance(await answer(slot, 1), Outcome)
            assert slot.condition == "ok"

    run(work)


def test_a_full_queue_refuses_at_once(root: Path, failing: Path) -> None:
    async def work() -> None:
        async with started(root, queue=3) as slot:
            failing.write_text("slow")
            waiting = [answer(slot, 1) for _ in range(3)]
            assert slot.answer(data(1), 1, asyncio.get_running_loop().time() + 5) == Outcome.BUSY
            failing.unlink()
            for each in waiting:
                assert not isinstance(await each, Outcome)

    run(work)


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("raise", Outcome.ERROR),
        ("segfault", Outcome.CRASHED),
        ("NaN", Outcome.BAD_OUTPUT),
        ("too few", Outcome.BAD_OUTPUT),
        ("no probability", Outcome.BAD_OUTPUT),
    ],
)
def test_each_way_to_fail_is_told_by_its_name(kind: str, outcome: Outcome, root: Path, failing: Path) -> None:
    async def work() -> None:
        async with started(root) as slot:
            failing.write_text(kind)
            assert await answer(slot, 1) == outcome

    run(work)


def test_a_process_that_hangs_is_killed_and_a_new_one_answers(root: Path, failing: Path) -> None:
    async def work() -> None:
        async with started(root) as slot:
            assert slot._worker is not None
            pid = slot._worker.pid
            failing.write_text("hang holding the GIL")
            assert await answer(slot, 1) == Outcome.HUNG
            assert not slot.answers
            failing.unlink()
            while not slot.answers:
                await asyncio.sleep(0.02)
            assert not lives(pid)
            assert not isinstance(await answer(slot, 1), Outcome)

    run(work)


def test_while_it_fails_it_is_probed_with_golden_rows_and_not_with_requests(root: Path, failing: Path) -> None:
    async def work() -> None:
        async with started(root) as slot:
            failing.write_text("NaN")
            for _ in range(5):
                assert await answer(slot, 1) == Outcome.BAD_OUTPUT
            until = asyncio.get_running_loop().time() + 1.2
            while asyncio.get_running_loop().time() < until:
                assert slot.answer(data(1), 1, until) == Outcome.BAD_OUTPUT, "refused at once, with the reason"
                await asyncio.sleep(0.05)
            failing.unlink()
            while not slot.answers:
                await asyncio.sleep(0.02)

    run(work)


def test_a_process_that_is_killed_fails_what_it_had_and_is_replaced(root: Path) -> None:
    async def work() -> None:
        async with started(root) as slot:
            assert slot._worker is not None
            os.kill(slot._worker.pid, signal.SIGSTOP)
            asked = answer(slot, 1)
            os.kill(slot._worker.pid, signal.SIGKILL)
            assert await asked == Outcome.CRASHED
            while not slot.answers:
                await asyncio.sleep(0.02)
            assert not isinstance(await answer(slot, 1), Outcome)

    run(work)


def stop(slot: Slot) -> None:
    """Stop the process of a version, whatever it does."""
    if slot._worker is not None:
        os.kill(slot._worker.pid, signal.SIGSTOP)


def test_requests_do_not_wait_behind_a_batch_that_is_late(root: Path) -> None:
    async def work() -> None:
        async with started(root) as slot:
            stop(slot)
            first = answer(slot, 1, seconds=PATIENCE)
            behind = [answer(slot, 1, seconds=60) for _ in range(3)]
            assert await first == Outcome.TIMEOUT
            assert [await each for each in behind] == [Outcome.TIMEOUT] * 3
            assert slot.answer(data(1), 1, asyncio.get_running_loop().time() + 60) == Outcome.TIMEOUT

    run(work)


async def comes_back(slot: Slot) -> None:
    while not slot.answers:
        await asyncio.sleep(0.01)


def test_a_version_that_comes_back_gets_one_request_at_a_time(
    root: Path, failing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "TRIAL_SECONDS", 3600.0)

    async def work() -> None:
        async with started(root) as slot:
            assert slot._worker is not None
            os.kill(slot._worker.pid, signal.SIGKILL)
            while slot.answers:
                await asyncio.sleep(0.01)
            await comes_back(slot)
            assert slot.condition == "recovering"
            failing.write_text("held")
            sent = data(1)
            until = asyncio.get_running_loop().time() + 60
            first = answer(slot, 1, seconds=60)
            assert [slot.answer(sent, 1, until) for _ in range(15)] == [Outcome.RECOVERING] * 15
            failing.unlink()
            assert not isinstance(await first, Outcome)
            failing.write_text("raise")
            assert await answer(slot, 1) == Outcome.ERROR
            assert not slot.answers, "one failure is enough"

    run(work)


@pytest.mark.slow
def test_a_version_that_is_stopped_again_and_again_is_back_soon_after_the_last_time(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    pause = recovery.Recovery._pause.fget
    assert pause is not None
    kept = property(lambda self: pauses.append(pause(self)) or pauses[-1])
    monkeypatch.setattr(recovery.Recovery, "_pause", kept)

    async def work() -> None:
        async with started(root) as slot:
            loop = asyncio.get_running_loop()
            end, late = loop.time() + 14, 0
            while loop.time() < end:
                for child in children(os.getpid()):
                    os.kill(child, signal.SIGSTOP)
                asked = [slot.answer(data(1), 1, loop.time() + PATIENCE) for _ in range(16)]
                found = [await each for each in asked if isinstance(each, asyncio.Future)]
                late += len(found)
                await asyncio.sleep(0.05)
            attempts = len(pauses)
            await comes_back(slot)
            assert attempts >= 3
            assert len(pauses) - attempts <= 2, "at most the attempt under way fails, and another one"
            assert max(pauses) < 2.0, "a start costs CPU time, a process that was stopped costs none"
            assert late <= 16 + 2 * attempts, "all of the first hang, then one for each return"

    run(work)
