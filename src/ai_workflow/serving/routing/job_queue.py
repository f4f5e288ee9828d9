"""Request queue of one model version: batches jobs that wait while the worker is busy, and expires late ones."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ai_workflow.serving.attempt_metrics import FailureReason

# Rows that wait while the worker is busy are sent together, up to this many.
_BATCH_ROWS = 128
# Rows of a job for contributions: more than fit into a batch with another job.
_ALONE = 1 << 31
# The service was stalled if a timer fires this late, and later than this share of the time that a job had.
_LATE_SECONDS, _STALLED_SHARE = 0.02, 0.5
_TICK_SECONDS = 0.001

PendingResult = asyncio.Future[Sequence[float] | FailureReason]


@dataclass(slots=True, eq=False)
class Job:
    """The rows of one request for one version; times are those of the event loop."""

    data: bytes
    rows: int
    deadline: float
    token: int
    result: PendingResult
    queued_at: float
    is_client_deadline: bool = False

    @property
    def is_explained(self) -> bool:
        """Whether the job is one row for its contributions."""
        return self.rows == _ALONE


class QueueOwner(Protocol):
    """The owner of a queue."""

    def send(self, rows: int, data: bytes) -> None:
        """Send a batch to the worker."""

    def send_explained(self, data: bytes) -> None:
        """Send one row to the worker for its contributions."""

    def on_expired(self, jobs: Sequence[Job], *, was_stalled: bool) -> None:
        """Handle jobs whose deadline has passed; they are still in the queue."""

    def on_hang(self, seconds: float) -> None:
        """Handle a batch that has had no reply for `seconds`."""


class JobQueue:
    """The jobs of one version in order; one batch is with the worker, the others wait.

    Args:
        owner: sends batches and handles late jobs.
        hang_seconds: age at which a batch without a reply counts as hung.
        max_batch_rows: limit of rows of a batch of several jobs.
    """

    def __init__(self, owner: QueueOwner, hang_seconds: float, max_batch_rows: int = _BATCH_ROWS) -> None:
        self._owner = owner
        self._hang_seconds = hang_seconds
        self._max_batch_rows = min(max_batch_rows, _BATCH_ROWS)
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Job] = deque()
        self._batch: list[Job] = []
        self._sent_at = math.inf
        self._timer_at = math.inf
        self._timer: asyncio.TimerHandle | None = None
        # Whether the batch with the worker has missed its deadline.
        self.is_batch_late = False
        self.completed_batches = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._batch)

    def add(
        self, data: bytes, rows: int, deadline: float, token: int, *, is_client_deadline: bool = False
    ) -> PendingResult:
        """Add a job; send it at once if no batch is with the worker."""
        job = Job(data, rows, deadline, token, self._loop.create_future(), self._loop.time(), is_client_deadline)
        self._waiting.append(job)
        if not self._batch:
            self._send()
        due = min(deadline, self._sent_at + self._hang_seconds)
        if due < self._timer_at:
            self._set_timer(due)
        return job.result

    def add_explained(self, data: bytes, deadline: float, token: int) -> PendingResult:
        """Add one row for its contributions, as `add` adds a job; it is a batch of its own."""
        return self.add(data, _ALONE, deadline, token)

    @property
    def batch_age(self) -> float:
        """Seconds since the batch was sent to the worker; 0 without a batch."""
        return max(0.0, self._loop.time() - self._sent_at)

    def drop_waiting(self) -> list[Job]:
        """Remove and return the jobs that were not sent to the worker."""
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting

    def complete_batch(self) -> list[Job]:
        """Remove and return the batch to which the worker replied, and send the next one."""
        batch = self._batch
        self._batch = []
        self._sent_at = math.inf
        self.completed_batches += 1
        self.is_batch_late = False
        if self._waiting:
            self._send()
        return batch

    def clear(self) -> tuple[list[Job], list[Job]]:
        """Remove and return all jobs: those with the worker, and those that waited."""
        removed = self._batch, list(self._waiting)
        self._batch = []
        self._sent_at = math.inf
        self.is_batch_late = False
        self._waiting.clear()
        self._set_timer(math.inf)
        return removed

    def _send(self) -> None:
        """Send waiting jobs as one batch, up to the limit of rows; jobs that already have a result are dropped."""
        waiting, batch, rows = self._waiting, self._batch, 0
        while waiting and (not batch or rows + waiting[0].rows <= self._max_batch_rows):
            job = waiting.popleft()
            if not job.result.done():
                batch.append(job)
                rows += job.rows
        if batch:
            self._sent_at = self._loop.time()
            self.is_batch_late = False
            if batch[0].is_explained:
                self._owner.send_explained(batch[0].data)
                return
            self._owner.send(rows, batch[0].data if len(batch) == 1 else b"".join([job.data for job in batch]))

    def _set_timer(self, at: float) -> None:
        """Set the timer that all jobs share: a timer for each job would cost as much as its prediction."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._on_timer, at) if at < math.inf else None

    def _on_timer(self, due: float, delay: float = 0.0) -> None:
        now = self._loop.time()
        if now - due > _LATE_SECONDS and not delay:
            # Replies may be unread in the socket: they are processed first.
            self._timer = self._loop.call_later(_TICK_SECONDS, self._on_timer, now, now - due)
            return
        expired = [job for job in (*self._batch, *self._waiting) if job.deadline <= now and not job.result.done()]
        stalled = [
            job for job in expired if delay > max(_LATE_SECONDS, _STALLED_SHARE * (job.deadline - job.queued_at))
        ]
        for jobs, was_stalled in ((stalled, True), ([job for job in expired if job not in stalled], False)):
            if jobs:
                self._owner.on_expired(jobs, was_stalled=was_stalled)
        if now - self._sent_at >= self._hang_seconds and not delay:
            self._owner.on_hang(now - self._sent_at)
        deadlines = [job.deadline for job in (*self._batch, *self._waiting) if not job.result.done()]
        self._set_timer(max(min([self._sent_at + self._hang_seconds, *deadlines]), now + _TICK_SECONDS))
