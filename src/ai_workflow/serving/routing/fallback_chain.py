"""The fallback chain: `latest`, then `stable`, then the default response, within one absolute deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ai_workflow.inference import fallback
from ai_workflow.serving.attempt_metrics import FailureReason
from ai_workflow.serving.routing.job_queue import Answers
from ai_workflow.serving.routing.served_model import ServedModel

# The resolution of the event loop's clock.
_CLOCK_SECONDS = 0.001
NOT_LOADED, NOT_PUBLISHED = "not_loaded", "not_published"


@dataclass(frozen=True, slots=True)
class AttemptFailure:
    """A version that did not answer a request.

    Args:
        version: its name; empty where there is none.
        reason: why, as in the label of `inference_fallback_total`.
        seconds: how long it was waited for; 0: the request was not put to it.
        text: the same in words, where a version was not loaded or there is none.
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
        model: the version that answered; None: none did.
        values: its answers, (rows x outputs).
        failures: the versions before it, in their order.
        seconds: how long the version that answered took.
        last: why the last version that was asked did not answer.
    """

    model: ServedModel | None
    values: Sequence[float]
    failures: Sequence[AttemptFailure] = ()
    seconds: float = 0.0
    last: FailureReason | None = None

    @property
    def is_fallback(self) -> bool:
        """Whether the first version in line did not answer."""
        return bool(self.failures)

    @property
    def is_expired(self) -> bool:
        """Whether the first version in line did not answer because the deadline of the caller had passed."""
        return bool(self.failures) and self.failures[0].reason == FailureReason.EXPIRED

    @property
    def reasons(self) -> str | None:
        """Return why not, for each version that did not answer."""
        return "; ".join(map(str, self.failures)) or None

    @property
    def attempts(self) -> str:
        """Return each version that was tried, with its outcome and seconds, for the log."""
        made = [f"{failure} after {failure.seconds:.4f} s" for failure in self.failures]
        made += [f"{self.model.name}: answered after {self.seconds:.4f} s"] if self.model else ["no version answered"]
        return "; ".join(made)

    @property
    def slowest(self) -> float:
        """Return the seconds of the version that took the longest."""
        return max(self.seconds, *(failure.seconds for failure in self.failures), 0.0)


@dataclass(frozen=True, slots=True)
class FallbackChain:
    """The versions in the order in which they are asked.

    Args:
        models: those that are loaded.
        absent: why the version that should be first is not among them, if so.
        missing: why later versions are not among them.
    """

    models: tuple[ServedModel, ...] = ()
    absent: AttemptFailure | None = None
    missing: tuple[AttemptFailure, ...] = ()

    @property
    def first(self) -> ServedModel | None:
        """The version that requests are checked against."""
        return self.models[0] if self.models else None

    @property
    def absence(self) -> str | None:
        """Return why the version that should be first is not loaded, in words."""
        return str(self.absent) if self.absent else None

    def find(self, name: str) -> ServedModel | None:
        """Return a version that is loaded, by its name."""
        return next((model for model in self.models if model.name == name), None)

    async def answer(
        self,
        rows: int,
        encoded: Callable[[ServedModel], bytes | None],
        end: float,
        trace_id: str = "",
        *,
        expires: bool = False,
    ) -> ChainResult:
        """Return the first answer that comes in time, and count what each version did.

        Args:
            rows: how many are asked about.
            encoded: gives them as a version takes them; None where they do not fit it.
            end: the deadline, in the loop's time.
            trace_id: of the request.
            expires: whether the caller set the deadline: after it no version gets the request, and none counts as late.
        """
        time = asyncio.get_running_loop().time
        failures = [self.absent] if self.absent else []
        last: FailureReason | None = None
        for place, model in enumerate(self.models, 1):
            data, began = encoded(model), time()
            until = fallback.until(began, end, another=place < len(self.models))
            sent: Answers | FailureReason
            if data is None:
                sent = FailureReason.UNFIT
            elif expires and began + _CLOCK_SECONDS > end:
                sent = FailureReason.EXPIRED
            else:
                sent = model.answer(data, rows, until, expires=expires)
            if isinstance(sent, FailureReason):
                model.attempts.record_skipped(sent, trace_id)
                failures.append(AttemptFailure(model.name, sent.value))
                last = sent if sent in (FailureReason.BUSY, FailureReason.TIMEOUT, FailureReason.EXPIRED) else last
                continue
            outcome = await sent
            seconds = time() - began
            if not isinstance(outcome, FailureReason):
                model.attempts.record_success(seconds, trace_id, is_fallback=bool(failures))
                return ChainResult(model, outcome, failures, seconds)
            model.attempts.record_failure(outcome, seconds, trace_id)
            failures.append(AttemptFailure(model.name, outcome.value, seconds))
            last = outcome
        return ChainResult(None, (), [*failures, *self.missing] or [UNPUBLISHED], last=last)
