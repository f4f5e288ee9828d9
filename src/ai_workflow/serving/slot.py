"""One version that is served: its process, the queue before it, its breaker, and its way back after a fault."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ai_workflow import trace
from ai_workflow.errors import AiWorkflowError
from ai_workflow.logs import logger
from ai_workflow.serving.attempts import Attempts, Outcome
from ai_workflow.serving.breaker import Breaker, State
from ai_workflow.serving.job_queue import Answers, Job, JobQueue
from ai_workflow.serving.loaded import Loaded
from ai_workflow.serving.model_worker import ModelGone, ModelWorker, Reply

# A process that has not answered for so many times the patience is killed.
_HANG = 3
# The token of golden rows: what the breaker is told depends on the numbers, which are compared first.
_GOLDEN = -1
# Between two attempts to bring a version back: at least so long, and so many times what it costs to start a process.
_PAUSE, _PAUSE_FACTOR, _LONGEST_PAUSE = 0.5, 10, 60.0
log = logger("serving")


class Slot:
    """A loaded version, asked from the event loop's thread only.

    Args:
        loaded: the version's files.
        attempts: its metrics.
        queue: how many requests may wait.
        patience: seconds in which it must answer to count as well.
        timeout: seconds that loading may take.
    """

    def __init__(self, loaded: Loaded, attempts: Attempts, queue: int, patience: float, timeout: float) -> None:
        self.loaded, self.name, self.attempts = loaded, loaded.name, attempts
        self._longest, self._patience, self._timeout = queue, patience, timeout
        self._loop = asyncio.get_running_loop()
        self._queue = JobQueue(self, _HANG * patience)
        self._breaker = Breaker(self._changed)
        self._worker: ModelWorker | None = None
        self._recovery: asyncio.Task[None] | None = None
        # Why it is not asked, where it is not.
        self._problem = Outcome.CRASHED
        self._is_closed = False
        # The trace of the log lines about its process, for alerts that no request stands behind.
        self._trace_id = trace.new_id()

    # -- what it is asked ----------------------------------------------------------------------------------------

    def answer(self, data: bytes, rows: int, until: float) -> Answers | Outcome:
        """Return what will hold the answers (rows x outputs), or why the version is not asked.

        Args:
            data: float32 (rows, features).
            rows: how many.
            until: the loop's time by which the answer is of use.
        """
        token = self._breaker.admit()
        if token is None or self._worker is None:
            return self._problem
        if len(self._queue) >= self._longest:
            return Outcome.BUSY
        return self._queue.add(data, rows, until, token)

    @property
    def answers(self) -> bool:
        """Whether it is asked, at present."""
        return self._worker is not None and self._breaker.state is State.CLOSED

    @property
    def condition(self) -> str:
        """`ok`, or what keeps it from being asked."""
        return "ok" if self.answers else self._problem.value

    @property
    def waiting(self) -> int:
        """How many requests it has not answered yet."""
        return len(self._queue)

    # -- what becomes of it --------------------------------------------------------------------------------------

    def ask(self, rows: int, data: bytes) -> None:
        """Send a batch to the process."""
        if self._worker is not None:
            self._worker.ask(rows, data)

    def expired(self, jobs: Sequence[Job], *, stood_still: bool) -> None:
        """Give up on jobs; where this process stood still, the model is not to blame."""
        self._fail(jobs, Outcome.STALLED if stood_still else Outcome.TIMEOUT, counts=not stood_still)

    def hung(self, seconds: float) -> None:
        """Kill the process: it may hang for ever."""
        self._lose(Outcome.HUNG, f"has not answered for {seconds:.1f} s, and is killed")

    def _replied(self, reply: Reply) -> None:
        batch = self._queue.answered()
        if isinstance(reply, str):
            log.warning("%s raised an error: %s", self.name, reply)
            self._fail(batch, Outcome.ERROR)
            return
        width, at = self.loaded.outputs, 0
        if len(reply) != width * sum([job.rows for job in batch]):
            self._fail(batch, Outcome.BAD_OUTPUT)
            return
        for job in batch:
            answers = reply if len(batch) == 1 else reply[at : at + job.rows * width]
            at += job.rows * width
            if not self.loaded.makes_sense(answers):
                self._fail([job], Outcome.BAD_OUTPUT)
            elif not job.answered.done():
                self._breaker.record(job.token, True)
                job.answered.set_result(answers)

    def _fail(self, jobs: Sequence[Job], outcome: Outcome, *, counts: bool = True) -> None:
        for job in jobs:
            if not job.answered.done():
                if counts:
                    self._problem = outcome
                    self._breaker.record(job.token, False)
                job.answered.set_result(outcome)

    # -- its process ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the model in a process, and let it answer the golden rows.

        Raises:
            AiWorkflowError: it cannot be loaded, or answers them in another way.
        """
        await self._spawn()
        problem = await self._golden(self._timeout)
        if problem is not None:
            raise AiWorkflowError(f"{self.name} does not answer its golden rows: {problem}")

    async def _spawn(self) -> None:
        def replied(reply: Reply) -> None:
            if self._worker is worker:
                self._replied(reply)

        def gone(how: str) -> None:
            if self._worker is worker:
                self._lose(Outcome.CRASHED, how)

        worker = ModelWorker(self.name, replied, gone)
        await worker.start(self.loaded.kind, self.loaded.model, self.loaded.features, self._timeout)
        if worker.outputs != self.loaded.outputs:
            worker.kill()
            raise ModelGone(f"it answers {worker.outputs} numbers to a row, in place of {self.loaded.outputs}")
        self._worker = worker

    async def _golden(self, seconds: float) -> str | None:
        """Return what is wrong with the answers to the golden rows, if anything."""
        rows, until = self.loaded.trial, self._loop.time() + seconds
        answered = await self._queue.add(rows.tobytes(), len(rows), until, _GOLDEN)
        return answered.value if isinstance(answered, Outcome) else self.loaded.differs(answered)

    def _lose(self, outcome: Outcome, how: str) -> None:
        """Give up the process: whoever waits for it is told, and it is brought back."""
        worker, self._worker = self._worker, None
        sent, waiting = self._queue.clear()
        if worker is not None:
            worker.kill()
        with trace.bound(trace_id=self._trace_id):
            self.attempts.lost(outcome, self._trace_id)
            if not self._is_closed:
                log.warning("%s: its process %s", self.name, how)
        self._fail(sent, outcome)
        self._fail(waiting, outcome, counts=False)
        self._problem = outcome
        self._recover()

    def _changed(self, state: State) -> None:
        self.attempts.breaker(state)
        if state is State.OPEN:
            self._recover()

    def _recover(self) -> None:
        if not self._is_closed and (self._recovery is None or self._recovery.done()):
            self._recovery = self._loop.create_task(self._bring_back())

    async def _bring_back(self) -> None:
        """Try until the version answers its golden rows again, the more seldom the more an attempt costs."""
        pause = 0.0 if self._worker is None else _PAUSE
        log.warning("%s is left alone: %s", self.name, self._problem)
        self._breaker.open()
        problem: str | None = ""
        while problem is not None:
            await asyncio.sleep(pause)
            problem, cost = await self._attempt()
            pause = min(max(_PAUSE, _PAUSE_FACTOR * cost), _LONGEST_PAUSE)
        log.info("%s answers again", self.name)

    async def _attempt(self) -> tuple[str | None, float]:
        """Return what is still wrong, and how many seconds it took to start a process for it."""
        token, cost, began = self._breaker.probe(), 0.0, self._loop.time()
        assert token is not None, "nobody else probes"
        problem: str | None
        try:
            if self._worker is None:
                await self._spawn()
                cost = self._loop.time() - began
            problem = await self._golden(self._patience)
        except (ModelGone, OSError) as error:
            problem, cost = str(error), self._loop.time() - began
        self._breaker.record(token, problem is None)
        return problem, cost

    def close(self) -> None:
        """End its process, and let go of its files."""
        self._is_closed = True
        if self._recovery is not None:
            self._recovery.cancel()
        self._lose(Outcome.RETIRED, "is no longer needed")
        self.loaded.close()
