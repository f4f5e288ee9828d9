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
from ai_workflow.serving.attempt_metrics import AttemptMetrics, FailureReason
from ai_workflow.serving.exemplars import Exemplars
from ai_workflow.serving.routing import job_queue, loaded_model, recovery
from ai_workflow.serving.routing.job_queue import PendingResult
from ai_workflow.serving.routing.served_model import ServedModel
from tests.serving import published_models
from tests.serving.running_service import HERE, children, lives

pytestmark = pytest.mark.integration

PATIENCE = 0.5


@asynccontextmanager
async def started(root: Path, queue: int = 1000) -> AsyncIterator[ServedModel]:
    """A model of latest, with its process."""
    version = await asyncio.to_thread(loaded_model.load, published_models.registry(root), "latest")
    model = ServedModel(
        version,
        AttemptMetrics(published_models.PIPELINE, version.name, Exemplars(published_models.PIPELINE)),
        queue,
        PATIENCE,
        20,
    )
    try:
        await model.start()
        yield model
    finally:
        model.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each question to a process had, filled as they are asked."""
    sizes: list[int] = []
    send = model_worker.ModelWorker.send
    monkeypatch.setattr(
        model_worker.ModelWorker, "send", lambda self, rows, data: (sizes.append(rows), send(self, rows, data))
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
    return published_models.matrix(published_models.rows(rows, seed)).tobytes()


def answer(
    model: ServedModel, rows: int, seed: int = 0, seconds: float = 5.0, *, is_client_deadline: bool = False
) -> PendingResult:
    sent = data(rows, seed)
    found = model.submit(sent, rows, asyncio.get_running_loop().time() + seconds, is_client_deadline=is_client_deadline)
    assert isinstance(found, asyncio.Future), found
    return found


def test_queued_requests_are_batched_and_answered_individually(root: Path, asked: list[int]) -> None:
    async def work() -> None:
        async with started(root) as model:
            asked.clear()
            futures = [answer(model, 1 + seed % 3, seed) for seed in range(60)]
            for seed, future in enumerate(futures):
                known = [
                    value
                    for row in published_models.answers(1, published_models.rows(1 + seed % 3, seed))
                    for value in row
                ]
                assert list(await future) == pytest.approx(known, rel=1e-12)
            assert sum(asked) == 120
            assert len(asked) == 2, "the first at once, the others as one while it was busy"

    run(work)


def test_large_request_is_scored_in_single_batch(root: Path, asked: list[int]) -> None:
    async def work() -> None:
        async with started(root) as model:
            asked.clear()
            found = await answer(model, 5000)
            known = [value for row in published_models.answers(1, published_models.rows(5000)) for value in row]
            assert list(found) == pytest.approx(known, rel=1e-12)
            assert asked == [5000]

    run(work)


def test_short_client_deadlines_do_not_open_circuit_breaker(root: Path, failing: Path) -> None:
    async def work() -> None:
        async with started(root) as model:
            failing.write_text("hang")
            asked = [answer(model, 1, seconds=0.001, is_client_deadline=True) for _ in range(20)]
            # Held back once, these have waited for much less than an attempt may take.
            assert set(await asyncio.gather(*asked)) <= {FailureReason.EXPIRED, FailureReason.STALLED}
            assert model.status == "ok"
            late = [answer(model, 1, seconds=2 * PATIENCE, is_client_deadline=True) for _ in range(20)]
            assert set(await asyncio.gather(*late)) & {FailureReason.TIMEOUT, FailureReason.HUNG}
            # It hangs, whatever the deadlines of the callers were: soon it gets no requests.
            while model.status == "ok":
                await asyncio.sleep(0.01)

    run(work)


def test_cancelled_requests_do_not_affect_circuit_breaker(root: Path, failing: Path) -> None:
    async def work() -> None:
        async with started(root) as model:
            failing.write_text("slow")
            for _ in range(20):
                answer(model, 1).cancel()
            failing.unlink()
            await answer(model, 1)
            assert model.status == "ok"
            assert model.pending_requests == 0

    run(work)


def test_expired_queued_requests_are_not_scored(
    root: Path, failing: Path, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # However late a busy machine lets timers fire, the service counts as running.
    monkeypatch.setattr(job_queue, "_LATE_SECONDS", math.inf)

    async def work() -> None:
        async with started(root) as model:
            asked.clear()
            failing.write_text("held")
            first = answer(model, 1)
            late = [answer(model, 1, seconds=0.05) for _ in range(3)]
            assert [await each for each in late] == [FailureReason.TIMEOUT] * 3
            failing.unlink()
            await first
            await answer(model, 1)
            assert asked == [1, 1]

    run(work)


def test_stalled_event_loop_does_not_affect_circuit_breaker(root: Path, failing: Path) -> None:
    async def work() -> None:
        async with started(root) as model:
            failing.write_text("held")
            late = [answer(model, 1, seconds=0.05) for _ in range(3)]
            # The event loop is blocked until all of them are late by more than their own time.
            time.sleep(0.3)
            assert [await each for each in late] == [FailureReason.STALLED] * 3
            failing.unlink()
            assert not isinstance(await answer(model, 1), FailureReason)
            assert model.status == "ok"

    run(work)


def test_full_queue_rejects_immediately(root: Path, failing: Path) -> None:
    async def work() -> None:
        async with started(root, queue=3) as model:
            failing.write_text("slow")
            waiting = [answer(model, 1) for _ in range(3)]
            assert model.submit(data(1), 1, asyncio.get_running_loop().time() + 5) == FailureReason.BUSY
            failing.unlink()
            for each in waiting:
                assert not isinstance(await each, FailureReason)

    run(work)


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("raise", FailureReason.ERROR),
        ("segfault", FailureReason.CRASHED),
        ("NaN", FailureReason.BAD_OUTPUT),
        ("too few", FailureReason.BAD_OUTPUT),
        ("no probability", FailureReason.BAD_OUTPUT),
    ],
)
def test_each_failure_kind_has_distinct_reason(kind: str, outcome: FailureReason, root: Path, failing: Path) -> None:
    async def work() -> None:
        async with started(root) as model:
            failing.write_text(kind)
            assert await answer(model, 1) == outcome

    run(work)


def test_hung_worker_is_killed_and_replaced(root: Path, failing: Path) -> None:
    async def work() -> None:
        async with started(root) as model:
            assert model._worker is not None
            pid = model._worker.pid
            failing.write_text("hang holding the GIL")
            assert await answer(model, 1) == FailureReason.HUNG
            assert not model.is_available
            failing.unlink()
            while not model.is_available:
                await asyncio.sleep(0.02)
            assert not lives(pid)
            assert not isinstance(await answer(model, 1), FailureReason)

    run(work)


def test_failing_version_gets_golden_row_probes_instead_of_requests(root: Path, failing: Path) -> None:
    async def work() -> None:
        async with started(root) as model:
            failing.write_text("NaN")
            for _ in range(5):
                assert await answer(model, 1) == FailureReason.BAD_OUTPUT
            until = asyncio.get_running_loop().time() + 1.2
            while asyncio.get_running_loop().time() < until:
                assert model.submit(data(1), 1, until) == FailureReason.BAD_OUTPUT, "refused at once, with the reason"
                await asyncio.sleep(0.05)
            failing.unlink()
            while not model.is_available:
                await asyncio.sleep(0.02)

    run(work)


def test_killed_worker_fails_pending_request_and_is_replaced(root: Path) -> None:
    async def work() -> None:
        async with started(root) as model:
            assert model._worker is not None
            os.kill(model._worker.pid, signal.SIGSTOP)
            asked = answer(model, 1)
            os.kill(model._worker.pid, signal.SIGKILL)
            assert await asked == FailureReason.CRASHED
            while not model.is_available:
                await asyncio.sleep(0.02)
            assert not isinstance(await answer(model, 1), FailureReason)

    run(work)


def stop(model: ServedModel) -> None:
    """Stop the process of a version, whatever it does."""
    if model._worker is not None:
        os.kill(model._worker.pid, signal.SIGSTOP)


def test_queued_requests_fail_with_late_batch(root: Path) -> None:
    async def work() -> None:
        async with started(root) as model:
            stop(model)
            first = answer(model, 1, seconds=PATIENCE)
            behind = [answer(model, 1, seconds=60) for _ in range(3)]
            assert await first == FailureReason.TIMEOUT
            assert [await each for each in behind] == [FailureReason.TIMEOUT] * 3
            assert model.submit(data(1), 1, asyncio.get_running_loop().time() + 60) == FailureReason.TIMEOUT

    run(work)


async def comes_back(model: ServedModel) -> None:
    while not model.is_available:
        await asyncio.sleep(0.01)


def test_recovering_version_gets_single_trial_request(
    root: Path, failing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "TRIAL_SECONDS", 3600.0)

    async def work() -> None:
        async with started(root) as model:
            assert model._worker is not None
            os.kill(model._worker.pid, signal.SIGKILL)
            while model.is_available:
                await asyncio.sleep(0.01)
            await comes_back(model)
            assert model.status == "recovering"
            failing.write_text("held")
            sent = data(1)
            until = asyncio.get_running_loop().time() + 60
            first = answer(model, 1, seconds=60)
            assert [model.submit(sent, 1, until) for _ in range(15)] == [FailureReason.RECOVERING] * 15
            failing.unlink()
            assert not isinstance(await first, FailureReason)
            failing.write_text("raise")
            assert await answer(model, 1) == FailureReason.ERROR
            assert not model.is_available, "one failure is enough"

    run(work)


@pytest.mark.slow
def test_repeatedly_stopped_version_recovers_quickly(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    pause = recovery.Recovery._pause.fget
    assert pause is not None
    kept = property(lambda self: pauses.append(pause(self)) or pauses[-1])
    monkeypatch.setattr(recovery.Recovery, "_pause", kept)

    async def work() -> None:
        async with started(root) as model:
            loop = asyncio.get_running_loop()
            end, late = loop.time() + 14, 0
            while loop.time() < end:
                for child in children(os.getpid()):
                    os.kill(child, signal.SIGSTOP)
                asked = [model.submit(data(1), 1, loop.time() + PATIENCE) for _ in range(16)]
                found = [await each for each in asked if isinstance(each, asyncio.Future)]
                late += len(found)
                await asyncio.sleep(0.05)
            attempts = len(pauses)
            await comes_back(model)
            assert attempts >= 3
            assert len(pauses) - attempts <= 2, "at most the attempt under way fails, and another one"
            assert max(pauses) < 2.0, "a start costs CPU time, a process that was stopped costs none"
            assert late <= 16 + 2 * attempts, "all of the first hang, then one for each return"

    run(work)
