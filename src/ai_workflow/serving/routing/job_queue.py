"""What waits for one version: sent in batches that come together by themselves, given up when its time is over."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ai_workflow.serving.attempt_metrics import FailureReason

# Rows that wait while the process is busy go together, up to so many.
_BATCH_ROWS = 128
# A timer that fires so many seconds late, and this share of a job's time, means that the service stood still.
_LATE, _STALLED_SHARE = 0.02, 0.5
_TICK = 0.001

Answers = asyncio.Future[Sequence[float] | FailureReason]


@dataclass(slots=True, eq=False)
class Job:
    """Rows of one request at one version, sent together; `expires` if the caller set the deadline."""

    data: bytes
    rows: int
    until: float
    token: int
    answered: Answers
    added: float
    expires: bool = False


class QueueOwner(Protocol):
    """The owner of a queue."""

    def send(self, rows: int, data: bytes) -> None:
        """Send a batch to the model."""

    def on_expired(self, jobs: Sequence[Job], *, stood_still: bool) -> None:
        """Handle jobs whose time is over; they are still in the queue."""

    def on_hang(self, seconds: float) -> None:
        """Handle a batch that has not been answered for `seconds`."""


class JobQueue:
    """The jobs of one version in their order; one batch is with the model, the others wait.

    Args:
        owner: sends batches, and handles what is late.
        hang: seconds after which a batch without an answer has hung.
        most_rows: as many rows as a batch of several requests has at most.
    """

    def __init__(self, owner: QueueOwner, hang: float, most_rows: int = _BATCH_ROWS) -> None:
        self._owner, self._hang, self._most_rows = owner, hang, min(most_rows, _BATCH_ROWS)
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Job] = deque()
        self._batch: list[Job] = []
        self._sent, self._wake = math.inf, math.inf
        self._timer: asyncio.TimerHandle | None = None
        # Whether the batch with the model has not been answered in time.
        self.is_late = False
        # Batches that the model has answered.
        self.replies = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._batch)

    def add(self, data: bytes, rows: int, until: float, token: int, *, expires: bool = False) -> Answers:
        """Add a job; it is sent at once if no batch is with the model."""
        job = Job(data, rows, until, token, self._loop.create_future(), self._loop.time(), expires)
        self._waiting.append(job)
        if not self._batch:
            self._send()
        due = min(until, self._sent + self._hang)
        if due < self._wake:
            self._wake_at(due)
        return job.answered

    @property
    def age(self) -> float:
        """Return the seconds that the batch has been with the model; 0 where there is none."""
        return max(0.0, self._loop.time() - self._sent)

    def drop_waiting(self) -> list[Job]:
        """Take back what was not sent to the model."""
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting

    def answered(self) -> list[Job]:
        """Take back the batch that the model has answered, and send the next one."""
        batch, self._batch, self._sent = self._batch, [], math.inf
        self.replies += 1
        self.is_late = False
        if self._waiting:
            self._send()
        return batch

    def clear(self) -> tuple[list[Job], list[Job]]:
        """Take back everything: what was with the model, and what waited."""
        found = self._batch, list(self._waiting)
        self._batch, self._sent, self.is_late = [], math.inf, False
        self._waiting.clear()
        self._wake_at(math.inf)
        return found

    def _send(self) -> None:
        """Send what waits, as much as goes together; what nobody waits for any more is dropped."""
        waiting, batch, rows = self._waiting, self._batch, 0
        while waiting and (not batch or rows + waiting[0].rows <= self._most_rows):
            job = waiting.popleft()
            if not job.answered.done():
                batch.append(job)
                rows += job.rows
        if batch:
            self._sent, self.is_late = self._loop.time(), False
            self._owner.send(rows, batch[0].data if len(batch) == 1 else b"".join([job.data for job in batch]))

    def _wake_at(self, moment: float) -> None:
        """Have one timer for all jobs: one for each would cost as much as its answer."""
        if self._timer is not None:
            self._timer.cancel()
        self._wake = moment
        self._timer = self._loop.call_at(moment, self._woken, moment) if moment < math.inf else None

    def _woken(self, moment: float, late: float = 0.0) -> None:
        now = self._loop.time()
        if now - moment > _LATE and not late:
            # Answers may lie in the socket: they come first.
            self._timer = self._loop.call_later(_TICK, self._woken, now, now - moment)
            return
        over = [job for job in (*self._batch, *self._waiting) if job.until <= now and not job.answered.done()]
        stalled = [job for job in over if late > max(_LATE, _STALLED_SHARE * (job.until - job.added))]
        for jobs, stood_still in ((stalled, True), ([job for job in over if job not in stalled], False)):
            if jobs:
                self._owner.on_expired(jobs, stood_still=stood_still)
        if now - self._sent >= self._hang and not late:
            self._owner.on_hang(now - self._sent)
        untils = [job.until for job in (*self._batch, *self._waiting) if not job.answered.done()]
        self._wake_at(max(min([self._sent + self._hang, *untils]), now + _TICK))
