"""Brings a version back after a fault, and finds a fault of an idle version before a request does."""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

from ai_workflow.inference.model_worker import ModelGone
from ai_workflow.serving.attempt_metrics import AttemptMetrics, FailureReason
from ai_workflow.serving.routing.circuit_breaker import CircuitBreaker
from ai_workflow.serving.routing.job_queue import JobQueue
from ai_workflow.serving.routing.loaded_model import LoadedModel
from ai_workflow.telemetry import trace_context
from ai_workflow.telemetry.logs import logger

# Between two attempts: at least so long, and so many times the CPU time that starting a process costs.
_PAUSE_SECONDS, _PAUSE_FACTOR, _LONGEST_PAUSE_SECONDS = 0.5, 10, 60.0
# A version without traffic is probed after so long, and so many times what a probe takes.
_IDLE_SECONDS, _IDLE_FACTOR = 1.0, 100
# A version that has come back gets one request at a time for so long, and is left alone at its first failure.
TRIAL_SECONDS = 1.0
# A probe has no deadline of its own: the queue kills a process that hangs.
_NO_DEADLINE = 3600.0
log = logger("serving")


class Recoverable(Protocol):
    """A version and its process."""

    name: str
    loaded: LoadedModel
    attempts: AttemptMetrics
    start_cost: float
    problem: FailureReason

    @property
    def is_available(self) -> bool:
        """Whether it is asked, at present."""

    @property
    def has_process(self) -> bool:
        """Whether there is a process."""

    def on_hang(self, seconds: float) -> None:
        """Kill the process."""

    def suspend(self, outcome: FailureReason) -> None:
        """Leave it alone until it answers its golden rows."""

    async def restart(self) -> None:
        """Start a process, unless there is one."""

    async def check_golden(self, seconds: float, row: int | None = None) -> FailureReason | str | None:
        """Return how golden rows are not answered as they should be, if so."""


class Recovery:
    """The way back of one version.

    Args:
        version: the version.
        queue: the requests before it.
        breaker: its circuit breaker.
        patience: seconds in which it must answer.
    """

    def __init__(self, version: Recoverable, queue: JobQueue, breaker: CircuitBreaker, patience: float) -> None:
        self._version, self._breaker, self._patience = version, breaker, patience
        self._queue = queue
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._probes: asyncio.Task[None] | None = None
        self._trial_until = -math.inf
        # Log lines about a fault share a trace: alerts name it where no request has met the fault.
        self.trace_id = trace_context.new_id()

    @property
    def is_active(self) -> bool:
        """Whether the version is being brought back."""
        return self._task is not None and not self._task.done()

    @property
    def is_on_trial(self) -> bool:
        """Whether the version has only just come back."""
        return self._loop.time() < self._trial_until

    def begin(self) -> None:
        """Bring the version back, unless that is under way."""
        if not self.is_active:
            with trace_context.bound(trace_id=self.trace_id):
                self._task = self._loop.create_task(self._bring_back())

    def watch(self) -> None:
        """Probe the version whenever it is idle."""
        self._probes = self._loop.create_task(self._probe_idle())

    def close(self) -> None:
        """Stop both."""
        for task in (self._task, self._probes):
            if task is not None:
                task.cancel()

    async def _bring_back(self) -> None:
        """Try until the version answers its golden rows again, the more seldom the more an attempt costs."""
        version = self._version
        log.warning("%s is left alone: %s", version.name, version.problem)
        version.attempts.record_fault(version.problem, self.trace_id)
        self._breaker.open()
        # A version that fails in its trial waits as after a failed attempt.
        is_ready = not self.is_on_trial and (not version.has_process or self._queue.age >= self._hang)
        pause = 0.0 if is_ready else self._pause
        while True:
            await asyncio.sleep(pause)
            problem = await self._attempt()
            if problem is None:
                break
            log.debug("%s does not answer yet: %s", version.name, problem)
            pause = self._pause
        log.info("%s answers again", version.name)
        self.trace_id = trace_context.new_id()

    async def _attempt(self) -> object:
        """Return what is still wrong, if anything."""
        version, token = self._version, self._breaker.probe()
        assert token is not None, "there is one recovery at a time"
        problem: object
        try:
            if self._queue.age >= self._hang:
                version.on_hang(self._queue.age)
            await version.restart()
            problem = await version.check_golden(self._patience)
        except (ModelGone, OSError) as error:
            problem = error
        if problem is None:
            self._trial_until = self._loop.time() + max(TRIAL_SECONDS, 2 * self._patience)
        self._breaker.record(token, problem is None)
        return problem

    @property
    def _pause(self) -> float:
        return min(max(_PAUSE_SECONDS, _PAUSE_FACTOR * self._version.start_cost), _LONGEST_PAUSE_SECONDS)

    @property
    def _hang(self) -> float:
        """Seconds without an answer after which it costs less to start a process than to wait on."""
        return max(self._patience, _PAUSE_FACTOR * self._version.start_cost)

    async def _probe_idle(self) -> None:
        """Ask one golden row after the other while there are no requests."""
        version, row, pause = self._version, 0, _IDLE_SECONDS
        while True:
            before = self._queue.replies
            await asyncio.sleep(pause)
            if not version.is_available or len(self._queue) or self._queue.replies != before:
                continue
            row = (row + 1) % len(version.loaded.probe_rows)
            began = self._loop.time()
            problem = await version.check_golden(_NO_DEADLINE, row)
            pause = min(max(_IDLE_SECONDS, _IDLE_FACTOR * (self._loop.time() - began)), _LONGEST_PAUSE_SECONDS)
            if isinstance(problem, FailureReason):
                # The loss of its process has begun a recovery; a stall of the service proves nothing.
                if problem in (FailureReason.ERROR, FailureReason.BAD_OUTPUT):
                    version.suspend(problem)
            elif problem is not None:
                log.warning("%s: %s", version.name, problem)
                version.suspend(FailureReason.BAD_OUTPUT)
