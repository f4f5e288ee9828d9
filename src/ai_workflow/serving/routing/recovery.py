"""Recovery of a model version after a fault, and health probes of idle versions with golden rows."""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

from ai_workflow.inference.model_worker import ModelExitedError
from ai_workflow.serving.attempt_metrics import AttemptMetrics, FailureReason
from ai_workflow.serving.routing.circuit_breaker import CircuitBreaker
from ai_workflow.serving.routing.job_queue import JobQueue
from ai_workflow.serving.routing.loaded_model import LoadedModel
from ai_workflow.telemetry import trace_context
from ai_workflow.telemetry.logs import logger

# Pause between two attempts: a multiple of the CPU time that starting a worker costs, within these bounds.
_MIN_PAUSE_SECONDS, _PAUSE_FACTOR, _MAX_PAUSE_SECONDS = 0.5, 10, 60.0
# Pause between two probes of an idle version: at least this long, and a multiple of the duration of a probe.
_IDLE_SECONDS, _IDLE_FACTOR = 1.0, 100
# A version that has recovered gets one request at a time for this long, and is suspended at its first failure.
TRIAL_SECONDS = 1.0
# Timeout of a probe: the queue kills a worker that hangs long before.
_PROBE_TIMEOUT_SECONDS = 3600.0
log = logger("serving")


class Recoverable(Protocol):
    """A version with a worker process."""

    name: str
    loaded: LoadedModel
    attempts: AttemptMetrics
    start_cost: float
    problem: FailureReason

    @property
    def is_available(self) -> bool:
        """Whether the version accepts requests."""

    @property
    def has_process(self) -> bool:
        """Whether the version has a worker."""

    def on_hang(self, seconds: float) -> None:
        """Kill a worker that hangs."""

    def suspend(self, reason: FailureReason) -> None:
        """Reject requests until the golden rows succeed."""

    async def restart(self) -> None:
        """Start a worker if the version has none."""

    async def check_golden(self, timeout: float, row: int | None = None) -> FailureReason | str | None:
        """Send golden rows to the model, and return the failure or mismatch, if any."""


class Recovery:
    """The recovery loop and the idle probes of one version.

    Args:
        version: the version.
        queue: its request queue.
        breaker: its circuit breaker.
        attempt_timeout: seconds after which a missing reply counts as a failure.
    """

    def __init__(self, version: Recoverable, queue: JobQueue, breaker: CircuitBreaker, attempt_timeout: float) -> None:
        self._version = version
        self._queue = queue
        self._breaker = breaker
        self._attempt_timeout = attempt_timeout
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._probes: asyncio.Task[None] | None = None
        self._trial_until = -math.inf
        # Log lines about a fault share a trace: alerts name it if no request has met the fault.
        self.trace_id = trace_context.new_id()

    @property
    def is_active(self) -> bool:
        """Whether a recovery is running."""
        return self._task is not None and not self._task.done()

    @property
    def is_on_trial(self) -> bool:
        """Whether the version has recovered only recently."""
        return self._loop.time() < self._trial_until

    def start(self) -> None:
        """Start a recovery, unless one is running."""
        if not self.is_active:
            with trace_context.bound(trace_id=self.trace_id):
                self._task = self._loop.create_task(self._recover())

    def start_probes(self) -> None:
        """Start to probe the version whenever it is idle."""
        self._probes = self._loop.create_task(self._probe_idle())

    def close(self) -> None:
        """Stop the recovery and the probes."""
        for task in (self._task, self._probes):
            if task is not None:
                task.cancel()

    async def _recover(self) -> None:
        """Repeat attempts until the golden rows succeed; pauses grow with the cost of an attempt."""
        version = self._version
        log.warning("%s is suspended: %s", version.name, version.problem)
        version.attempts.record_fault(version.problem, self.trace_id)
        self._breaker.open()
        # A version that fails on trial waits as after a failed attempt.
        can_start = not self.is_on_trial and (not version.has_process or self._queue.batch_age >= self._hang_seconds)
        pause = 0.0 if can_start else self._pause
        while True:
            await asyncio.sleep(pause)
            problem = await self._attempt()
            if problem is None:
                break
            log.debug("%s has not recovered yet: %s", version.name, problem)
            pause = self._pause
        log.info("%s has recovered", version.name)
        self.trace_id = trace_context.new_id()

    async def _attempt(self) -> object:
        """Restart the worker if needed, check the golden rows, and return the problem, if any."""
        version, token = self._version, self._breaker.probe()
        assert token is not None, "only one recovery runs at a time"
        problem: object
        try:
            if self._queue.batch_age >= self._hang_seconds:
                version.on_hang(self._queue.batch_age)
            await version.restart()
            problem = await version.check_golden(self._attempt_timeout)
        except (ModelExitedError, OSError) as error:
            problem = error
        if problem is None:
            self._trial_until = self._loop.time() + max(TRIAL_SECONDS, 2 * self._attempt_timeout)
        self._breaker.record(token, problem is None)
        return problem

    @property
    def _pause(self) -> float:
        return min(max(_MIN_PAUSE_SECONDS, _PAUSE_FACTOR * self._version.start_cost), _MAX_PAUSE_SECONDS)

    @property
    def _hang_seconds(self) -> float:
        """Seconds without a reply after which a new worker costs less than waiting."""
        return max(self._attempt_timeout, _PAUSE_FACTOR * self._version.start_cost)

    async def _probe_idle(self) -> None:
        """Send one golden row after another while there are no requests."""
        version, row, pause = self._version, 0, _IDLE_SECONDS
        while True:
            completed_before = self._queue.completed_batches
            await asyncio.sleep(pause)
            if not version.is_available or len(self._queue) or self._queue.completed_batches != completed_before:
                continue
            row = (row + 1) % len(version.loaded.probe_rows)
            started_at = self._loop.time()
            problem = await version.check_golden(_PROBE_TIMEOUT_SECONDS, row)
            probe_seconds = self._loop.time() - started_at
            pause = min(max(_IDLE_SECONDS, _IDLE_FACTOR * probe_seconds), _MAX_PAUSE_SECONDS)
            if isinstance(problem, FailureReason):
                # The loss of a worker has already started a recovery; a stall of the service proves nothing.
                if problem in (FailureReason.ERROR, FailureReason.BAD_OUTPUT):
                    version.suspend(problem)
            elif problem is not None:
                log.warning("%s: %s", version.name, problem)
                version.suspend(FailureReason.BAD_OUTPUT)
