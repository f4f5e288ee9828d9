"""Fallback chain: `latest`, then `stable`, then the default response, within one absolute deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ai_workflow.inference import fallback
from ai_workflow.serving.attempt_metrics import FailureReason
from ai_workflow.serving.routing.job_queue import PendingResult
from ai_workflow.serving.routing.served_model import ServedModel

# The resolution of the event loop's clock.
_CLOCK_SECONDS = 0.001
_QUEUE_REASONS = (FailureReason.BUSY, FailureReason.TIMEOUT, FailureReason.EXPIRED)
NOT_LOADED, NOT_PUBLISHED = "not_loaded", "not_published"


@dataclass(frozen=True, slots=True)
class AttemptFailure:
    """A version that returned no result for a request.

    Args:
        version: its name; empty if there is no version.
        reason: the label `reason` of `inference_fallback_total`.
        seconds: duration of the attempt; 0: the request was not sent to the version.
        text: the message if the version is not loaded or there is no version.
    """

    version: str
    reason: str
    seconds: float = 0.0
    text: str = ""

    def __str__(self) -> str:
        """Return `version: reason`."""
        return self.text or f"{self.version}: {self.reason}"


UNPUBLISHED = AttemptFailure("", NOT_PUBLISHED, text="no version is published")


@dataclass(slots=True, eq=False)
class ChainResult:
    """The outcome of a request.

    Args:
        model: the version that returned the result; None: all failed.
        values: its outputs, (rows x outputs).
        failures: the versions that failed before it, in order.
        seconds: duration of the successful attempt.
        last_failure: why the last version to which the request was sent failed.
    """

    model: ServedModel | None
    values: Sequence[float]
    failures: Sequence[AttemptFailure] = ()
    seconds: float = 0.0
    last_failure: FailureReason | None = None

    @property
    def is_fallback(self) -> bool:
        """Whether the first version of the chain failed."""
        return bool(self.failures)

    @property
    def is_expired(self) -> bool:
        """Whether the first version of the chain failed because the deadline of the client had passed."""
        return bool(self.failures) and self.failures[0].reason == FailureReason.EXPIRED

    @property
    def reasons(self) -> str | None:
        """Failure reason of each version that failed, or None."""
        return "; ".join(map(str, self.failures)) or None

    @property
    def attempts(self) -> str:
        """Each attempt with its outcome and seconds, for the log."""
        attempts = [f"{failure} after {failure.seconds:.4f} s" for failure in self.failures]
        last = f"{self.model.name}: answered after {self.seconds:.4f} s" if self.model else "no version answered"
        return "; ".join([*attempts, last])

    @property
    def slowest_seconds(self) -> float:
        """Duration of the longest attempt."""
        return max(self.seconds, *(failure.seconds for failure in self.failures), 0.0)


@dataclass(frozen=True, slots=True)
class FallbackChain:
    """Model versions in the order in which a request is sent to them.

    Args:
        models: the versions that are loaded.
        absent: why the version that should be first is not loaded, if so.
        missing: why later versions are not loaded.
    """

    models: tuple[ServedModel, ...] = ()
    absent: AttemptFailure | None = None
    missing: tuple[AttemptFailure, ...] = ()

    @property
    def first(self) -> ServedModel | None:
        """The version whose schema requests are validated against."""
        return self.models[0] if self.models else None

    @property
    def absence(self) -> str | None:
        """Message for `absent`."""
        return str(self.absent) if self.absent else None

    def find(self, name: str) -> ServedModel | None:
        """Return a loaded version by its name."""
        return next((model for model in self.models if model.name == name), None)

    async def predict(
        self, row_count: int, encode: Callable[[ServedModel], bytes | None], deadline: float, trace_id: str = "", *,
        is_client_deadline: bool = False,
    ) -> ChainResult:  # fmt: skip
        """Return the first result before the deadline, and count the attempt of each version.

        Args:
            row_count: number of rows of the request.
            encode: returns the rows encoded for a version; None if they do not fit its schema.
            deadline: in the time of the event loop.
            trace_id: the trace of the request.
            is_client_deadline: whether the client set the deadline; expired attempts then do not count as timeouts.
        """
        now = asyncio.get_running_loop().time
        failures = [self.absent] if self.absent else []
        last_failure: FailureReason | None = None
        for position, model in enumerate(self.models, 1):
            data = encode(model)
            started_at = now()
            attempt_deadline = fallback.attempt_deadline(started_at, deadline, has_fallback=position < len(self.models))
            pending: PendingResult | FailureReason
            if data is None:
                pending = FailureReason.UNFIT
            elif is_client_deadline and started_at + _CLOCK_SECONDS > deadline:
                pending = FailureReason.EXPIRED
            else:
                pending = model.submit(data, row_count, attempt_deadline, is_client_deadline=is_client_deadline)
            if isinstance(pending, FailureReason):
                model.attempts.record_skipped(pending, trace_id)
                failures.append(AttemptFailure(model.name, pending.value))
                last_failure = pending if pending in _QUEUE_REASONS else last_failure
                continue
            result = await pending
            seconds = now() - started_at
            if not isinstance(result, FailureReason):
                model.attempts.record_success(seconds, trace_id, is_fallback=bool(failures))
                return ChainResult(model, result, failures, seconds)
            model.attempts.record_failure(result, seconds, trace_id)
            failures.append(AttemptFailure(model.name, result.value, seconds))
            last_failure = result
        return ChainResult(None, (), [*failures, *self.missing] or [UNPUBLISHED], last_failure=last_failure)
