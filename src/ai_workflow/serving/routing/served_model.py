"""A version that is served: its process, its queue and its circuit breaker."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from logging import DEBUG, WARNING

from ai_workflow.errors import AiWorkflowError
from ai_workflow.inference.model_worker import ModelGone, ModelWorker, Reply
from ai_workflow.serving.attempt_metrics import AttemptMetrics, FailureReason
from ai_workflow.serving.routing.circuit_breaker import BreakerState, CircuitBreaker
from ai_workflow.serving.routing.job_queue import Answers, Job, JobQueue
from ai_workflow.serving.routing.loaded_model import MAX_VALUES, LoadedModel
from ai_workflow.serving.routing.recovery import Recovery
from ai_workflow.telemetry import trace_context
from ai_workflow.telemetry.logs import logger

# A process that has not answered for so many times the patience, and so many seconds, is killed.
_HANG, _LEAST_HANG_SECONDS = 3, 1.0
# The token of golden rows: the breaker ignores it, as their answers are compared first.
_GOLDEN = -1
# A batch is late after this share of the patience: a request has less of it left when it is sent.
_LATE_SHARE = 0.9
# A process that loads, uses no CPU and waits for no disk for so long, and for twice as long as usual, hangs.
LEAST_STALL_SECONDS = 0.5
log = logger("serving")


class ServedModel:
    """A loaded version, asked from the event loop's thread only.

    Args:
        loaded: the version's files.
        attempts: its metrics.
        queue: how many requests may wait.
        patience: seconds in which it must answer to count as well.
        timeout: seconds that loading may take.
    """

    def __init__(
        self, loaded: LoadedModel, attempts: AttemptMetrics, queue: int, patience: float, timeout: float
    ) -> None:
        self.loaded, self.name, self.attempts = loaded, loaded.name, attempts
        self._longest, self._patience, self._timeout = queue, patience, timeout
        self._loop = asyncio.get_running_loop()
        self._queue = JobQueue(self, max(_HANG * patience, _LEAST_HANG_SECONDS), MAX_VALUES // loaded.output_count)
        self._breaker = CircuitBreaker(self._changed)
        self._worker: ModelWorker | None = None
        self._recovery = Recovery(self, self._queue, self._breaker, patience)
        # What its process takes to start: wall-clock seconds, and CPU seconds.
        self._start_seconds, self.start_cost = 0.0, 0.0
        # Why it is not asked, where it is not.
        self.problem = FailureReason.CRASHED
        self._is_closed = False

    def answer(self, data: bytes, rows: int, until: float, *, expires: bool = False) -> Answers | FailureReason:
        """Return what will hold the answers (rows x outputs), or why the version is not asked.

        Args:
            data: float32 (rows, features).
            rows: how many.
            until: the loop's time by which the answer is of use.
            expires: whether the caller set the deadline. If it passes early, the version does not fail.
        """
        token = self._breaker.admit()
        if token is None or self._worker is None:
            return self.problem
        waiting = len(self._queue)
        if waiting >= self._longest:
            return FailureReason.BUSY
        if waiting and self._recovery.is_on_trial:
            return FailureReason.RECOVERING
        # What waits behind a batch that is late would be late as well.
        if self._queue.is_late:
            return FailureReason.TIMEOUT
        return self._queue.add(data, rows, until, token, expires=expires)

    @property
    def is_available(self) -> bool:
        """Whether it is asked, at present."""
        return self._worker is not None and self._breaker.state is BreakerState.CLOSED

    @property
    def status(self) -> str:
        """`ok`, or what keeps it from being asked."""
        if not self.is_available:
            return self.problem.value
        return FailureReason.RECOVERING.value if self._recovery.is_on_trial else "ok"

    @property
    def pending_requests(self) -> int:
        """How many requests it has not answered yet."""
        return len(self._queue)

    def send(self, rows: int, data: bytes) -> None:
        """Send a batch to the process."""
        if self._worker is not None:
            self._worker.ask(rows, data)

    def on_expired(self, jobs: Sequence[Job], *, stood_still: bool) -> None:
        """Give up on jobs; a pause of this process and a short deadline of a caller are no failures of the model."""
        late = self._loop.time() - _LATE_SHARE * self._patience
        early = [job for job in jobs if job.expires and not stood_still and job.added >= late]
        self._fail(early, FailureReason.EXPIRED, counts=False)
        self._fail(jobs, FailureReason.STALLED if stood_still else FailureReason.TIMEOUT, counts=not stood_still)
        if not stood_still and self._queue.age > _LATE_SHARE * self._patience:
            self._queue.is_late = True
            self._fail(self._queue.drop_waiting(), FailureReason.TIMEOUT, counts=False)

    def on_hang(self, seconds: float) -> None:
        """Kill the process: it may hang for ever."""
        self._lose(FailureReason.HUNG, f"has not answered for {seconds:.1f} s, and is killed")

    def _replied(self, reply: Reply) -> None:
        batch = self._queue.answered()
        if isinstance(reply, str):
            log.warning("%s raised an error: %s", self.name, reply)
            self._fail(batch, FailureReason.ERROR)
            return
        width, at = self.loaded.output_count, 0
        if len(reply) != width * sum([job.rows for job in batch]):
            self._fail(batch, FailureReason.BAD_OUTPUT)
            return
        for job in batch:
            answers = reply if len(batch) == 1 else reply[at : at + job.rows * width]
            at += job.rows * width
            if not self.loaded.is_valid_output(answers):
                self._fail([job], FailureReason.BAD_OUTPUT)
            elif not job.answered.done():
                self._breaker.record(job.token, True)
                job.answered.set_result(answers)

    def _fail(self, jobs: Sequence[Job], outcome: FailureReason, *, counts: bool = True) -> None:
        for job in jobs:
            if not job.answered.done():
                job.answered.set_result(outcome)
                if counts:
                    self._count_failure(job.token, outcome)

    def _count_failure(self, token: int, outcome: FailureReason) -> None:
        self.problem = outcome
        self._breaker.record(token, False)
        if self._recovery.is_on_trial and token != _GOLDEN:
            self._breaker.open()

    async def start(self) -> None:
        """Load the model in a process, and let it answer the golden rows.

        Raises:
            AiWorkflowError: it cannot be loaded, or answers them in another way.
        """
        began = self._loop.time()
        await self._spawn(math.inf)
        self._start_seconds = self._loop.time() - began
        problem = await self.check_golden(self._timeout)
        if problem is not None:
            raise AiWorkflowError(f"{self.name} does not answer its golden rows: {problem}")
        self._recovery.watch()

    async def restart(self) -> None:
        """Start a process in place of one that was lost.

        Raises:
            ModelGone: it crashed on the model, or made no progress for longer than loading usually takes.
        """
        if self._worker is not None:
            return
        try:
            await self._spawn(max(LEAST_STALL_SECONDS, 2 * self._start_seconds))
        except ModelGone as error:
            self.attempts.record_process_loss(
                FailureReason.HUNG if error.is_late else FailureReason.CRASHED, self._recovery.trace_id
            )
            raise

    async def _spawn(self, stall: float) -> None:
        """Start a process, and wait until its model is loaded; `stall` seconds without progress are a failure."""

        def replied(reply: Reply) -> None:
            if self._worker is worker:
                self._replied(reply)

        def gone(how: str) -> None:
            if self._worker is worker:
                self._lose(FailureReason.CRASHED, how)

        worker = ModelWorker(self.name, replied, gone)
        try:
            await worker.start(self.loaded.kind, self.loaded.model_fd, self.loaded.feature_count, self._timeout, stall)
        finally:
            self.start_cost = worker.cpu_seconds
        if worker.outputs != self.loaded.output_count:
            worker.kill()
            raise ModelGone(f"it answers {worker.outputs} numbers to a row, in place of {self.loaded.output_count}")
        self._worker = worker

    async def check_golden(self, seconds: float, row: int | None = None) -> FailureReason | str | None:
        """Return how golden rows are not answered as they should be, if so.

        Args:
            seconds: how long that may take.
            row: the number of the row to ask about; none: all of them.
        """
        rows = self.loaded.probe_rows if row is None else self.loaded.probe_rows[row : row + 1]
        answered = await self._queue.add(rows.tobytes(), len(rows), self._loop.time() + seconds, _GOLDEN)
        return answered if isinstance(answered, FailureReason) else self.loaded.golden_mismatch(answered, row)

    @property
    def has_process(self) -> bool:
        """Whether there is a process; it may hang."""
        return self._worker is not None

    def _lose(self, outcome: FailureReason, how: str) -> None:
        """Give up the process: its requests fail, and it is started again."""
        worker, self._worker = self._worker, None
        sent, waiting = self._queue.clear()
        if worker is not None:
            worker.kill()
        if not self._is_closed:
            with trace_context.bound(trace_id=self._recovery.trace_id):
                # One line for each fault: until it is over, every attempt to start may fail in the same way.
                log.log(DEBUG if self._recovery.is_active else WARNING, "%s: its process %s", self.name, how)
        self._fail(sent, outcome)
        self._fail(waiting, outcome, counts=False)
        self.problem = outcome
        self._recover()
        self.attempts.record_process_loss(outcome, self._recovery.trace_id)

    def suspend(self, outcome: FailureReason) -> None:
        """Leave the version alone for a fault that no request has met, until it answers its golden rows."""
        self.problem = outcome
        self._breaker.open()

    def _changed(self, state: BreakerState) -> None:
        self.attempts.set_breaker_state(state)
        if state is BreakerState.OPEN:
            self._recover()
            # They have time left for the next version.
            self._fail(self._queue.drop_waiting(), self.problem, counts=False)

    def _recover(self) -> None:
        if not self._is_closed:
            self._recovery.begin()

    def close(self) -> None:
        """End its process, and release its files."""
        self._is_closed = True
        self._recovery.close()
        self._lose(FailureReason.RETIRED, "is no longer needed")
        self.loaded.close()
