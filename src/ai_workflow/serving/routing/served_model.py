"""A served model version: worker process, request queue, circuit breaker and recovery."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from logging import DEBUG, WARNING

from ai_workflow.errors import AiWorkflowError
from ai_workflow.inference.model_worker import ModelExitedError, ModelWorker, Reply
from ai_workflow.serving.attempt_metrics import AttemptMetrics, FailureReason
from ai_workflow.serving.routing.circuit_breaker import BreakerState, CircuitBreaker
from ai_workflow.serving.routing.explanations import Explanations
from ai_workflow.serving.routing.job_queue import Job, JobQueue, PendingResult
from ai_workflow.serving.routing.loaded_model import MAX_VALUES, LoadedModel
from ai_workflow.serving.routing.recovery import Recovery
from ai_workflow.telemetry import trace_context
from ai_workflow.telemetry.logs import logger

# A worker without a reply for this many attempt timeouts, and at least this many seconds, is killed.
_HANG_FACTOR, _MIN_HANG_SECONDS = 3, 1.0
# The breaker ignores this token: the outputs of golden rows are compared before an outcome is recorded, and faults of
# contributions are no failures of the version.
_UNCOUNTED_TOKEN = -1
# A batch is late after this share of the attempt timeout: a request has less of it left when it is sent.
_LATE_SHARE = 0.9
# A worker that loads its model hangs if it is idle this long, and twice as long as its first start took.
MIN_STALL_SECONDS = 0.5
log = logger("serving")


class ServedModel:
    """A loaded version with its worker process; use it from the thread of the event loop only.

    Args:
        loaded: the version.
        attempts: the metrics of the version.
        max_queue: limit of requests that wait.
        attempt_timeout: seconds after which a missing reply counts as a failure.
        load_timeout: seconds without progress after which loading the model fails.
    """

    def __init__(
        self, loaded: LoadedModel, attempts: AttemptMetrics, max_queue: int, attempt_timeout: float, load_timeout: float
    ) -> None:
        self.loaded, self.name, self.attempts = loaded, loaded.name, attempts
        self._max_queue, self._attempt_timeout, self._load_timeout = max_queue, attempt_timeout, load_timeout
        self._loop = asyncio.get_running_loop()
        hang_seconds = max(_HANG_FACTOR * attempt_timeout, _MIN_HANG_SECONDS)
        self._queue = JobQueue(self, hang_seconds, MAX_VALUES // loaded.output_count)
        self._breaker = CircuitBreaker(self._on_breaker_change)
        self.explanations = Explanations(loaded, attempt_timeout)
        self._worker: ModelWorker | None = None
        self._recovery = Recovery(self, self._queue, self._breaker, attempt_timeout)
        # Wall-clock seconds of the first start, and CPU seconds of the latest one.
        self._start_seconds, self.start_cost = 0.0, 0.0
        # The failure reason of requests that are rejected while the version is unavailable.
        self.problem = FailureReason.CRASHED
        self._is_closed = False

    def submit(
        self, data: bytes, rows: int, deadline: float, *, is_client_deadline: bool = False
    ) -> PendingResult | FailureReason:
        """Return a future with the outputs (rows x outputs), or the reason why the request is rejected.

        Args:
            data: float32 (rows, features).
            rows: number of rows.
            deadline: in the time of the event loop.
            is_client_deadline: whether the client set the deadline; a short one does not count as a failure.
        """
        token = self._breaker.admit()
        if token is None or self._worker is None:
            return self.problem
        pending = len(self._queue)
        if pending >= self._max_queue:
            return FailureReason.BUSY
        if pending and self._recovery.is_on_trial:
            return FailureReason.RECOVERING
        # Requests behind a late batch would be late as well.
        if self._queue.is_batch_late:
            return FailureReason.TIMEOUT
        return self._queue.add(data, rows, deadline, token, is_client_deadline=is_client_deadline)

    async def explain(self, data: bytes, deadline: float) -> Sequence[float] | FailureReason:
        """Return the contributions of one row, (outputs x (features + 1)), or the reason why there are none.

        Args:
            data: float32 (features,).
            deadline: in the time of the event loop.
        """
        if self._breaker.admit() is None or self._worker is None:
            return self.problem
        if deadline <= self._loop.time():
            return FailureReason.TIMEOUT
        if len(self._queue) >= self._max_queue or self._recovery.is_on_trial or self._queue.is_batch_late:
            return FailureReason.BUSY
        deadline = self.explanations.row_deadline(deadline)
        pending = self._queue.add_explained(data, deadline, _UNCOUNTED_TOKEN)
        return await self.explanations.result(pending)

    @property
    def is_available(self) -> bool:
        """Whether the version accepts requests."""
        return self._worker is not None and self._breaker.state is BreakerState.CLOSED

    @property
    def status(self) -> str:
        """Health status: `ok`, or the reason why requests are rejected."""
        if not self.is_available:
            return self.problem.value
        return FailureReason.RECOVERING.value if self._recovery.is_on_trial else "ok"

    @property
    def pending_requests(self) -> int:
        """Number of requests without a result."""
        return len(self._queue)

    def send(self, rows: int, data: bytes) -> None:
        """Send a batch to the worker."""
        if self._worker is not None:
            self._worker.send(rows, data)

    def send_explained(self, data: bytes) -> None:
        """Send one row to the worker for its contributions."""
        if self._worker is not None:
            self._worker.send_explained(data)

    def on_expired(self, jobs: Sequence[Job], *, was_stalled: bool) -> None:
        """Fail expired jobs; neither a stall of the service nor a short client deadline is a failure of the model."""
        late = self._loop.time() - _LATE_SHARE * self._attempt_timeout
        early = [job for job in jobs if job.is_client_deadline and not was_stalled and job.queued_at >= late]
        self._fail(early, FailureReason.EXPIRED, counts=False)
        self._fail(jobs, FailureReason.STALLED if was_stalled else FailureReason.TIMEOUT, counts=not was_stalled)
        is_late = self._queue.batch_age > _LATE_SHARE * self._attempt_timeout or any(job.is_explained for job in jobs)
        if is_late and not was_stalled:
            self._queue.is_batch_late = True
            self._fail(self._queue.drop_waiting(), FailureReason.TIMEOUT, counts=False)

    def on_hang(self, seconds: float) -> None:
        """Kill a worker that hangs."""
        self._lose_worker(FailureReason.HUNG, f"sent no reply for {seconds:.1f} s and was killed")

    def _on_reply(self, reply: Reply) -> None:
        batch = self._queue.complete_batch()
        if isinstance(reply, str):
            log.warning("%s raised an error: %s", self.name, reply)
            self._fail(batch, FailureReason.ERROR)
            return
        if batch and batch[0].is_explained:
            if not batch[0].result.done():
                batch[0].result.set_result(reply)
            return
        width, start = self.loaded.output_count, 0
        if len(reply) != width * sum([job.rows for job in batch]):
            self._fail(batch, FailureReason.BAD_OUTPUT)
            return
        for job in batch:
            outputs = reply if len(batch) == 1 else reply[start : start + job.rows * width]
            start += job.rows * width
            if not self.loaded.is_valid_output(outputs):
                self._fail([job], FailureReason.BAD_OUTPUT)
            elif not job.result.done():
                self._breaker.record(job.token, True)
                job.result.set_result(outputs)

    def _fail(self, jobs: Sequence[Job], reason: FailureReason, *, counts: bool = True) -> None:
        for job in jobs:
            if job.result.done():
                continue
            job.result.set_result(reason)
            if counts:
                self.problem = reason
                self._breaker.record(job.token, False)
                if self._recovery.is_on_trial and job.token != _UNCOUNTED_TOKEN:
                    self._breaker.open()

    async def start(self) -> None:
        """Load the model in a worker process, and check its golden rows.

        Raises:
            AiWorkflowError: the model cannot be loaded, or its outputs for the golden rows differ.
        """
        started_at = self._loop.time()
        await self._start_worker(math.inf)
        self._start_seconds = self._loop.time() - started_at
        if problem := await self.check_golden(self._load_timeout):
            raise AiWorkflowError(f"{self.name}: the golden rows failed: {problem}")
        self._recovery.start_probes()

    async def restart(self) -> None:
        """Start a worker if the version has none.

        Raises:
            ModelExitedError: the worker crashed on the model, or made no progress for longer than loading takes.
        """
        if self._worker is not None:
            return
        try:
            await self._start_worker(max(MIN_STALL_SECONDS, 2 * self._start_seconds))
        except ModelExitedError as error:
            reason = FailureReason.HUNG if error.is_late else FailureReason.CRASHED
            self.attempts.record_process_loss(reason, self._recovery.trace_id)
            raise

    async def _start_worker(self, stall_seconds: float) -> None:
        """Start a worker and wait until its model is loaded; fail after `stall_seconds` without progress."""

        def on_reply(reply: Reply) -> None:
            if self._worker is worker:
                self._on_reply(reply)

        def on_exit(how: str) -> None:
            if self._worker is worker:
                self._lose_worker(FailureReason.CRASHED, how)

        worker = ModelWorker(self.name, on_reply, on_exit)
        loaded = self.loaded
        try:
            await worker.start(loaded.source, self._load_timeout, stall_seconds)
        finally:
            self.start_cost = worker.cpu_seconds
        if worker.outputs != loaded.output_count:
            worker.kill()
            raise ModelExitedError(f"the model has {worker.outputs} outputs for a row, expected {loaded.output_count}")
        self._worker = worker
        self.explanations.on_start(has_function=worker.is_explainable)

    async def check_golden(self, timeout: float, row: int | None = None) -> FailureReason | str | None:
        """Send golden rows to the model, and return the failure or mismatch; None if the outputs are as expected.

        Args:
            timeout: in seconds.
            row: the index of the row to send; None: all rows.
        """
        rows = self.loaded.probe_rows if row is None else self.loaded.probe_rows[row : row + 1]
        result = await self._queue.add(rows.tobytes(), len(rows), self._loop.time() + timeout, _UNCOUNTED_TOKEN)
        return result if isinstance(result, FailureReason) else self.loaded.golden_mismatch(result, row)

    @property
    def has_process(self) -> bool:
        """Whether the version has a worker; it may hang."""
        return self._worker is not None

    def _lose_worker(self, reason: FailureReason, how: str) -> None:
        """Drop the worker: its requests fail, and recovery starts a new one."""
        worker, self._worker = self._worker, None
        sent, waiting = self._queue.clear()
        if worker is not None:
            worker.kill()
        if not self._is_closed:
            with trace_context.bound(trace_id=self._recovery.trace_id):
                # One warning for each fault: attempts to start during a recovery may fail in the same way.
                log.log(DEBUG if self._recovery.is_active else WARNING, "%s: its process %s", self.name, how)
        self._fail(sent, reason)
        self._fail(waiting, reason, counts=False)
        self.problem = reason
        if not self._is_closed:
            self._recovery.start()
        self.attempts.record_process_loss(reason, self._recovery.trace_id)

    def suspend(self, reason: FailureReason) -> None:
        """Reject requests because of a fault that a probe found, until the golden rows succeed."""
        self.problem = reason
        self._breaker.open()

    def _on_breaker_change(self, state: BreakerState) -> None:
        self.attempts.set_breaker_state(state)
        if state is BreakerState.OPEN:
            if not self._is_closed:
                self._recovery.start()
            # These requests have time left for the next version of the chain.
            self._fail(self._queue.drop_waiting(), self.problem, counts=False)

    def close(self) -> None:
        """Stop the worker, and release the files of the version."""
        self._is_closed = True
        self._recovery.close()
        self._lose_worker(FailureReason.RETIRED, "was stopped")
        self.loaded.close()
